"""Class folders are scanned alike everywhere, and what is left out is said."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncgan.data.folders import (
    ImageFolderDataset,
    load_class_folders,
    read_groups,
    scan_class_folders,
)
from syncgan.errors import DataError, ImageReadError


def add_image(path: Path, value: int = 0, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(path, format=kind or "PNG")
    return path


def add_bytes(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return two classes of three images."""
    for i in range(3):
        add_image(tmp_path / "data" / "b" / f"{i}.png", i)
        add_image(tmp_path / "data" / "a" / f"{i}.png", 100 + i)
    return tmp_path / "data"


def notes_about(notes: tuple[str, ...], name: str) -> list[str]:
    return [note for note in notes if repr(name) in note]


# --- scan ------------------------------------------------------------------------------------------------------------


def test_classes_and_files_are_sorted(root: Path):
    scan = scan_class_folders(root)
    assert scan.classes == ("a", "b")
    assert scan.files == ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png")
    assert scan.labels == (0, 0, 0, 1, 1, 1)
    assert scan.notes == ()


def test_order_does_not_depend_on_the_system(root: Path, monkeypatch: pytest.MonkeyPatch):
    expected = scan_class_folders(root)
    listed = os.scandir

    class Reversed:
        def __init__(self, path: Path) -> None:
            self.entries = sorted(listed(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> object:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert scan_class_folders(root) == expected


def test_nested_files_and_upper_case_extensions_count(root: Path):
    add_image(root / "a" / "patient 1" / "slide" / "X.PNG")
    add_image(root / "a" / "y.JPeG", kind="JPEG")
    add_image(root / "a" / "z.TIF", kind="TIFF")
    add_image(root / "a" / "z.bmp", kind="BMP")
    files = scan_class_folders(root).files
    assert {"a/patient 1/slide/X.PNG", "a/y.JPeG", "a/z.TIF", "a/z.bmp"} <= set(files)


@pytest.mark.parametrize("name", ["ünï 🔬.png", "line\nbreak.png", "-rf.png", "two.dots.png", " space .png"])
def test_unusual_names_are_kept(root: Path, name: str):
    add_image(root / "a" / name)
    assert f"a/{name}" in scan_class_folders(root).files


@pytest.mark.parametrize(
    "name",
    [
        "SOURCE.md",
        "groups.csv",
        "stray.png",
        ".hidden/x.png",
        ".ipynb_checkpoints/x.png",
        "__MACOSX/a/x.png",
        "Thumbs.db",
        ".DS_Store",
        "a/._x.png",
        "a/.ipynb_checkpoints/x.png",
        "a/__MACOSX/x.png",
        "a/Thumbs.db",
        "a/desktop.ini",
        "a/notes.txt",
        "a/movie.mp4",
        "empty class/readme.txt",
    ],
)
def test_what_is_no_image_of_a_class_is_ignored_and_noted(root: Path, name: str):
    expected = scan_class_folders(root)
    add_bytes(root / name)
    scan = scan_class_folders(root)
    assert (scan.files, scan.classes, scan.labels) == (expected.files, expected.classes, expected.labels)
    assert any(name.startswith(part) for note in scan.notes for part in note.split("'")[1::2])


def test_special_files_and_links_that_lead_nowhere_are_noted(root: Path):
    expected = scan_class_folders(root).files
    os.mkfifo(root / "a" / "fifo.png")
    (root / "a" / "dangling.png").symlink_to("nowhere.png")
    (root / "a" / "self.png").symlink_to("self.png")
    add_image(root / "a" / "folder.png" / "inner.png")
    (root / "empty").mkdir()
    scan = scan_class_folders(root)
    assert scan.files == expected
    assert "not a regular file" in notes_about(scan.notes, "a/fifo.png")[0]
    assert "link that leads nowhere" in notes_about(scan.notes, "a/dangling.png")[0]
    assert "link that leads nowhere" in notes_about(scan.notes, "a/self.png")[0]
    assert "folder with the name of an image" in notes_about(scan.notes, "a/folder.png")[0]
    assert "class folder without an image" in notes_about(scan.notes, "empty")[0]


@pytest.mark.timeout(10)
def test_link_loops_end(root: Path, tmp_path: Path):
    expected = scan_class_folders(root).files
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "parent").symlink_to(tmp_path)
    (root / "loop").symlink_to(".")
    (root / "alias of b").symlink_to("b")
    (root / "self loop").symlink_to("self loop")
    scan = scan_class_folders(root)
    assert scan.files == expected
    assert scan.classes == ("a", "b")


@pytest.mark.timeout(10)
def test_links_to_folders_and_files_elsewhere_are_followed(root: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    add_image(elsewhere / "x.png")
    add_image(elsewhere / "y.png")
    (elsewhere / "loop").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    (root / "a" / "link.png").symlink_to(elsewhere / "x.png")
    scan = scan_class_folders(root)
    assert scan.classes == ("a", "b", "c")
    assert {"a/link.png", "c/x.png", "c/y.png"} <= set(scan.files)
    assert len(scan.files) == 9


def test_many_ignored_entries_make_one_short_note(root: Path):
    for i in range(50):
        add_bytes(root / "a" / f"._{i}.png")
    (note,) = scan_class_folders(root).notes
    assert note.startswith("ignored 50 entries such as 'a/._0.png'")
    assert len(note) < 120


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "the folder is empty"),
        (["x.png", "y.png"], "images lie directly in it"),
        (["readme.txt"], "no folder with an image"),
        (["a/readme.txt"], "no folder with an image"),
        (["a/0.png", "a/1.png"], "at least 2 class folders in .*, got only 'a'"),
        (["a/0.png", "a/1.png", "b/0.png"], "at least 2 images a class .* 'b' has 1"),
    ],
)
def test_folder_without_classes_is_refused(tmp_path: Path, files: list[str], message: str):
    (tmp_path / "data").mkdir()
    for file in files:
        add_bytes(tmp_path / "data" / file)
    with pytest.raises(DataError, match=message):
        scan_class_folders(tmp_path / "data")


def test_missing_root_file_as_root_and_link_loop_as_root_are_refused(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    for path, message in (
        (tmp_path / "missing", "found nothing"),
        (add_bytes(tmp_path / "file.zip"), "found a file"),
        (tmp_path / "loop", "found nothing|cannot read"),
        (tmp_path / "nul\0", "found nothing|cannot read"),
    ):
        with pytest.raises(DataError, match=message):
            scan_class_folders(path)


def test_limits_can_be_lowered(tmp_path: Path):
    add_image(tmp_path / "a" / "0.png")
    assert scan_class_folders(tmp_path, min_classes=1, min_images_per_class=1).files == ("a/0.png",)


def add_segmented(folder: Path, suffix: str, *, number: int = 3, colours: int = 4, into: str = ".") -> None:
    """Write images of many colours, and `into` a folder a file of few colours that has its name and `suffix`."""
    generator = np.random.default_rng(0)
    (folder / into).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        Image.fromarray(generator.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(folder / f"cell {i}.BMP")
        regions = np.arange(81).reshape(9, 9) % colours * 3
        Image.fromarray(regions.astype(np.uint8)).convert("RGB").save(folder / into / f"cell {i}{suffix}")


@pytest.mark.parametrize(
    ("suffix", "pattern"), [("-d.bmp", "*-d.bmp"), ("_mask.png", "*_mask.png"), ("[gt].tif", "*[[]gt].tif")]
)
def test_segmentations_beside_their_images_are_warned_of_with_the_way_out(root: Path, suffix: str, pattern: str):
    add_segmented(root / "a", suffix)
    with pytest.warns(UserWarning, match="3 files look like segmentations") as warned:
        dataset, _ = load_class_folders(root)
    assert len(dataset) == 12  # a warning only: a set may look like that
    (said,) = [str(warning.message) for warning in warned]
    assert f"'a/cell 0{suffix}' beside 'a/cell 0.BMP'" in said
    assert f"--exclude '{pattern}'" in said
    left = scan_class_folders(root, exclude=pattern)
    assert not any(suffix in file for file in left.files)
    assert len(left.files) == 9
    assert any("excluded as asked" in note for note in left.notes)


@pytest.mark.parametrize("into", ["masks", "images [gt]"])
def test_segmentations_in_a_folder_of_their_own_are_warned_of_with_the_way_out(root: Path, into: str):
    add_segmented(root / "a", ".bmp", into=into)
    with pytest.warns(UserWarning, match="3 files look like segmentations") as warned:
        load_class_folders(root)
    (said,) = [str(warning.message) for warning in warned]
    assert f"'a/{into}/cell 0.bmp' beside 'a/cell 0.BMP'" in said
    (pattern,) = re.findall("--exclude '(.*?)'", said)
    assert len(scan_class_folders(root, exclude=pattern).files) == 9


def test_segmentations_that_only_their_type_tells_apart_are_warned_of(tmp_path: Path):
    for name in "ab":
        add_segmented(tmp_path / name, ".png")
    with pytest.warns(UserWarning, match="6 files look like segmentations.*--exclude '\\*.png'"):
        load_class_folders(tmp_path)
    add_image(tmp_path / "b" / "other.png")  # an image, which the pattern would leave out
    with pytest.warns(UserWarning, match="6 files look like segmentations.*; move them away"):
        load_class_folders(tmp_path)


def test_images_of_several_patients_with_the_same_names_are_no_segmentations(tmp_path: Path):
    for name in "ab":
        for patient in range(3):
            for i in range(3):
                pixels = np.random.default_rng(10 * patient + i).integers(0, 256, (9, 9, 3)).astype(np.uint8)
                (tmp_path / name / f"patient {patient}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / name / f"patient {patient}" / f"{i}.png")
    load_class_folders(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("-d.bmp", {"number": 2}),  # chance
        ("-d.bmp", {"colours": 17}),  # images
        ("-d.jpg", {}),  # compression makes colours
        ("0.png", {}),  # another number
    ],
)
def test_other_names_and_colours_are_no_segmentations(root: Path, suffix: str, options: dict[str, int]):
    add_segmented(root / "a", suffix, **options)
    load_class_folders(root)


def test_damaged_segmentations_hide_no_others(root: Path):
    add_segmented(root / "a", "_seg.png", number=4)
    (root / "a" / "cell 0_seg.png").write_bytes(b"\x89PNG")
    with pytest.warns(UserWarning, match="4 files look like segmentations"):
        load_class_folders(root)


def test_patterns_are_matched_with_the_path_and_those_without_a_match_are_noted(root: Path):
    add_image(root / "a" / "CROPPED" / "0.png")
    scan = scan_class_folders(root, exclude=["*/CROPPED/*", "b/0.*", "CROPPED"])
    assert scan.files == ("a/0.png", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    assert scan.notes[-1] == "no image matches the pattern 'CROPPED' of what is to be excluded"


# --- dataset ---------------------------------------------------------------------------------------------------------


def test_dataset_has_the_attributes_of_image_folder(root: Path):
    dataset, skipped = load_class_folders(root)
    assert skipped == []
    assert len(dataset) == 6
    assert dataset.classes == ["a", "b"]
    assert dataset.class_to_idx == {"a": 0, "b": 1}
    assert dataset.targets == [0, 0, 0, 1, 1, 1]
    assert dataset.samples[3] == (str(root.absolute() / "b" / "0.png"), 1)
    image, label = dataset[3]
    assert (image.mode, image.size, label) == ("RGB", (5, 4), 1)
    assert dataset.image(1).tolist() == np.full((4, 5, 3), 101).tolist()
    assert (dataset.transform, dataset.target_transform, dataset.transforms) == (None, None, None)


def test_dataset_agrees_with_torchvision_on_a_clean_folder(root: Path):
    datasets = pytest.importorskip("torchvision.datasets")
    reference, ours = datasets.ImageFolder(str(root.absolute())), load_class_folders(root)[0]
    assert ours.samples == reference.samples
    assert ours.classes == reference.classes
    assert ours.targets == reference.targets


def test_transforms_are_applied(root: Path):
    scan = scan_class_folders(root)
    separate = ImageFolderDataset(scan, transform=lambda image: image.size, target_transform=lambda label: label + 10)
    assert separate[3] == ((5, 4), 11)
    assert ImageFolderDataset(scan, transforms=lambda image, label: (label, image.mode))[0] == (0, "RGB")
    with pytest.raises(DataError, match="got both"):
        ImageFolderDataset(scan, transform=str, transforms=str)


def test_dataset_survives_pickle(root: Path):
    dataset = pickle.loads(pickle.dumps(load_class_folders(root)[0]))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(dataset.image(0), load_class_folders(root)[0].image(0))


def test_unreadable_files_are_left_out_with_a_reason_and_a_relative_path(root: Path):
    add_bytes(root / "a" / "broken.png", b"\x89PNG")
    add_bytes(root / "b" / "page.jpg", b"<html>")
    dataset, skipped = load_class_folders(root)
    assert len(dataset) == len(dataset.targets) == len(dataset.samples) == 6
    assert [error.path for error in skipped] == ["a/broken.png", "b/page.jpg"]
    assert all(isinstance(error, ImageReadError) and "is not a JPEG" in error.reason for error in skipped)
    assert str(root) not in str(skipped)


def test_class_left_with_too_few_readable_images_is_refused(root: Path):
    for i in range(2):
        (root / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"'a' has 1 after 2 unreadable files .*a/0.png: is empty"):
        load_class_folders(root)


def test_what_the_decoder_decided_is_noted(root: Path):
    import tifffile

    tifffile.imwrite(root / "a" / "deep.tif", np.full((4, 4), 4000, np.uint16))
    dataset, _ = load_class_folders(root)
    assert notes_about(dataset.notes, "a/deep.tif") == ["'a/deep.tif': 16-bit samples, read as 12-bit"]


def test_one_depth_is_read_for_all_files_so_that_brightness_can_be_compared(root: Path):
    import tifffile

    peaks = {"a/dim.tif": 1000, "a/less dim.tif": 1100, "b/bright.tif": 4000}
    for file, peak in peaks.items():
        tifffile.imwrite(root / file, np.full((4, 4), peak, np.uint16))
    dataset, _ = load_class_folders(root)
    seen = {file: int(dataset.image(index).max()) for index, file in enumerate(dataset.files)}
    assert {file: seen[file] for file in peaks} == {file: round(peak * 255 / 4095) for file, peak in peaks.items()}
    assert seen["a/0.png"] == 100  # 8 bits stay as they are
    (note,) = [note for note in dataset.notes if "16-bit" in note]
    assert "read as 12-bit" in note
    assert "10 bits in 1 file, 12 bits in 2 files" in note


def test_images_to_be_compared_with_others_are_read_with_their_depth(root: Path):
    import tifffile

    for file, peak in {"a/dim.tif": 1000, "b/bright.tif": 4000}.items():
        tifffile.imwrite(root / file, np.full((4, 4), peak, np.uint16))
    dataset, skipped = load_class_folders(root, bit_depth=14)
    seen = {file: int(dataset.image(index).max()) for index, file in enumerate(dataset.files)}
    assert (seen["a/dim.tif"], seen["b/bright.tif"]) == (round(1000 * 255 / 16383), round(4000 * 255 / 16383))
    assert (dataset.bit_depth, skipped) == (14, [])
    (note,) = [note for note in dataset.notes if "16-bit" in note]
    assert note.endswith("read as 14-bit")
    dataset, (left_out,) = load_class_folders(root, bit_depth=10)
    assert "b/bright.tif" not in dataset.files
    assert "12 bits" in left_out.reason


def test_files_that_use_all_of_16_bits_need_no_note(root: Path):
    import tifffile

    tifffile.imwrite(root / "a" / "deep.tif", np.full((4, 4), 65535, np.uint16))
    dataset, _ = load_class_folders(root)
    assert (dataset.bit_depth, dataset.notes) == (16, ())


def test_limit_takes_the_first_files_of_each_class(root: Path):
    assert load_class_folders(root, limit_per_class=2)[0].files == ("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    with pytest.raises(DataError, match="at least 1"):
        load_class_folders(root, limit_per_class=0)


# --- groups and fingerprint ------------------------------------------------------------------------------------------


def test_groups_follow_the_order_of_the_files(tmp_path: Path):
    table = tmp_path / "groups.csv"
    table.write_text('\ufefffile,patient,slide\na/1.png,p2,s1\n./a/0.png,p1,s1\n"b/x,y.png",p3,\nextra.png,p9,s9\n')
    assert read_groups(table, "patient", ["a/0.png", "a/1.png", "b/x,y.png"]) == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,patient\na.png,p1\n", "expected a column 'slide', got 'file', 'patient'"),
        (b"name,slide\na.png,p1\n", "expected a column 'file', got 'name', 'slide'"),
        (b"file,slide\nb.png,p1\n", "got none for 'a.png'"),
        (b"file,slide\na.png,\n", "got none for 'a.png'"),
        (b"file,slide\na.png\n", "got none for 'a.png'"),
        (b"file,slide\na.png,1\na.png,2\n", "expected one group a file, got '1' and '2'"),
        (b"", "expected a column 'file', got none"),
        (b"\xff\xfe\0\0", "expected a UTF-8 table"),
    ],
)
def test_table_without_a_group_for_each_file_is_refused(tmp_path: Path, content: bytes, message: str):
    table = add_bytes(tmp_path / "groups.csv", content)
    with pytest.raises(DataError, match=message):
        read_groups(table, "slide", ["a.png"])


def test_missing_table_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "none.csv", "slide", [])
