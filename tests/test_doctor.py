"""What `examine` finds in folders with planted faults, and what the command ``doctor`` says and exits with."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from syncgan import Phantom, SynCGANConfig
from syncgan.cli import app
from syncgan.data.images import image_kind
from syncgan.errors import ConfigError, DataError, RunExistsError
from syncgan.evaluation.doctor import Examination, environment, examine, probe
from syncgan.evaluation.doctor.environment import about_disk, about_opencv, about_versions
from syncgan.evaluation.doctor.image_rules import about_stain
from syncgan.evaluation.doctor.rules import about_counts, about_forecast
from syncgan.evaluation.same_images import ImagePrint, find_same, print_files, print_of_pixels
from syncgan.networks import pretrained
from syncgan.registry import MASK_GENERATORS

SIZE = 48
TINY = SynCGANConfig.preset("tiny")
PHANTOM = Phantom(8, image_size=SIZE, seed=5)
image = functools.cache(PHANTOM.image)


def write_images(folder: Path, classes: dict[str, int]) -> Path:
    """Write class folders of phantom images, all of them different."""
    indices = iter(range(len(PHANTOM)))
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(image(next(indices))).save(folder / name / f"{number}.png")
    return folder


def quickly(folder: Path | None, **options) -> Examination:
    return examine(folder, **{"config": TINY, "masks": False, "timing": False, **options})


def texts(found: Examination, level: str, topic: str) -> str:
    """Return all that is said of a topic on one level."""
    own = [finding for finding in found.findings if (finding.level, finding.topic) == (level, topic)]
    return "\n".join(line for finding in own for line in (finding.text, *finding.details, finding.remedy))


def run(*arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        app(["doctor", *map(str, arguments)])
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


# --- images and files ------------------------------------------------------------------------------------------------


def test_a_folder_without_faults_has_no_problem_and_nothing_is_written(tmp_path):
    folder = write_images(tmp_path / "data", {"a": 4, "b": 4})
    before = sorted(tmp_path.rglob("*"))
    found = examine(folder, config=TINY.updated(["mask_gan.shared_below=2"]), timing=False)
    assert not found.problems
    assert found.counts == {"a": 4, "b": 4}
    assert found.sizes == {f"{SIZE} x {SIZE} px": 8}
    assert found.kinds == {"PNG, RGB, 8 bits": 8}
    assert found.diagnoses is not None
    assert len(found.diagnoses) == 8
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_files_are_named_with_the_reason(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    (folder / "a" / "empty.png").touch()
    (folder / "a" / "page.jpg").write_text("<html><body>404</body></html>")
    (folder / "b" / "torn.png").write_bytes((folder / "b" / "0.png").read_bytes()[:200])
    found = quickly(folder)
    assert set(found.unreadable) == {"a/empty.png", "a/page.jpg", "b/torn.png"}
    said = texts(found, "worth a look", "files")
    assert "3 files cannot be read" in said
    assert "a/empty.png: is empty" in said
    assert "a/page.jpg: is not a JPEG" in said
    assert not found.problems


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"a": 4}, "one class only"),
        ({"a": 4, "b": 1}, "fewer than 2 images: 'b'"),
    ],
)
def test_what_fit_refuses_is_a_problem(tmp_path, classes, said):
    folder = write_images(tmp_path, classes)
    assert said in texts(quickly(folder), "problem", "images")


def test_a_class_of_damaged_files_alone_is_a_problem(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    (folder / "none").mkdir()
    (folder / "none" / "x.png").touch()
    found = quickly(folder)
    assert found.counts == {"a": 3, "b": 3, "none": 0}
    assert "'none'" in texts(found, "problem", "images")


def test_segmentations_beside_their_images_are_a_problem_until_they_are_excluded(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    for file in sorted(folder.glob("*/*.png")):
        Image.open(file).convert("1", dither=Image.Dither.NONE).save(file.with_name(f"{file.stem}_gt.png"))
    said = texts(quickly(folder), "problem", "files")
    assert "6 files look like segmentations" in said
    assert "--exclude '*_gt.png'" in said
    left = quickly(folder, exclude=["*_gt.png"])
    assert not left.problems
    assert left.counts == {"a": 3, "b": 3}
    assert "ignored 6 entries" in texts(left, "fine", "files")


def write_fields(folder: Path, changes: dict[str, Callable[[np.ndarray], None]], number: int = 24) -> Path:
    """Write class folders of smooth random fields, each with something done to it."""
    generator = np.random.default_rng(0)
    for name, change in changes.items():
        (folder / name).mkdir(parents=True)
        for index in range(number):
            coarse = generator.integers(90, 220, (8, 8, 3)).astype(np.uint8)
            field = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
            change(field)
            Image.fromarray(field).save(folder / name / f"{index}.png")
    return folder


def leave(field: np.ndarray) -> None:
    """Change nothing."""


def draw_bar(field: np.ndarray) -> None:
    field[40:44, 20:44] = 0


def frame_black(field: np.ndarray) -> None:
    field[:6] = field[-6:] = 0


def test_what_is_burnt_into_a_class_is_named_with_its_place_and_whom_it_tells(tmp_path):
    said = texts(quickly(write_fields(tmp_path, {"a": draw_bar, "b": leave})), "worth a look", "pixels")
    assert "a class has the same edges at the same place" in said
    assert "that tells it from 'b'" in said
    left, top, right, bottom = map(
        int, re.search(r"a: from \((\d+), (\d+)\) to \((\d+), (\d+)\) of 48 x 48", said).groups()
    )
    assert abs(np.array([left, top, right, bottom]) - (20, 40, 43, 43)).max() <= 1
    assert "by 24 images" in said


@pytest.mark.parametrize("changes", [{"a": leave, "b": leave}, {"a": frame_black, "b": frame_black}])
def test_fields_and_frames_are_not_taken_for_burnt_in(tmp_path, changes):
    assert "same edges" not in texts(quickly(write_fields(tmp_path, changes)), "worth a look", "pixels")


def test_few_images_and_copies_of_one_cannot_tell_what_is_burnt_in(tmp_path):
    few = write_fields(tmp_path / "few", {"a": draw_bar, "b": draw_bar}, number=19)
    assert "same edges" not in texts(quickly(few), "worth a look", "pixels")
    field = np.asarray(Image.open(few / "a" / "0.png"))
    for name in "ab":
        (tmp_path / "same" / name).mkdir(parents=True)
        for index in range(24):
            Image.fromarray(field + np.uint8(index % 3)).save(tmp_path / "same" / name / f"{index}.png")
    assert "same edges" not in texts(quickly(tmp_path / "same"), "worth a look", "pixels")


def test_a_folder_that_is_not_there_is_an_error_as_elsewhere(tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        quickly(tmp_path / "missing")


def test_few_and_uneven_images_are_said_with_what_the_settings_do():
    counts, gans = {"a": 100, "b": 12}, SynCGANConfig().updated(["mask_gan.generator=decoder"])
    told = {finding.text: finding.remedy for finding in about_counts(counts, gans)}
    few, uneven = (next(text for text in told if part in text) for part in ("fewer than 30", "8.3 times"))
    assert "one mask GAN that is told the class" in few
    assert "'b'" in few
    assert 'strategy="balance"' in told[uneven]
    alone = about_counts(counts, gans.updated(["mask_gan.sharing=class"]))
    assert any("a mask GAN of its own" in finding.text for finding in alone)
    warped = about_counts(counts, gans.updated(["mask_gan.generator=warp"]))
    assert any("so its masks vary little" in finding.text for finding in warped)
    both = about_counts({"a": 12, "b": 12}, gans.updated(["mask_gan.generator=warp"]))
    assert any("so their masks vary little" in finding.text for finding in both)
    assert all(finding.level == "fine" for finding in about_counts({"a": 40, "b": 60}, SynCGANConfig()))


def test_folders_that_are_no_classes_are_named(tmp_path):
    folder = write_images(tmp_path, {"train": 2, "test": 2, "masks": 2})
    said = texts(quickly(folder), "worth a look", "folders")
    assert "'test', 'train'" in said
    assert "segmentation set's: 'masks'" in said


def test_a_size_or_kind_that_tells_the_class_is_worth_a_look(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3, "c": 3})
    for file in (folder / "c").iterdir():
        Image.open(file).resize((24, 24)).save(file.with_suffix(".bmp"))
        file.unlink()
    said = texts(quickly(folder), "worth a look", "pixels")
    assert "the size alone tells a class from the others: 'c'" in said
    assert "the kind of file alone tells a class from the others: 'c'" in said
    assert "3 images are smaller than the 32 px" in said


@pytest.mark.parametrize(("fields", "odd"), [(2, "b/field0.bmp: 360 x 200 px"), (6, "b/CROPPED/0.png: 48 x 48 px")])
def test_fields_among_crops_are_named_with_the_folder_that_parts_them(tmp_path, fields, odd):
    folder = write_images(tmp_path, {"a": 4, "b": 4})
    field = Image.open(folder / "a" / "0.png").resize((360, 200))
    (folder / "b" / "CROPPED").mkdir()
    for file in sorted(folder.glob("b/*.png")):
        file.rename(folder / "b" / "CROPPED" / file.name)
    for number in range(fields):
        field.rotate(number).save(folder / "b" / f"field{number}.bmp")
    said = texts(quickly(folder), "worth a look", "pixels")
    assert f"{min(fields, 4)} images are more than 4 times as large or as small as usual in their class" in said
    assert "the folder 'CROPPED' parts them" in said
    assert "--exclude '*/CROPPED/*'" in said
    assert odd in said
    assert "4 times" not in texts(quickly(folder, exclude=["*/CROPPED/*"]), "worth a look", "pixels")


def test_one_large_image_is_named_without_a_folder(tmp_path):
    folder = write_images(tmp_path, {"a": 4, "b": 4})
    Image.open(folder / "a" / "0.png").resize((200, 200)).save(folder / "b" / "large.png")
    said = texts(quickly(folder), "worth a look", "pixels")
    assert "1 image is more than 4 times as large or as small as usual in its class" in said
    assert "b/large.png: 200 x 200 px, where the median side in b is 48 px" in said
    assert "parts them" not in said


def test_sizes_that_hardly_occur_twice_tell_no_class(tmp_path):
    folder = write_images(tmp_path, {"a": 8, "b": 8})
    for side, file in enumerate(sorted(folder.glob("*/*.png")), start=40):
        Image.open(file).resize((side, side)).save(file)
    assert "the size alone" not in texts(quickly(folder), "worth a look", "pixels")
    for number, file in enumerate(sorted(folder.glob("b/*.png"))):
        Image.open(file).resize((60 + number % 2, 60)).save(file)  # two sizes of four images each
    assert "the size alone tells a class from the others: 'b'" in texts(quickly(folder), "worth a look", "pixels")


def test_bare_slides_that_tell_the_class_are_worth_a_look(tmp_path):
    phantom = Phantom(12, image_size=48)
    for index, (name, _) in enumerate(phantom.samples):
        pixels = phantom.image(index)
        for folder, darker in (("alike", 0), ("apart", 40)):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.maximum(pixels, darker) - np.uint8(darker * ("malignant" in name))).save(path)
    assert not texts(quickly(tmp_path / "alike"), "worth a look", "stain")
    found = quickly(tmp_path / "apart")
    assert "the colour of what is bare tells the classes" in texts(found, "worth a look", "stain")
    assert not found.problems


def test_bare_slides_that_are_saturated_or_flat_tell_no_class():
    generator = np.random.default_rng(0)
    pixels = np.full((12, 40, 40, 3), 255, np.uint8)
    names = ["a", "b"] * 6
    assert about_stain([print_of_pixels(image) for image in pixels], names) == []
    pixels[..., 2] = generator.integers(200, 255, (12, 1, 1))  # blue varies, whatever the class
    assert about_stain([print_of_pixels(image) for image in pixels], names) == []
    pixels[1::2, ..., 2] -= 100
    (found,) = about_stain([print_of_pixels(image) for image in pixels], names)
    assert re.search(r": (8|9)\d% of its variance", found.text)


@pytest.mark.parametrize(
    ("name", "mode", "kind"),
    [
        ("x.png", "RGB", "PNG, RGB, 8 bits"),
        ("x.png", "1", "PNG, black and white, 1 bit"),
        ("x.png", "P", "PNG, palette, 1 bit"),
        ("x.png", "I;16", "PNG, gray, 16 bits"),
        ("x.jpg", "L", "JPEG, gray, 8 bits"),
        ("x.jpg", "CMYK", "JPEG, CMYK, 8 bits"),
        ("x.tif", "RGB", "TIFF, RGB, 8 bits"),
        ("x.tif", "I;16", "TIFF, gray, 16 bits"),
        ("x.tif", "F", "TIFF, gray, 32 bits floating point"),
        ("x.bmp", "RGB", "BMP, RGB, 8 bits"),
    ],
)
def test_how_a_file_is_stored_is_told_from_its_header(tmp_path, name, mode, kind):
    Image.new(mode, (5, 7)).save(tmp_path / name)
    assert image_kind(tmp_path / name) == kind


# --- duplicates ------------------------------------------------------------------------------------------------------


def jpeg(image: Image.Image, **options) -> Image.Image:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", **options)
    return Image.open(buffer)


EDITS = {
    "recompressed": lambda image: jpeg(image, quality=40),
    "halved": lambda image: image.resize((SIZE // 2, SIZE // 2), Image.Resampling.BOX),
    "doubled": lambda image: image.resize((2 * SIZE, 2 * SIZE), Image.Resampling.BILINEAR),
    "brightened": lambda image: image.point(lambda value: min(255, int(1.1 * value + 5))),
    "gray": lambda image: image.convert("L"),
} | {f"turned {turn.name.lower()}": lambda image, turn=turn: image.transpose(turn) for turn in Image.Transpose}


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_is_found_however_it_was_edited(tmp_path, edit):
    folder = write_images(tmp_path, {"a": 6, "b": 6})
    EDITS[edit](Image.open(folder / "a" / "2.png")).save(folder / "a" / "edited.png")
    found = quickly(folder)
    assert [set(same.files) for same in found.duplicates] == [{"a/2.png", "a/edited.png"}]
    assert not found.duplicates[0].exact
    assert "1 image occurs more than once in a class" in texts(found, "worth a look", "duplicates")
    assert not found.problems


def test_different_images_are_no_copies(tmp_path):
    folder = write_images(tmp_path, {"a": 8, "b": 8})
    assert find_same(print_files(folder, sorted(f"{name}/{at}.png" for name in "ab" for at in range(8)))) == []


def test_empty_fields_are_compared_pixel_by_pixel_only(tmp_path):
    folder = write_images(tmp_path, {"a": 2, "b": 2})
    for name, gray in (("one", 240), ("other", 241), ("same", 241)):
        Image.new("RGB", (SIZE, SIZE), (gray,) * 3).save(folder / "a" / f"{name}.png")
    assert [same.files for same in quickly(folder).duplicates] == [("a/other.png", "a/same.png")]


def test_one_image_in_two_classes_is_a_problem(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    Image.open(folder / "a" / "1.png").save(folder / "b" / "same.tif")
    found = quickly(folder)
    said = texts(found, "problem", "duplicates")
    assert "1 image lies in several classes" in said
    assert "'a/1.png', 'b/same.tif': the same pixels" in said
    assert found.duplicates[0].classes == ("a", "b")


def test_a_near_copy_in_another_class_is_worth_a_look_only(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    Image.open(folder / "a" / "1.png").rotate(90).save(folder / "b" / "turned.png")
    found = quickly(folder)
    assert not found.problems
    said = texts(found, "worth a look", "duplicates")
    assert "1 image has a near copy in another class" in said
    assert "either a label is wrong or the images only share an outline" in said
    Image.open(folder / "a" / "1.png").save(folder / "b" / "same.png")
    assert "a label is wrong" in texts(quickly(folder), "problem", "duplicates")


def cell_on(surround: int, seed: int) -> np.ndarray:
    """Draw a round cell with blobs of its own on a flat surround."""
    draws = np.random.default_rng(seed)
    drawn = np.full((96, 96, 3), surround, np.uint8)
    cv2.circle(drawn, (48, 48), 46, (200, 160, 170), -1)
    for _ in range(6):
        x, y = draws.integers(28, 68, size=2).tolist()
        cv2.circle(drawn, (x, y), int(draws.integers(3, 8)), draws.integers(60, 220, size=3).tolist(), -1)
    return drawn


@pytest.mark.parametrize("surround", [0, 255], ids=["black", "white"])
def test_a_surround_that_cells_share_does_not_make_them_alike(surround):
    cells = [cell_on(surround, seed) for seed in range(12)]
    assert find_same([print_of_pixels(cell) for cell in cells]) == []
    for edit in EDITS.values():
        copy = np.asarray(edit(Image.fromarray(cells[3])).convert("RGB"))
        found = find_same([print_of_pixels(cell) for cell in (*cells, copy)])
        assert [same.members for same in found] == [(3, 12)]


def test_images_that_are_like_one_another_in_a_chain_are_not_one_set():
    ends = np.eye(2, 32 * 32, dtype=np.float32)
    angles = np.deg2rad(30) * np.arange(6)  # neighbours correlate by 0.87, others by 0.5 and less
    prints = [
        ImagePrint(9, 9, "", str(at), np.float32(np.cos(angle)) * ends[0] + np.float32(np.sin(angle)) * ends[1])
        for at, angle in enumerate(angles)
    ]
    assert [same.members for same in find_same(prints)] == [(0, 1, 2), (3, 4, 5)]
    assert [same.members for same in find_same(prints[:4])] == [(0, 1, 2), (2, 3)]


def test_a_set_of_many_near_copies_is_told_as_an_outline_that_images_share(tmp_path):
    folder = write_images(tmp_path, {"a": 6, "b": 6})
    for quality in range(40, 90, 10):
        jpeg(Image.open(folder / "a" / "0.png"), quality=quality).save(folder / "b" / f"{quality}.jpg")
    found = quickly(folder)
    assert not found.problems
    assert "6 of 17 images are like one of them: they share an outline" in texts(found, "worth a look", "duplicates")


def test_one_image_in_two_groups_is_a_problem_only_then(tmp_path):
    folder = write_images(tmp_path / "data", {"a": 3, "b": 3})
    Image.open(folder / "a" / "1.png").rotate(90).save(folder / "a" / "turned.png")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))

    def examined(of_copy: str) -> Examination:
        table = tmp_path / "groups.csv"
        with table.open("w", newline="") as stream:
            rows = [(file, of_copy if file == "a/turned.png" else "slide 1") for file in files]
            csv.writer(stream).writerows([("file", "slide"), *rows])
        return quickly(folder, groups=table, group_column="slide")

    said = texts(examined("slide 2"), "problem", "duplicates")
    assert "in several groups" in said
    assert "'slide 1', 'slide 2'" in said
    assert not examined("slide 1").problems
    assert "one group only: 'a', 'b'" in texts(examined("slide 1"), "worth a look", "groups")


def test_copies_of_copies_are_one_set_and_every_set_is_told_once(tmp_path):
    folder = write_images(tmp_path, {"a": 4, "b": 4})
    first = Image.open(folder / "a" / "0.png")
    first.save(folder / "a" / "x.bmp")
    first.rotate(180).save(folder / "a" / "y.png")
    Image.open(folder / "b" / "3.png").save(folder / "b" / "z.png")
    sets = [same.files for same in quickly(folder).duplicates]
    assert sets == [("a/0.png", "a/x.bmp", "a/y.png"), ("b/3.png", "b/z.png")]


@pytest.mark.real_data
def test_real_fields_have_no_copies_and_their_edited_copies_are_found(real_data, tmp_path):
    source = real_data / "cric_fields"
    for name in ("normal", "abnormal"):
        (tmp_path / name).mkdir()
        for file in sorted((source / name).glob("*.png"))[:40]:
            (tmp_path / name / file.name).symlink_to(file)
    assert quickly(tmp_path).duplicates == ()
    first = sorted((tmp_path / "normal").iterdir())[0]
    jpeg(Image.open(first).rotate(90).resize((100, 100)), quality=50).save(tmp_path / "abnormal" / "copy.jpg")
    assert [same.classes for same in quickly(tmp_path).duplicates] == [("abnormal", "normal")]


# --- masks, pictures and settings ------------------------------------------------------------------------------------


def test_failed_masks_are_named_and_a_class_without_masks_is_a_problem(tmp_path):
    folder = write_images(tmp_path, {"a": 4, "b": 1})
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 2, (SIZE, SIZE, 1))
        Image.fromarray(np.repeat(230 + noise, 3, axis=2).astype(np.uint8)).save(folder / "b" / f"blank{number}.png")
    found = quickly(folder, masks=True)
    assert "b: 1 of 4 can be used" in texts(found, "problem", "masks")
    assert "3 of 8 masks failed" in texts(found, "worth a look", "masks")
    assert set(found.diagnoses.problems) == {f"b/blank{number}.png" for number in range(3)}


def shining(seed, level):
    """Return cells that shine on a dark field, brighter the higher the level."""
    draws = np.random.default_rng(seed)
    y, x = np.ogrid[:SIZE, :SIZE]
    cell = (y - draws.integers(22, 27)) ** 2 + (x - draws.integers(22, 27)) ** 2 < 21**2
    image = np.where(cell[..., None], (0, level, 0), 8) + draws.integers(0, 4, (SIZE, SIZE, 1))
    return image.astype(np.uint8)


def test_fluorescence_is_a_problem_that_says_what_to_do_and_has_no_bare_glass(tmp_path):
    for name, level in (("pale", 120), ("bright", 230)):
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.fromarray(shining(number, level)).save(tmp_path / name / f"{number}.png")
    found = quickly(tmp_path, masks=True)
    said = texts(found, "problem", "masks")
    assert "class 'pale': 6 of 6 masks are doubtful: the image is bright on dark (fluorescence?)" in said
    assert "invert the images, or give your own masks or segmenter" in said
    assert not texts(found, "fine", "masks")
    assert "12 of 12 masks can be used, 0 of them without a doubt" in texts(found, "worth a look", "masks")
    assert not texts(found, "worth a look", "stain")


def test_pictures_and_table_are_written_where_asked_for_and_replaced(tmp_path):
    folder, out = write_images(tmp_path / "data", {"a": 3, "b": 3}), tmp_path / "out"
    copy = folder / "a" / "copy.png"
    Image.open(folder / "a" / "0.png").save(copy)
    found = quickly(folder, masks=True, out=out)
    assert {path.name for path in found.written} == {path.name for path in out.iterdir()}
    assert {path.name for path in found.written} == {"masks.png", "duplicates.png", "doctor.json"}
    assert json.loads((out / "doctor.json").read_text())["duplicates"][0]["files"] == ["a/0.png", "a/copy.png"]
    with Image.open(out / "masks.png") as sheet:
        assert min(sheet.size) > SIZE
    copy.unlink()
    quickly(folder, masks=True, out=out)
    assert {path.name for path in out.iterdir()} == {"masks.png", "doctor.json"}


def test_nothing_is_written_into_the_data(tmp_path):
    folder = write_images(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(RunExistsError, match="lies in the data folder"):
        quickly(folder, out=folder / "out")


def test_groups_want_their_column(tmp_path):
    folder = write_images(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(ConfigError, match="name of its column"):
        quickly(folder, groups=tmp_path / "groups.csv")


# --- the machine -----------------------------------------------------------------------------------------------------


def test_two_opencv_wheels_are_named_with_the_remedy():
    (found,) = about_opencv({"opencv-python": "4.11", "opencv-python-headless": "4.12"})
    assert found.level == "worth a look"
    assert "opencv-python 4.11, opencv-python-headless 4.12" in found.text
    assert "pip uninstall opencv-python opencv-python-headless" in found.remedy
    (alone,) = about_opencv({"opencv-python-headless": "4.12"})
    assert alone.level == "fine"


def test_an_opencv_that_cannot_be_imported_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (found,) = about_opencv()
    assert found.level == "problem"
    code, out, err = run()
    assert (code, out) == (1, "")
    assert "cannot be imported" in err


def test_a_torch_that_cannot_be_imported_is_a_problem():
    (found,) = about_versions({"error": "ImportError: libcudart.so.13"})
    assert found.level == "problem"
    assert "libcudart" in found.text


def test_free_disk_is_that_of_the_nearest_folder_that_exists(tmp_path):
    (found,) = about_disk(tmp_path / "not" / "yet")
    assert str(tmp_path) in found.text
    assert "not/yet" not in found.text


def test_the_plan_is_that_of_a_fit_on_as_many_images():
    few = ["mask_gan.sharing=class", "mask_gan.warm_start_steps=0", "mask_gan.steps=7", "image_gan.steps=9"]
    environment, forecast = probe.ask(config=TINY.updated(few), counts={"b": 3, "a": 5}, device="cpu")
    assert environment["torch"]
    assert forecast["stages"] == {"mask_gan/a": 7, "mask_gan/b": 7, "image_gan": 9}
    assert forecast["device"] == "cpu"
    assert forecast["seconds"] > 0
    assert forecast["peak_memory_mb"] > 50
    (said,) = about_forecast(forecast, 1024.0, None)
    assert said.level == "fine"
    assert f"{forecast['peak_memory_mb'] / 1024 + 1:.1f} GiB" in said.text
    scarce, _ = about_forecast(forecast, 1024.0, 1100.0)
    assert scarce.level == "worth a look"


def test_what_a_fit_refuses_is_a_problem_and_not_a_crash(monkeypatch, capsys):
    request = {"device": "cuda:99", "config": TINY.model_dump(mode="json"), "counts": {"a": 3, "b": 3}}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    probe.main()
    (said,) = about_forecast(json.loads(capsys.readouterr().out.splitlines()[-1])["forecast"], 0.0, None)
    assert said.level == "problem"
    assert "cuda:99" in said.text


def test_a_broken_torch_ends_only_the_process_that_was_asked(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    environment, forecast = probe.ask(config=TINY, counts={"a": 3, "b": 3})
    assert "libcudart.so.13" in environment["error"]
    assert forecast == {}


# --- the command -----------------------------------------------------------------------------------------------------


def test_exit_codes_tell_problems_from_errors(tmp_path):
    good = write_images(tmp_path / "good", {"a": 3, "b": 3})
    bad = write_images(tmp_path / "bad", {"a": 3, "b": 1})
    quick = ("--no-masks", "--no-timing", "--preset=tiny")
    assert run(good, *quick)[0] == 0
    code, out, _ = run(bad, *quick)
    assert code == 1
    assert out.splitlines()[-1].startswith("1 problem, ")
    code, _, err = run(tmp_path / "missing", *quick)
    assert (code, len(err.splitlines())) == (2, 1)
    assert run("--groups", tmp_path / "x.csv")[0] == 2


def test_the_last_line_is_json_and_quiet_is_silent(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 1})
    quick = ("--no-masks", "--no-timing", "--preset=tiny")
    code, out, err = run(folder, *quick, "--json")
    told = json.loads(out)
    assert (code, told["problems"], told["classes"]) == (1, 1, {"a": 3, "b": 1})
    assert told["findings"][0]["level"] == "problem"
    assert "problem: images: " in err
    assert run(folder, *quick, "--quiet") == (1, "", "")


def test_names_of_files_cannot_steer_the_terminal(tmp_path):
    folder = write_images(tmp_path / "data", {"a": 3, "[red]b": 3})
    (folder / "a" / "\x1b[2J\n.png").touch()
    Image.open(folder / "a" / "0.png").save(folder / "a" / "copy\x1b[1m.png")
    _, out, _ = run(folder, "--no-timing", "--preset=tiny", "--out", tmp_path / "out")
    assert "\x1b" not in out
    assert "a/\\x1b[2J\\n.png: is empty" in out
    assert "3 [red]b" in out


def test_the_command_never_imports_torch(tmp_path):
    folder = write_images(tmp_path, {"a": 3, "b": 3})
    code = "import sys; from syncgan.cli import app; app(standalone_mode=False); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "doctor", str(folder), "--no-timing", "--preset=tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "masks pass the checks" in done.stdout


def test_a_generator_that_other_processes_do_not_know_is_no_problem(tmp_path, monkeypatch):
    monkeypatch.setitem(MASK_GENERATORS._registered, "mine", lambda levels: None)
    found = examine(
        write_images(tmp_path, {"a": 3, "b": 3}), config=TINY.updated(["mask_gan.generator=mine"]), masks=False
    )
    assert found.forecast == {}
    assert texts(found, "problem", "fit") == ""
    assert "'mine' is known to this process alone" in texts(found, "fine", "fit")


def test_the_network_that_compares_images_is_missed_where_it_would_be_used(monkeypatch):
    monkeypatch.setattr(environment, "_PERCEPTUAL", ("no_package_of_this_name",))
    (said,) = environment.about_extras(SynCGANConfig.preset("default"))
    assert (said.level, "syncgan[metrics]" in said.remedy) == ("worth a look", True)
    assert environment.about_extras(SynCGANConfig.preset("paper")) == []
    monkeypatch.undo()
    assert environment._PERCEPTUAL == (pretrained._NETWORK, pretrained._WEIGHTS)


@pytest.mark.parametrize(
    ("image_size", "advice"),
    [(128, "set image_size=64 (by"), (64, "give larger images"), (256, "set image_size=64 (by")],
)
def test_small_images_get_settings_that_suit_them(tmp_path, image_size, advice):
    config = SynCGANConfig().updated([f"image_size={image_size}"])
    found = quickly(write_images(tmp_path, {"a": 3, "b": 3}), config=config)
    assert advice in texts(found, "worth a look", "pixels")


def test_without_data_the_machine_is_examined_alone():
    code, out, _ = run("--no-timing")
    assert code == 0
    assert "OpenCV" in out
    assert "syncgan" in out
    assert "images" not in out
