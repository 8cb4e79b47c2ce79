"""An export is complete, readable by others, safe against hostile names, and can be resumed."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from syncgan.data import export
from syncgan.data.export import Checked, ChunkRequest, ExportChunk, Exported, merge_export, write_export
from syncgan.data.images import read_image, read_mask
from syncgan.data.rejections import ClassRejections, Rejections
from syncgan.data.safe_names import csv_cell, safe_folder_names
from syncgan.errors import ArtefactError, ConfigError, DataError, RunExistsError

HOSTILE = ["../x", "CON", "a/b", "=cmd", "Ümlaut", "🔬", "a", "A", "..", "", "-rf", "nul.txt", "x\ny", "end.", " pad"]
HOSTILE += ["metadata.jsonl", "x" * 300, "U\u0308", "~", "C:\\x", ".hidden", "000--x", "a\0b", "+1", "@SUM(A1)"]
HEADER = {"model": "abc", "seed": 3}


def request(name: str = "a", label: int = 0, first: int = 0, count: int = 3) -> ChunkRequest:
    return ChunkRequest(name, label, first, count, seed=3)


def samples(asked: ChunkRequest, levels: int = 2, **changes) -> ExportChunk:
    """Give every request pixels of its own."""
    rng = np.random.default_rng([asked.label, asked.first_index])
    values = {
        "images": rng.integers(0, 256, (asked.count, 6, 7, 3)).astype(np.uint8),
        "masks": rng.integers(0, levels, (asked.count, 6, 7)).astype(np.uint8),
        "scores": {"realism": rng.random(asked.count)},
    }
    return ExportChunk(**values | changes)


def write(folder: Path, *requests: ChunkRequest, render=samples, classes=("a", "b"), levels=2, header=HEADER, **more):
    return write_export(folder, requests, render, classes=classes, levels=levels, header=header, **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# --- layout ----------------------------------------------------------------------------------------------------------


def test_export_leaves_images_masks_and_tables(tmp_path: Path):
    requests = [request("NILM", 0), request("HSIL", 1), request("HSIL", 1, first=3)]
    summary = write(tmp_path / "out", *requests, classes=["NILM", "HSIL"])
    assert (summary.counts, summary.written, summary.skipped) == ({"NILM": 3, "HSIL": 6}, 9, 0)
    rows = manifest(tmp_path / "out")
    assert list(rows[0]) == ["file", "mask", "class", "label", "seed", "index", "realism"]
    assert [row["file"] for row in rows[:4]] == [
        "images/NILM/nilm_000000.png",
        "images/NILM/nilm_000001.png",
        "images/NILM/nilm_000002.png",
        "images/HSIL/hsil_000000.png",
    ]
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {row["file"] for row in rows} | {row["mask"] for row in rows}
    assert float(rows[4]["realism"]) == samples(requests[1]).scores["realism"][1]


def test_pixels_come_back(tmp_path: Path):
    part = samples(request())
    write(tmp_path, request())
    for i, row in enumerate(manifest(tmp_path)):
        np.testing.assert_array_equal(read_image(tmp_path / row["file"]), part.images[i])
        np.testing.assert_array_equal(read_mask(tmp_path / row["mask"]), part.masks[i] * 255)


@pytest.mark.parametrize(("levels", "grays"), [(2, [0, 255]), (3, [0, 128, 255]), (4, [0, 85, 170, 255])])
def test_mask_levels_are_spread_over_the_gray_range(tmp_path: Path, levels: int, grays: list[int]):
    write(tmp_path, request(), render=partial(samples, levels=levels), levels=levels)
    found = {int(v) for row in manifest(tmp_path) for v in np.unique(read_mask(tmp_path / row["mask"]))}
    assert found == set(grays)


def test_metadata_lists_every_image_relative_to_its_folder(tmp_path: Path):
    write(tmp_path, request("=x", 5), classes=["b", "=x"])
    lines = [json.loads(line) for line in (tmp_path / "images" / "metadata.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"file_name", "label", "class", "mask", "seed"}] * 3
    assert {(line["label"], line["class"], line["seed"]) for line in lines} == {(5, "=x", 3)}
    for line in lines:
        assert (tmp_path / "images" / line["file_name"]).is_file()
        assert (tmp_path / "images" / line["mask"]).is_file()


def test_image_folder_reads_an_export(tmp_path: Path):
    datasets = pytest.importorskip("torchvision.datasets")
    write(tmp_path, request("a"), request("b", 1))
    dataset = datasets.ImageFolder(str(tmp_path / "images"))
    assert dataset.classes == ["a", "b"]
    assert dataset.targets == [0, 0, 0, 1, 1, 1]


def test_chunks_are_rendered_one_at_a_time(tmp_path: Path):
    seen: list[int] = []

    def render(asked: ChunkRequest) -> ExportChunk:
        seen.append(len(list((tmp_path / "unfinished" / "images").rglob("*.png"))))
        return samples(asked)

    write(tmp_path, *[request(first=first) for first in (0, 3, 6)], render=render)
    assert seen == [0, 3, 6]


# --- names -----------------------------------------------------------------------------------------------------------


def test_hostile_class_names_stay_inside_and_come_back_from_the_tables(tmp_path: Path):
    write(tmp_path / "out", *[request(name, label, count=1) for label, name in enumerate(HOSTILE)], classes=HOSTILE)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out" / "images").glob("*/*.png"))) == len(HOSTILE)
    rows = manifest(tmp_path / "out")
    assert [row["class"].removeprefix("'") for row in rows] == HOSTILE
    assert not [row for row in rows if row["class"][:1] in ("=", "+", "-", "@")]
    lines = (tmp_path / "out" / "images" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["class"] for line in lines] == HOSTILE
    assert list(json.loads((tmp_path / "out" / "export.json").read_text())["folders"]) == HOSTILE


def test_folder_bears_the_true_name_where_it_is_safe():
    names = ["NILM", "HSIL (CIN2)", "class_1", "Ümlaut", "ASC-US", "7"]
    assert list(safe_folder_names(names).values()) == names


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../x", "000-x"),
        ("CON", "000-con"),
        ("com1.png", "000-com1-png"),
        ("HSIL/CIN2", "000-hsil-cin2"),
        ("=cmd", "000-cmd"),
        ("🔬", "000-class"),
        ("U\u0308mlaut", "000-umlaut"),
        ("end.", "000-end"),
        ("metadata.jsonl", "000-metadata-jsonl"),
        ("x" * 300, "000-" + "x" * 40),
    ],
)
def test_other_folders_bear_index_and_slug(name: str, folder: str):
    assert safe_folder_names([name]) == {name: folder}


def test_folders_are_unique_without_case_and_cannot_be_taken_by_a_class():
    assert safe_folder_names(["a", "A"]) == {"a": "000-a", "A": "001-a"}
    folders = safe_folder_names(["a/b", "000-a-b", "000-A-B-x"])
    assert len({folder.casefold() for folder in folders.values()}) == 3
    folders = safe_folder_names(HOSTILE)
    assert len({folder.casefold() for folder in folders.values()}) == len(HOSTILE)
    assert all("/" not in folder and "\\" not in folder and not folder.startswith(".") for folder in folders.values())


@pytest.mark.parametrize("names", [["a", "a"], ["a", "\udcff"]])
def test_repeated_and_invalid_class_names_are_refused(names: list[str]):
    with pytest.raises(DataError, match="expected"):
        safe_folder_names(names)


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("\tx", "'\tx"), ("\rx", "'\rx"), ("-x", "'-x"), ("a=b", "a=b"), (-1.5, "-1.5")],
)
def test_text_that_a_spreadsheet_would_run_is_escaped(value: object, cell: str):
    assert csv_cell(value) == cell


# --- refusing and resuming -------------------------------------------------------------------------------------------


def test_folder_with_something_in_it_is_refused(tmp_path: Path):
    (tmp_path / "thesis.doc").write_text("x")
    for resume in (False, True):
        with pytest.raises(RunExistsError):
            write(tmp_path, request(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_temporary_files_of_others_are_left_alone(tmp_path: Path):
    (tmp_path / "run").mkdir()
    theirs = tmp_path / "run" / ".syncgan-1.tmp"
    theirs.write_text("x")
    with pytest.raises(RunExistsError):
        write(tmp_path, request())
    assert theirs.exists()


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunExistsError, match="is a file"):
        write(tmp_path / "file", request())


WHOLE = (request(first=0), request(first=3), request("b", 1))


def test_interrupted_export_goes_on_and_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "whole", *WHOLE)
    left = iter(range(10))  # the eleventh write fails, in the second chunk, between an image and its mask
    rendered: list[int] = []

    def failing(path: Path, content: bytes) -> None:
        if next(left, None) is None:
            raise ArtefactError("disk full")
        path.write_bytes(content)

    def render(asked: ChunkRequest) -> ExportChunk:
        rendered.append(asked.first_index)
        return samples(asked)

    with monkeypatch.context() as patch:
        patch.setattr(export.storage, "write_bytes", failing)
        with pytest.raises(ArtefactError):
            write(tmp_path / "part", *WHOLE)
    assert not (tmp_path / "part" / "manifest.csv").exists()
    with pytest.raises(RunExistsError):
        write(tmp_path / "part", *WHOLE)
    summary = write(tmp_path / "part", *WHOLE, render=render, resume=True)
    assert (summary.written, summary.skipped) == (5, 4)
    assert rendered == [3, 0]  # the first chunk was finished
    assert contents(tmp_path / "whole") == contents(tmp_path / "part")


def test_complete_export_is_found_complete_and_a_lost_image_is_written_again(tmp_path: Path):
    write(tmp_path, *WHOLE)
    before = contents(tmp_path)
    assert write(tmp_path, *WHOLE, render=None, resume=True).skipped == 9
    (tmp_path / "images" / "a" / "a_000004.png").unlink()
    rendered: list[int] = []

    def render(asked: ChunkRequest) -> ExportChunk:
        rendered.append(asked.first_index)
        return samples(asked)

    summary = write(tmp_path, *WHOLE, render=render, resume=True)
    assert (summary.written, summary.skipped) == (1, 8)
    assert rendered == [3]  # the chunk of the lost image alone
    assert contents(tmp_path) == before
    (tmp_path / "images" / "metadata.jsonl").unlink()
    write(tmp_path, *WHOLE, resume=True)
    assert contents(tmp_path) == before


def test_a_merge_does_not_call_lost_images_complete(tmp_path: Path):
    write(tmp_path, *WHOLE, shard=(1, 1))
    for part in (1, 2):
        write(tmp_path / "parts", *WHOLE, shard=(part, 2))
    (tmp_path / "parts" / "unfinished" / "masks" / "a" / "a_000001.png").unlink()
    with pytest.raises(DataError, match="1 of 3 chunks are not written yet, or lost images"):
        merge_export(tmp_path / "parts")


@pytest.mark.parametrize("content", ["[]", '{"rows": 3}', "{}"])
def test_damaged_rows_are_named(tmp_path: Path, content: str):
    write(tmp_path, *WHOLE, shard=(1, 2))
    damaged = next((tmp_path / "rows").iterdir())
    damaged.write_text(content)
    with pytest.raises(ArtefactError, match=f"{damaged.name}: is damaged"):
        write(tmp_path, *WHOLE, shard=(1, 2))


def test_shards_in_any_order_make_the_same_export(tmp_path: Path):
    write(tmp_path / "whole", *WHOLE)
    parts = [write(tmp_path / "parts", *WHOLE, shard=(part, 2)) for part in (2, 1)]
    assert [part.counts for part in parts] == [{"a": 3, "b": 0}, {"a": 3, "b": 3}]
    assert [part.manifest for part in parts] == [None, None]
    summary = merge_export(tmp_path / "parts")
    assert summary.counts == {"a": 6, "b": 3}
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert merge_export(tmp_path / "parts").counts == {"a": 6, "b": 3}


def test_what_filters_refused_adds_up_over_chunks_shards_and_a_resume(tmp_path: Path):
    def render(asked: ChunkRequest) -> ExportChunk:
        account = ClassRejections(drawn=asked.count + 1, kept=asked.count, refused={"confidence": 1})
        return samples(asked, rejections=Rejections({asked.class_name: account}))

    whole = write(tmp_path / "whole", *WHOLE, render=render).rejections
    assert whole.as_dict()["a"] == {
        "drawn": 8,
        "kept": 6,
        "refused": {"confidence": 2},
        "masks_drawn": 0,
        "masks_refused": 0,
    }
    for part in (1, 2):
        write(tmp_path / "parts", *WHOLE, render=render, shard=(part, 2))
    assert merge_export(tmp_path / "parts").rejections == whole
    assert write(tmp_path / "whole", *WHOLE, render=None, resume=True).rejections == whole


def test_missing_shards_and_no_export_at_all_are_named(tmp_path: Path):
    write(tmp_path / "out", *WHOLE, shard=(2, 2))
    with pytest.raises(DataError, match="2 of 3 chunks are not written yet"):
        merge_export(tmp_path / "out")
    with pytest.raises(RunExistsError, match="found no export"):
        merge_export(tmp_path)
    with pytest.raises(ConfigError, match="1 <= i <= n"):
        write(tmp_path / "out", *WHOLE, shard=(3, 2))
    with pytest.raises(RunExistsError, match="another export"):
        write(tmp_path / "out", *WHOLE[:2], shard=(1, 2))


@pytest.mark.parametrize("change", [{"header": {"seed": 4}}, {"levels": 3}, {"classes": ["b", "a"]}])
def test_another_export_is_not_resumed(tmp_path: Path, change: dict):
    write(tmp_path, request())
    with pytest.raises(RunExistsError, match="another export"):
        write(tmp_path, request(), **change, resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((3, 6, 7, 3), np.float32)},
        {"images": np.zeros((3, 3, 6, 7), np.uint8)},
        {"images": np.zeros((2, 6, 7, 3), np.uint8)},
        {"masks": np.zeros((3, 7, 6), np.uint8)},
        {"masks": np.full((3, 6, 7), 2, np.uint8)},
        {"masks": np.zeros((3, 6, 7), bool)},
        {"scores": {"realism": np.zeros(2)}},
        {"scores": {"file": np.zeros(3)}},
    ],
)
def test_chunk_outside_its_contract_is_refused(tmp_path: Path, changes: dict):
    with pytest.raises(DataError, match="expected"):
        write(tmp_path, request(), render=partial(samples, **changes))


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([request(), request(first=2)], "each index once, got 2 of class 'a'"),
        ([request("unknown")], "expected a class of"),
        ([request(first=-1)], "first index of at least 0"),
        ([request(count=0)], "samples"),
    ],
)
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, requests: list, message: str):
    with pytest.raises(DataError, match=message):
        write(tmp_path / "out", *requests)
    assert not (tmp_path / "out").exists()


def test_scores_that_change_from_chunk_to_chunk_are_refused(tmp_path: Path):
    def render(asked: ChunkRequest) -> ExportChunk:
        return samples(asked, **({"scores": {}} if asked.first_index else {}))

    with pytest.raises(DataError, match="expected the scores"):
        write(tmp_path, request(), request(first=3), render=render)


@pytest.mark.parametrize("change", [{"header": {"x": float("nan")}}, {"header": {"x": {1, 2}}}, {"levels": 1}])
def test_request_that_cannot_be_recorded_is_refused(tmp_path: Path, change: dict):
    with pytest.raises(DataError, match="expected"):
        write(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


# --- a check before the samples come into sight ----------------------------------------------------------------------


def verdict(refusal: str | None):
    """Return a check that says this, and what it was shown."""
    shown: list[Exported] = []

    def check(exported: Exported) -> Checked:
        shown.append(exported)
        assert all((exported.root / file).is_file() for file in exported.files)
        return Checked({"rate": 0.5}, refusal)

    return check, shown


def test_a_check_sees_every_sample_and_its_figures_are_kept(tmp_path: Path):
    check, shown = verdict(None)
    summary = write(tmp_path / "out", *WHOLE, check=check)
    (seen,) = shown
    assert seen.classes == ("a",) * 6 + ("b",) * 3
    assert seen.files == tuple(row["file"] for row in manifest(tmp_path / "out"))
    assert (seen.header, summary.check) == (HEADER, {"rate": 0.5})
    write(tmp_path / "unchecked", *WHOLE)
    checked, unchecked = contents(tmp_path / "out"), contents(tmp_path / "unchecked")
    record = json.loads(checked.pop("export.json"))
    assert record.pop("check") == {"rate": 0.5}
    assert record == json.loads(unchecked.pop("export.json"))
    assert checked == unchecked


def test_refused_samples_are_out_of_sight_and_are_not_rendered_again(tmp_path: Path):
    for folder, first in (("new", {}), ("complete", {"resume": True})):
        out = tmp_path / folder
        if first:
            write(out, *WHOLE)
        with pytest.raises(DataError, match="too alike"):
            write(out, *WHOLE, check=verdict("too alike")[0], **first)
        assert not (out / "images").exists()
        assert not (out / "masks").exists()
        assert not (out / "manifest.csv").exists()
        record = json.loads((out / "export.json").read_text())
        assert (record["complete"], record["check"], record["refused"]) == (False, {"rate": 0.5}, "too alike")
    with pytest.raises(DataError, match=r"was refused \(too alike\)"):
        write(out, *WHOLE, resume=True)
    passed = write(tmp_path / "new", *WHOLE, render=None, resume=True, check=verdict(None)[0])
    assert (passed.written, passed.skipped) == (0, 9)
    write(tmp_path / "complete", *WHOLE, resume=True, check=verdict(None)[0])
    assert contents(tmp_path / "new") == contents(tmp_path / "complete")
    assert "refused" not in json.loads((tmp_path / "new" / "export.json").read_text())


def test_shards_are_checked_when_they_are_merged(tmp_path: Path):
    check, shown = verdict("too alike")
    with pytest.raises(ConfigError, match="when the shards are merged"):
        write(tmp_path / "out", *WHOLE, shard=(1, 2), check=check)
    for part in (1, 2):
        write(tmp_path / "out", *WHOLE, shard=(part, 2))
    with pytest.raises(DataError, match="too alike"):
        merge_export(tmp_path / "out", check=check)
    assert len(shown[0].files) == 9
    assert not (tmp_path / "out" / "images").exists()
    with pytest.raises(DataError, match="was refused"):
        merge_export(tmp_path / "out")
    assert merge_export(tmp_path / "out", check=verdict(None)[0]).counts == {"a": 6, "b": 3}


@pytest.mark.parametrize("moved", [("masks",), ("masks", "images")])
def test_an_export_that_was_stopped_while_it_came_into_sight_goes_on(tmp_path: Path, moved: tuple[str, ...]):
    write(tmp_path / "whole", *WHOLE)
    for part in (1, 2):
        write(tmp_path / "part", *WHOLE, shard=(part, 2))
    for kind in moved:
        (tmp_path / "part" / "unfinished" / kind).rename(tmp_path / "part" / kind)
    assert write(tmp_path / "part", *WHOLE, render=None, resume=True).skipped == 9
    assert contents(tmp_path / "whole") == contents(tmp_path / "part")
