"""The files of an export: images and masks of a chunk, the rows that say which chunks are finished, and the tables.

Images and masks lie under ``unfinished/`` until the export is complete, so that no image loader takes a part for a
whole, and what a check refuses is never in sight.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from syncgan import storage
from syncgan.data.images import encode_png
from syncgan.data.rejections import Account, Rejections
from syncgan.data.safe_names import csv_cell, slug
from syncgan.errors import ArtefactError, DataError

__all__ = [
    "MANIFEST",
    "METADATA",
    "ROWS",
    "UNFINISHED",
    "Check",
    "Checked",
    "ChunkRequest",
    "ExportChunk",
    "ExportFiles",
    "Exported",
    "undamaged",
]

MANIFEST: Final = "manifest.csv"
METADATA: Final = "images/metadata.jsonl"
ROWS: Final = "rows"
UNFINISHED: Final = "unfinished"

_KINDS = ("masks", "images")
_COLUMNS = ("file", "mask", "class", "label", "seed", "index")


@dataclass(frozen=True)
class ChunkRequest:
    """Some consecutive samples of one class.

    Attributes
    ----------
    class_name, label : class of all samples of the chunk.
    first_index, count : the samples' indices among all of their class and seed.
    seed : that the samples are drawn with.
    """

    class_name: str
    label: int
    first_index: int
    count: int
    seed: int


@dataclass(frozen=True)
class ExportChunk:
    """The samples of one request, in the order of their index.

    Attributes
    ----------
    images : (N, H, W, 3) uint8 RGB.
    masks : (N, H, W) uint8, levels 0..L-1.
    scores : name -> (N,) numbers for the manifest; every chunk of an export has the same names.
    rejections : what filters refused on the way.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    scores: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    rejections: Rejections = field(default_factory=Rejections)


@dataclass(frozen=True)
class Exported:
    """What a check looks at: all samples of an export, before they come into sight.

    Attributes
    ----------
    root : what `files` are relative to.
    files, classes : image and class name of every sample.
    header : what the samples were drawn from (model, seed, image size).
    """

    root: Path
    files: tuple[str, ...]
    classes: tuple[str, ...]
    header: Mapping[str, Any]


@dataclass(frozen=True)
class Checked:
    """What a check says.

    Attributes
    ----------
    figures : kept in ``export.json``; JSON-compatible.
    refusal : why the samples may not be handed out and what to do, in a sentence; None where they may.
    """

    figures: Mapping[str, Any]
    refusal: str | None = None


Check = Callable[[Exported], Checked]
"""Looks at all samples of an export before they come into sight."""


class ExportFiles:
    """Write chunks, keep their rows, and bring everything into sight.

    Parameters
    ----------
    folder : of the export.
    folders : class name -> its folder.
    levels : L, the number of mask levels.
    complete : whether the export is in sight already.
    """

    def __init__(self, folder: Path, folders: Mapping[str, str], levels: int, *, complete: bool = False) -> None:
        self.root = folder if complete else folder / UNFINISHED
        self.rows: dict[int, list[dict[str, Any]]] = {}
        self.written = 0
        self.skipped = 0
        self.account = Account()
        self._folder = folder
        self._folders = folders
        self._levels = levels
        self._gray_of_level = np.rint(255 * np.arange(levels) / (levels - 1)).astype(np.uint8)
        self._score_names: list[str] | None = None

    def begin(self) -> None:
        """Make the folders."""
        storage.make_folder(self._folder / ROWS)
        self.withdraw()

    def withdraw(self) -> None:
        """Take images and masks out of sight, where a check refuses them or not all of them came into sight."""
        _remove(self._folder / MANIFEST)
        self.root = self._folder / UNFINISHED
        storage.make_folder(self.root)
        for kind in _KINDS:
            if (self._folder / kind).is_dir():
                _move(self._folder / kind, self.root / kind)
            storage.make_folder(self.root / kind)

    def release(self) -> None:
        """Bring images and masks into sight, then write the manifest."""
        if self.root != self._folder:
            for kind in _KINDS:
                _move(self.root / kind, self._folder / kind)
            shutil.rmtree(self.root, ignore_errors=True)
            self.root = self._folder
        self._write_manifest()

    def exported(self, header: Mapping[str, Any]) -> Exported:
        """Return all samples as ``metadata.jsonl`` lists them."""
        path = self.root / METADATA
        with undamaged(path):
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            files, classes = ([str(line[key]) for line in lines] for key in ("file_name", "class"))
        return Exported(self.root, tuple(f"images/{file}" for file in files), tuple(classes), header)

    def is_there(self, request: ChunkRequest) -> bool:
        """Tell whether every image and mask of a request is written."""
        return all((self.root / name).is_file() for pair in self._places(request) for name in pair)

    def take(self, number: int) -> bool:
        """Take the rows of a chunk that is finished, with all its images, and tell whether it is."""
        path = self._folder / ROWS / f"{number:06d}.json"
        if not path.is_file():
            return False
        found = storage.read_json(path)
        with undamaged(path):
            rows, rejections = list(found["rows"]), Rejections.from_dict(found["rejections"])
            # What the tables need: every column, and text that can be written (damage can make half a character).
            json.dumps([[row[column] for column in _COLUMNS] + [*row] for row in rows], ensure_ascii=False).encode()
            if not all((self.root / row[kind]).is_file() for row in rows for kind in ("file", "mask")):
                return False
        self._keep(number, rows)
        self.account.add(rejections)
        self.skipped += len(rows)
        return True

    def add(self, number: int, request: ChunkRequest, chunk: ExportChunk) -> None:
        """Write the images of a chunk that are not there yet, then its rows."""
        rows = self.write(request, chunk)
        self._keep(number, rows)
        self.account.add(chunk.rejections)
        record = {"rows": rows, "rejections": chunk.rejections.as_dict()}
        storage.write_json(self._folder / ROWS / f"{number:06d}.json", record)

    def write(self, request: ChunkRequest, chunk: ExportChunk) -> list[dict[str, Any]]:
        """Write the images of a chunk that are not there yet, and return its rows."""
        _check_arrays(request, chunk, self._levels)
        # A folder without an image would be a class that image-folder readers refuse.
        for kind in ("images", "masks"):
            storage.make_folder(self.root / kind / self._folders[request.class_name])
        rows = []
        for offset, (image, mask) in enumerate(self._places(request)):
            pixels = {image: chunk.images[offset], mask: self._gray_of_level[chunk.masks[offset]]}
            # storage writes atomically: a file that is there is complete.
            missing = [name for name in pixels if not (self.root / name).exists()]
            for name in missing:
                storage.write_bytes(self.root / name, encode_png(pixels[name]))
            self.written += bool(missing)
            self.skipped += not missing
            own = (image, mask, request.class_name, int(request.label), int(request.seed), request.first_index + offset)
            scores = {name: values[offset].item() for name, values in chunk.scores.items()}
            rows.append({**dict(zip(_COLUMNS, own, strict=True)), **scores})
        return rows

    def write_metadata(self) -> None:
        """Write ``metadata.jsonl`` beside the images."""
        storage.write_text(self.root / METADATA, "".join(json.dumps(_metadata(row)) + "\n" for row in self._all_rows()))

    def _write_manifest(self) -> None:
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        columns = (*_COLUMNS, *(self._score_names or ()))
        table.writerow([csv_cell(column) for column in columns])
        table.writerows([csv_cell(row[column]) for column in columns] for row in self._all_rows())
        storage.write_text(self._folder / MANIFEST, stream.getvalue())

    def _all_rows(self) -> list[dict[str, Any]]:
        return [row for _, some in sorted(self.rows.items()) for row in some]

    def _places(self, request: ChunkRequest) -> list[tuple[str, str]]:
        """Return image and mask of every sample of a request, relative to the export."""
        folder, stem = self._folders[request.class_name], slug(request.class_name)
        indices = range(request.first_index, request.first_index + request.count)
        names = [f"{folder}/{stem}_{index:06d}.png" for index in indices]
        return [(f"images/{name}", f"masks/{name}") for name in names]

    def _keep(self, number: int, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            scores = [name for name in row if name not in _COLUMNS]
            self._score_names = scores if self._score_names is None else self._score_names
            if set(scores) != set(self._score_names):
                raise DataError(f"expected the scores {self._score_names} in every chunk, got {scores}")
        self.rows[number] = rows


def _check_arrays(request: ChunkRequest, chunk: ExportChunk, levels: int) -> None:
    images, masks = chunk.images, chunk.masks
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or len(images) != request.count:
        raise DataError(f"expected ({request.count}, H, W, 3) uint8 images, got {images.shape} {images.dtype}")
    if masks.shape != images.shape[:3] or masks.dtype != np.uint8:
        raise DataError(f"expected {images.shape[:3]} uint8 masks, got {masks.shape} {masks.dtype}")
    if masks.size and masks.max() >= levels:
        raise DataError(f"expected mask levels 0..{levels - 1}, got {masks.max()}")
    for name, values in chunk.scores.items():
        if name in _COLUMNS or values.shape != (len(images),):
            raise DataError(
                f"expected ({len(images)},) values of the score {name!r} under a free name, got {values.shape}"
            )


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of ``metadata.jsonl``; its paths are relative to ``images/``."""
    return {
        "file_name": str(row["file"]).removeprefix("images/"),
        "label": row["label"],
        "class": row["class"],
        "mask": f"../{row['mask']}",
        "seed": row["seed"],
    }


# --- the disk --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of our own file into an `ArtefactError`."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{path}: is damaged ({type(error).__name__}: {error}); delete it and run again") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be removed ({error.strerror}); choose a writable folder") from error


def _move(folder: Path, target: Path) -> None:
    try:
        folder.replace(target)
    except OSError as error:
        raise ArtefactError(f"{target}: cannot be made ({error.strerror}); choose a writable folder") from error
