"""An export is complete, readable by others, safe against hostile names, and can be resumed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from syncgan.data import export
from syncgan.data.export import ExportChunk, csv_cell, safe_folder_names, write_export
from syncgan.data.images import read_image, read_mask
from syncgan.errors import ArtefactError, DataError, RunExistsError

HOSTILE = ["../x", "CON", "a/b", "=cmd", "Ümlaut", "🔬", "a", "A", "..", "", "-rf", "nul.txt", "x\ny", "end.", " pad"]
HOSTILE += ["metadata.jsonl", "x" * 300, "U\u0308", "~", "C:\\x", ".hidden", "000--x", "a\0b", "+1", "@SUM(A1)"]
HEADER = {"model": "abc", "seed": 3}


def chunk(name: str = "a", label: int = 0, first: int = 0, count: int = 3, levels: int = 2, **changes) -> ExportChunk:
    rng = np.random.default_rng([label, first])
    values = {
        "class_name": name,
        "label": label,
        "first_index": first,
        "seed": 3,
        "images": rng.integers(0, 256, (count, 6, 7, 3)).astype(np.uint8),
        "masks": rng.integers(0, levels, (count, 6, 7)).astype(np.uint8),
        "scores": {"realism": rng.random(count)},
    }
    return ExportChunk(**values | changes)


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# --- layout ----------------------------------------------------------------------------------------------------------


def test_export_leaves_images_masks_and_tables(tmp_path: Path):
    chunks = [chunk("NILM", 0), chunk("HSIL", 1), chunk("HSIL", 1, first=3)]
    summary = write_export(tmp_path / "out", iter(chunks), classes=["NILM", "HSIL"], levels=2, header=HEADER)
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
    assert float(rows[4]["realism"]) == chunks[1].scores["realism"][1]


def test_pixels_come_back(tmp_path: Path):
    part = chunk()
    write_export(tmp_path, [part], classes=["a"], levels=2, header={})
    for i, row in enumerate(manifest(tmp_path)):
        np.testing.assert_array_equal(read_image(tmp_path / row["file"]), part.images[i])
        np.testing.assert_array_equal(read_mask(tmp_path / row["mask"]), part.masks[i] * 255)


@pytest.mark.parametrize(("levels", "grays"), [(2, [0, 255]), (3, [0, 128, 255]), (4, [0, 85, 170, 255])])
def test_mask_levels_are_spread_over_the_gray_range(tmp_path: Path, levels: int, grays: list[int]):
    write_export(tmp_path, [chunk(levels=levels)], classes=["a"], levels=levels, header={})
    found = {int(v) for row in manifest(tmp_path) for v in np.unique(read_mask(tmp_path / row["mask"]))}
    assert found == set(grays)


def test_metadata_lists_every_image_relative_to_its_folder(tmp_path: Path):
    write_export(tmp_path, [chunk("=x", 5)], classes=["b", "=x"], levels=2, header={})
    lines = [json.loads(line) for line in (tmp_path / "images" / "metadata.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"file_name", "label", "class", "mask", "seed"}] * 3
    assert {(line["label"], line["class"], line["seed"]) for line in lines} == {(5, "=x", 3)}
    for line in lines:
        assert (tmp_path / "images" / line["file_name"]).is_file()
        assert (tmp_path / "images" / line["mask"]).is_file()


def test_image_folder_reads_an_export(tmp_path: Path):
    datasets = pytest.importorskip("torchvision.datasets")
    write_export(tmp_path, [chunk("a"), chunk("b", 1)], classes=["a", "b"], levels=2, header={})
    dataset = datasets.ImageFolder(str(tmp_path / "images"))
    assert dataset.classes == ["a", "b"]
    assert dataset.targets == [0, 0, 0, 1, 1, 1]


def test_chunks_are_streamed(tmp_path: Path):
    seen: list[int] = []

    def parts() -> Iterator[ExportChunk]:
        for first in (0, 3, 6):
            seen.append(len(list((tmp_path / "images").rglob("*.png"))))
            yield chunk(first=first)

    write_export(tmp_path, parts(), classes=["a"], levels=2, header={})
    assert seen == [0, 3, 6]


# --- names -----------------------------------------------------------------------------------------------------------


def test_hostile_class_names_stay_inside_and_come_back_from_the_tables(tmp_path: Path):
    chunks = [chunk(name, label, count=1) for label, name in enumerate(HOSTILE)]
    write_export(tmp_path / "out", chunks, classes=HOSTILE, levels=2, header={})
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
            write_export(tmp_path, [chunk()], classes=["a"], levels=2, header={}, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtefactError, match="cannot be made"):
        write_export(tmp_path / "file", [chunk()], classes=["a"], levels=2, header={})


def test_interrupted_export_goes_on_and_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chunks = [chunk(first=0), chunk(first=3), chunk("b", 1)]
    request = {"classes": ["a", "b"], "levels": 2, "header": HEADER}
    write_export(tmp_path / "whole", chunks, **request)
    left = iter(range(7))  # the seventh write fails, in the middle of a chunk, between an image and its mask

    def failing(path: Path, content: bytes) -> None:
        if next(left, None) is None:
            raise ArtefactError("disk full")
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(export.storage, "write_bytes", failing)
        with pytest.raises(ArtefactError):
            write_export(tmp_path / "part", chunks, **request)
    assert not (tmp_path / "part" / "manifest.csv").exists()
    with pytest.raises(RunExistsError):
        write_export(tmp_path / "part", chunks, **request)
    summary = write_export(tmp_path / "part", chunks, **request, resume=True)
    assert summary.written + summary.skipped == 9
    assert summary.skipped > 0
    content = {
        folder: {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.*")}
        for folder in ("whole", "part")
    }
    assert content["whole"] == content["part"]


@pytest.mark.parametrize("change", [{"header": {"seed": 4}}, {"levels": 3}, {"classes": ["b", "a"]}])
def test_another_export_is_not_resumed(tmp_path: Path, change: dict):
    request = {"classes": ["a", "b"], "levels": 2, "header": HEADER}
    write_export(tmp_path, [chunk()], **request)
    with pytest.raises(RunExistsError, match="another export"):
        write_export(tmp_path, [chunk()], **request | change, resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((3, 6, 7, 3), np.float32)},
        {"images": np.zeros((3, 3, 6, 7), np.uint8)},
        {"masks": np.zeros((3, 7, 6), np.uint8)},
        {"masks": np.full((3, 6, 7), 2, np.uint8)},
        {"masks": np.zeros((3, 6, 7), bool)},
        {"scores": {"realism": np.zeros(2)}},
        {"scores": {"file": np.zeros(3)}},
        {"class_name": "unknown"},
        {"first_index": -1},
    ],
)
def test_chunk_outside_its_contract_is_refused(tmp_path: Path, changes: dict):
    with pytest.raises(DataError, match="expected"):
        write_export(tmp_path, [chunk(**changes)], classes=["a"], levels=2, header={})


def test_index_that_occurs_twice_and_changing_scores_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="each index once, got 2 of class 'a'"):
        write_export(tmp_path / "1", [chunk(), chunk(first=2)], classes=["a"], levels=2, header={})
    with pytest.raises(DataError, match="scores"):
        write_export(tmp_path / "2", [chunk(), chunk(first=3, scores={})], classes=["a"], levels=2, header={})


@pytest.mark.parametrize("change", [{"header": {"x": float("nan")}}, {"header": {"x": {1, 2}}}, {"levels": 1}])
def test_request_that_cannot_be_recorded_is_refused(tmp_path: Path, change: dict):
    with pytest.raises(DataError, match="expected"):
        write_export(tmp_path / "out", [], **{"classes": ["a"], "levels": 2, "header": {}} | change)
    assert not (tmp_path / "out").exists()
