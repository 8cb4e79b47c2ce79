"""Masks of a folder: shards, interruption, the report, and what is said of masks that look wrong."""

from __future__ import annotations

import csv
import html
import json
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from syncgan.errors import ArtefactError, ConfigError, DataError, RunExistsError
from syncgan.evaluation import mask_folder, mask_report
from syncgan.evaluation.mask_folder import extract_folder, extract_shard, merge_folder
from syncgan.evaluation.mask_rows import RowStore
from syncgan.extractor import MaskExtractor
from syncgan.registry import SEGMENTERS
from test_cli import pixels, snapshot, syncgan, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("folder") / "data", {"benign": 7, "malignant": 6}, size=64)
    (folder / "benign" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (50, 40), "white").save(folder / "benign" / "blank.png")
    return folder


def results(out):
    """Return what is promised to be the same however the work was shared: masks, table, sheet and report."""
    return {name.removeprefix(str(out)): content for name, content in snapshot(out).items() if "/parts" not in name}


@pytest.fixture(scope="module")
def whole(data):
    out = data.parent / "whole"
    extract_folder(data, out, extractor=MaskExtractor("gmm", levels=3), n_jobs=1, report=True)
    return results(out)


def test_files_of_16_bits_are_segmented_with_one_depth(tmp_path):
    (tmp_path / "data").mkdir()
    for name, peak in (("dim", 900), ("bright", 4000)):
        Image.fromarray(np.full((20, 20), peak, np.uint16)).save(tmp_path / "data" / f"{name}.png")
    extractor = MaskExtractor(lambda image: (image[..., 0] > 128).astype(np.uint8), min_nucleus_area=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such masks fail
        result = extract_folder(tmp_path / "data", tmp_path / "out", extractor=extractor, n_jobs=1)
    means = {name: pixels(tmp_path / "out" / "masks" / f"{name}.png").mean() for name in ("dim", "bright")}
    assert means == {"dim": 0, "bright": 255}
    assert any("read as 12-bit" in note for note in result.notes)


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3, 20])
def test_merged_shards_are_the_unsharded_result_byte_by_byte(data, whole, tmp_path, shards):
    for position in reversed(range(1, shards + 1)):
        extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm", levels=3), shard=(position, shards))
    merge_folder(data, tmp_path / "out", report=True)
    assert results(tmp_path / "out") == whole
    assert sum(name.endswith(".png") for name in whole) == 14 + 1


def test_a_shard_segments_its_own_images_only(data, tmp_path):
    part = extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=(2, 5))
    assert part.masks + len(part.skipped) == 3
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == part.masks
    assert not (tmp_path / "out" / "masks.csv").exists()


def test_merging_names_what_is_missing(data, tmp_path):
    extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=(1, 2))
    with pytest.raises(
        DataError, match=r"masks of 15 images, 7 are not there yet \(7 entries such as 'benign/.*shards"
    ):
        merge_folder(data, tmp_path / "out")


def test_a_shard_with_other_settings_is_refused(data, tmp_path):
    extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=(1, 2))
    before = snapshot(tmp_path)
    for other in (MaskExtractor("gmm", levels=3), MaskExtractor("gmm", border_objects="remove")):
        with pytest.raises(RunExistsError, match="other settings"):
            extract_shard(data, tmp_path / "out", extractor=other, shard=(2, 2))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_shards_that_do_not_exist_are_refused(data, tmp_path, shard):
    with pytest.raises(ConfigError, match="shard"):
        extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=shard)
    assert not (tmp_path / "out").exists()


def test_merging_a_folder_without_masks_is_refused(data, tmp_path):
    with pytest.raises(ArtefactError, match="holds no masks"):
        merge_folder(data, tmp_path)


# --- interruption ----------------------------------------------------------------------------------------------------


class Watched:
    """Segments by brightness, counts its calls, and stops at one of them."""

    version = 1

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, image):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return image[..., 0] < 150


def test_an_interrupted_extraction_goes_on_where_it_stopped(data, tmp_path):
    expected = extract_folder(data, tmp_path / "whole", extractor=MaskExtractor(Watched()), n_jobs=1)
    with pytest.raises(KeyboardInterrupt):
        extract_folder(data, tmp_path / "out", extractor=MaskExtractor(Watched(stop_at=6)), n_jobs=1)
    rest = Watched()
    result = extract_folder(data, tmp_path / "out", extractor=MaskExtractor(rest), n_jobs=1)
    assert rest.calls == 14 - 5
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert result.diagnoses == expected.diagnoses


def test_files_that_changed_and_masks_that_are_gone_are_made_again(tmp_path):
    folder = write_images(tmp_path / "data", {"benign": 4}, size=64)
    extract_folder(folder, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    blobs(folder / "benign", "cell1.png", 3)
    (tmp_path / "out" / "masks" / "benign" / "cell3.png").unlink()
    again = Watched()
    extract_folder(folder, tmp_path / "out", extractor=MaskExtractor(again), n_jobs=1)
    assert again.calls == 2
    assert pixels(tmp_path / "out" / "masks" / "benign" / "cell1.png").shape == (96, 96)
    assert (tmp_path / "out" / "masks" / "benign" / "cell3.png").exists()


def test_resuming_after_files_came_and_went_equals_beginning_anew(tmp_path):
    # Names of masks are numbered where file names are not plain: all of these have the same slug.
    folder = tmp_path / "data"
    names = ["#.png", "##.png", "#!.png", "#!!.png"]
    for count, name in enumerate(names, start=1):
        blobs(folder / "cells", name, count)
    extract_folder(folder, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    first = results(tmp_path / "out")

    def resumed_equals_anew(fresh):
        extract_folder(folder, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
        extract_folder(folder, fresh, extractor=MaskExtractor(Watched()), n_jobs=1)
        return results(tmp_path / "out") == results(fresh)

    content = (folder / "cells" / "#.png").read_bytes()
    (folder / "cells" / "#.png").unlink()
    assert resumed_equals_anew(tmp_path / "without")
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 3
    (folder / "cells" / "#.png").write_bytes(content)
    assert resumed_equals_anew(tmp_path / "again")
    assert results(tmp_path / "out") == first


def test_a_file_that_changes_but_keeps_its_size_is_read_again(tmp_path):
    image = np.full((40, 40, 3), 230, np.uint8)
    image[5:15, 5:15] = 60
    (tmp_path / "data" / "cells").mkdir(parents=True)
    file = tmp_path / "data" / "cells" / "one.bmp"
    Image.fromarray(image).save(file)
    extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    size = file.stat().st_size
    Image.fromarray(image[::-1]).save(file)
    assert file.stat().st_size == size
    extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    assert np.array_equal(pixels(tmp_path / "out" / "masks" / "cells" / "one.png") > 0, image[::-1, :, 0] < 150)


def test_only_masks_that_were_written_here_are_removed(tmp_path):
    folder, masks = write_images(tmp_path / "data", {"a": 2, "b": 2}, size=64), tmp_path / "out" / "masks"
    extract_folder(folder, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    (masks / "a" / "mine.png").write_bytes(b"mine")
    (masks / "a" / "cell1.png").write_bytes(b"mine too")
    for file in ("a/cell1.png", "b/cell0.png", "b/cell1.png"):
        (folder / file).unlink()
    merge_folder(folder, tmp_path / "out")
    assert sorted(path.relative_to(masks).as_posix() for path in masks.rglob("*")) == [
        "a",
        "a/cell0.png",
        "a/cell1.png",
        "a/mine.png",
    ]


def test_finished_images_are_noted_while_others_wait(data, tmp_path, monkeypatch):
    monkeypatch.setattr("syncgan.evaluation.mask_rows._PART_SECONDS", 0.0)
    extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), n_jobs=1)
    parts = [path for path in (tmp_path / "out" / "parts").glob("*.json") if path.name != "settings.json"]
    assert len(parts) == 15
    assert sum(len(json.loads(path.read_text())) for path in parts) == 15


def test_a_folder_with_other_things_is_never_written_to(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunExistsError, match="expected an empty folder"):
        extract_folder(data, tmp_path, extractor=MaskExtractor("gmm"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_whose_beginning_was_killed_is_begun_again(data, whole, tmp_path):
    (tmp_path / "out" / "parts").mkdir(parents=True)
    (tmp_path / "out" / "parts" / ".syncgan-0.tmp").write_text("{")
    extract_folder(data, tmp_path / "out", extractor=MaskExtractor("gmm", levels=3), n_jobs=1, report=True)
    assert results(tmp_path / "out") == whole


def test_of_two_shards_that_begin_together_with_different_settings_one_is_refused(tmp_path):
    barrier = threading.Barrier(2)

    def claim(folder, settings):
        store = RowStore(folder)
        barrier.wait()
        try:
            store.claim(settings)
        except RunExistsError:
            return None
        return settings

    with ThreadPoolExecutor(2) as pool:
        for attempt in range(50):
            folder = tmp_path / str(attempt)
            winners = [*filter(None, pool.map(claim, [folder] * 2, [{"levels": 2}, {"levels": 3}]))]
            assert winners == [RowStore(folder).settings()]
            assert [path.name for path in (folder / "parts").iterdir()] == ["settings.json"]


def test_notes_of_another_version_are_refused(data, tmp_path):
    extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=(1, 2))
    (tmp_path / "out" / "parts" / "0.json").write_text('[{"file": "x.png", "file_bytes": 7, "diagnosis": null}]')
    with pytest.raises(ArtefactError, match="choose another folder"):
        extract_shard(data, tmp_path / "out", extractor=MaskExtractor("gmm"), shard=(2, 2))


def test_parallel_work_gives_the_same_folder(data, whole, tmp_path):
    extract_folder(data, tmp_path / "out", extractor=MaskExtractor("gmm", levels=3), n_jobs=2, report=True)
    assert results(tmp_path / "out") == whole


def test_error_of_a_segmenter_names_the_file(data, tmp_path):
    with pytest.raises(DataError, match=r"benign/blank.png: segmenter .*float"):
        extract_folder(data, tmp_path / "out", extractor=MaskExtractor(lambda image: image[..., 0] / 255), n_jobs=1)


# --- what is said of the masks ---------------------------------------------------------------------------------------


def blobs(folder, name, count, *, radius=8):
    """Write images of `count` dark discs."""
    y, x = np.ogrid[:96, :96]
    image = np.full((96, 96, 3), 230, np.uint8)
    for index in range(count):
        image[(y - 16 - 32 * (index // 3)) ** 2 + (x - 16 - 32 * (index % 3)) ** 2 <= radius**2] = 60
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / name)


@pytest.fixture
def mixed(tmp_path):
    for index in range(12):
        blobs(tmp_path / "data" / "few", f"{index:02}.png", 1)
        blobs(tmp_path / "data" / "many", f"{index:02}.png", 8 + index % 2)
    blobs(tmp_path / "data" / "few", "crowd.png", 9)
    blobs(tmp_path / "data" / "many", "empty.png", 0)
    return tmp_path / "data"


def test_result_names_failures_and_oddities_and_sums_up_classes(mixed, tmp_path):
    result = extract_folder(mixed, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    assert result.problems == {"many/empty.png": "no nucleus found"}
    assert list(result.doubts) == ["few/crowd.png"]
    assert result.per_class["few"].nuclei == (1, 1, 1)
    assert result.per_class["many"].failed == 1
    with (tmp_path / "out" / "masks.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert rows["many/empty.png"]["problem"] == "no nucleus found"
    assert "9 nuclei, 1 in the median image" in rows["few/crowd.png"]["worth_a_look"]


def test_command_names_failures_and_oddities(mixed, tmp_path):
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--jobs=1", "--report")
    assert outcome.code == 0, outcome.err
    assert "  many/empty.png: no nucleus found" in outcome.out
    assert "  few/crowd.png: " in outcome.out
    assert "warning" not in outcome.err


def test_report_shows_the_table_and_every_mask_to_look_at(mixed, tmp_path):
    extractor = MaskExtractor(Watched())
    extract_folder(mixed, tmp_path / "out", extractor=extractor, n_jobs=1, report=True, thumbnails=True)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<td>few</td>.*13.*0 \(0%\).*1 \(1 to 1\).*197 \(197 to 197\)", text)
    shown = re.findall(r"<figcaption><strong>(.*?)</strong><br>(.*?)</figcaption>", text)
    assert [name for name, _ in shown] == ["many/empty.png", "few/crowd.png"]
    assert text.count("data:image/png") == 3


@pytest.mark.parametrize("levels", [2, 3])
def test_report_speaks_of_what_it_shows(mixed, tmp_path, levels):
    extractor = MaskExtractor(Watched(), levels=levels)
    extract_folder(mixed, tmp_path / "out", extractor=extractor, n_jobs=1, report=True, thumbnails=True)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ("orange" in text) == (levels == 3)
    assert re.findall(r'<th scope="col" class="number">([^<]*)</th>', text)[:3] == ["found", "not usable", "usable"]
    assert "<h3>Masks that cannot be used for training: 1</h3>" in text
    assert "left out" not in text


def test_sheet_names_its_images_and_says_how_many_of_a_class_it_shows(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(mask_report, "draw_strips", lambda *parts: drawn.append(parts) or b"")
    for index in range(14):
        blobs(tmp_path / "data" / "few" / "slide", f"{index:02}.png", 1)
        blobs(tmp_path / "flat", f"{index:02}.png", 1)
    blobs(tmp_path / "data" / "one", "only.png", 1)
    (tmp_path / "data" / "few" / "torn.png").write_bytes(b"x")
    extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)
    extract_folder(tmp_path / "flat", tmp_path / "out2", extractor=MaskExtractor(Watched()), n_jobs=1)
    (rows, names), (flat_rows, flat_names) = drawn
    assert [caption for caption, _ in rows] == ["few: 12 of 14 shown", "", "one"]
    assert [len(row) for row in names] == [len(pictures) for _, pictures in rows] == [6, 6, 1]
    assert (names[0][0], names[1][-1], names[2]) == ("slide/00.png", "slide/13.png", ["only.png"])
    assert [caption for caption, _ in flat_rows] == ["12 of 14 shown", ""]
    assert flat_names[0][0] == "00.png"


def test_command_says_how_many_of_the_files_were_read(data, tmp_path):
    outcome = syncgan("masks", data, "--out", tmp_path / "out", "--segmenter=gmm", "--jobs=1")
    assert "masks  15/15" in outcome.out
    assert "read 14 of 15 images: 8 benign, 6 malignant" in outcome.out


def test_names_are_escaped_in_the_report(tmp_path):
    name = "<b>&\"'.png"
    blobs(tmp_path / "data" / "<i>", name, 0)
    blobs(tmp_path / "data" / "<i>", "good.png", 2)
    with pytest.warns(UserWarning, match="1 of 2 masks"):
        extract_folder(tmp_path / "data", tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1, report=True)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert html.escape(f"<i>/{name}").replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_class_with_many_failures_is_warned_of(mixed, tmp_path):
    for index in range(6):
        blobs(mixed / "many", f"blank{index}.png", 0)
    with pytest.warns(UserWarning, match="class 'many': 7 of 19 masks cannot be used"):
        extract_folder(mixed, tmp_path / "out", extractor=MaskExtractor(Watched()), n_jobs=1)


# --- the command -----------------------------------------------------------------------------------------------------


def test_commands_of_shards_and_merge_equal_the_plain_command(mixed, tmp_path):
    assert syncgan("masks", mixed, "--out", tmp_path / "whole", "--quiet", "--jobs=1").code == 0
    for shard in ("1/2", "2/2"):
        outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--shard", shard, "--json", "--jobs=1")
        assert outcome.code == 0, outcome.err
        assert outcome.summary["masks"] == 13
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--merge", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["classes"] == {"few": 13, "many": 13}
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_resume_goes_on_and_without_it_the_folder_is_refused(mixed, tmp_path):
    assert syncgan("masks", mixed, "--out", tmp_path / "out", "--shard=1/2", "--quiet", "--jobs=1").code == 0
    refused = syncgan("masks", mixed, "--out", tmp_path / "out", "--jobs=1")
    assert (refused.code, "holds masks" in refused.err, "--resume" in refused.err) == (2, True, True)
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--resume", "--json", "--jobs=1")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["problems"] == 1


def test_an_interrupted_command_says_how_to_go_on(mixed, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        (tmp_path / "out").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(mask_folder, "extract_folder", interrupted)
    monkeypatch.setattr("sys.argv", ["syncgan", "masks", str(mixed), "--out", str(tmp_path / "out")])
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out")
    assert outcome.code == 130
    assert outcome.err.strip() == f"stopped; go on with: syncgan masks {mixed} --out {tmp_path / 'out'} --resume"


@pytest.mark.parametrize("arguments", [(), ("--resume",), ("--shard=1/2",), ("--merge",)])
def test_a_folder_inside_the_data_is_refused_before_anything_is_done(mixed, monkeypatch, arguments):
    monkeypatch.chdir(mixed)
    before = snapshot(mixed)
    for out in ((), ("--out", mixed / "few"), ("--out", mixed)):
        outcome = syncgan("masks", ".", *out, *arguments)
        assert outcome.code == 2
        assert "lies in the data folder" in outcome.err
        assert "--out" in outcome.err
    assert snapshot(mixed) == before


def test_the_plain_command_begins_again_where_a_beginning_was_killed(mixed, tmp_path):
    (tmp_path / "out" / "parts").mkdir(parents=True)
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--jobs=1", "--quiet")
    assert outcome.code == 0, outcome.err


def test_an_interrupted_merge_is_gone_on_with_by_merging(mixed, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    arguments = ["masks", str(mixed), "--out", str(tmp_path / "out"), "--merge"]
    monkeypatch.setattr(mask_folder, "merge_folder", interrupted)
    monkeypatch.setattr("sys.argv", ["syncgan", *arguments])
    outcome = syncgan(*arguments)
    assert outcome.code == 130
    assert outcome.err.strip() == f"stopped; go on with: syncgan {' '.join(arguments)}"


def test_a_report_that_is_there_is_written_anew_with_the_table(mixed, tmp_path):
    arguments = ("masks", mixed, "--out", tmp_path / "out", "--jobs=1", "--json")
    assert syncgan(*arguments, "--report").summary["report"]
    for path in (mixed / "few").glob("*.png"):
        blobs(mixed / "few", path.name, 2)
    outcome = syncgan(*arguments, "--resume")
    assert outcome.summary["report"] == str(tmp_path / "out" / "report.html")
    assert "<td>few</td><td" in (text := (tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "2 (2 to 2)" in text


@pytest.mark.parametrize(
    ("arguments", "levels"), [((), 2), (("--config", "run.toml"), 3), (("--config", "run.toml", "--levels", "2"), 2)]
)
def test_levels_are_those_of_the_option_or_else_of_the_file(mixed, tmp_path, monkeypatch, arguments, levels):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("levels = 3\n")
    assert syncgan("masks", mixed, "--out", "out", "--jobs=1", "--quiet", *arguments).code == 0
    assert RowStore(tmp_path / "out").settings()["levels"] == levels


def test_levels_of_the_file_give_way_to_those_that_the_segmenter_declares(mixed, tmp_path, monkeypatch):
    class Four:
        levels = 4

        def __call__(self, image):
            return np.where(image[..., 0] < 150, 3, 0).astype(np.uint8)

    monkeypatch.setitem(SEGMENTERS._registered, "four", Four)
    (tmp_path / "run.toml").write_text('levels = 3\nextractor.segmenter = "four"\n')
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--jobs=1", "--config", tmp_path / "run.toml")
    assert outcome.code == 0, outcome.err
    assert RowStore(tmp_path / "out").settings()["levels"] == 4


def test_a_segmenter_that_fails_is_named_in_one_line_with_the_file(mixed, tmp_path, monkeypatch):
    def clumsy(image):
        raise ValueError(f"no idea what to do\nwith {image.shape}")

    monkeypatch.setitem(SEGMENTERS._registered, "clumsy", clumsy)
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", "--segmenter=clumsy", "--jobs=1", "--quiet")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "few/00.png: segmenter 'clumsy' raised ValueError: no idea what to do with (96, 96, 3)" in line


def test_clean_up_is_set_on_the_command_line(mixed, tmp_path):
    settings = ("--set", "extractor.min_nucleus_area=300", "--set", "extractor.split_touching=true")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        outcome = syncgan("masks", mixed, "--out", tmp_path / "out", *settings, "--json", "--jobs=1")
    assert outcome.code == 0, outcome.err
    assert outcome.summary["problems"] == 26
    assert outcome.err.count("warning: class") == 2
    settings = json.loads((tmp_path / "out" / "parts" / "settings.json").read_text())
    assert settings["extractor"]["split_touching"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "3/2"), "1/8"),
        (("--shard", "one"), "1/8"),
        (("--shard", "1/2", "--report"), "--merge"),
        (("--merge", "--resume"), "segments nothing"),
        (("--merge", "--shard", "1/2"), "segments nothing"),
        (("--merge", "--levels", "3"), "no settings"),
        (("--merge", "--levels", "0"), "no settings"),
        (("--levels", "1"), "expected 2 or 3, got 1"),
        (("--jobs", "0"), "--jobs"),
        (("--jobs", "-9"), "--jobs"),
        (("--jobs", "0", "--shard", "1/2"), "--jobs"),
        (("--merge",), "holds no masks"),
        (("--set", "extractor.min_nucleus_area=-1"), "min_nucleus_area"),
        (("--set", "extractor.min_area=1"), "unknown key"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(mixed, tmp_path, arguments, message):
    outcome = syncgan("masks", mixed, "--out", tmp_path / "out", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out").exists()
