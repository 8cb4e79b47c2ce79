"""Write synthetic images, their masks and a manifest, a chunk at a time.

::

    DIR/export.json               what is written here, first; `complete` turns true last
    DIR/images/CLASS/*.png        readable by torchvision's `ImageFolder`
    DIR/images/metadata.jsonl     read by Hugging Face's `imagefolder`
    DIR/masks/CLASS/*.png         level k of L as round(255 k / (L - 1)): 0 and 255 for L = 2
    DIR/manifest.csv              file, mask, class, label, seed, index and scores of every image
    DIR/rows/*.json               rows of the finished chunks, until the tables are made of them

A chunk whose rows are there is finished: it is not rendered again by a resumed export, and the shards of one export can
be written by several machines into one folder. Files are written from arrays only, under names made here: a class name
from data never becomes a path unless it is a safe one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan import storage
from syncgan.data.images import encode_png
from syncgan.data.rejections import Account, Rejections
from syncgan.data.safe_names import csv_cell, safe_folder_names, slug
from syncgan.errors import ArtefactError, ConfigError, DataError, RunExistsError

__all__ = ["ChunkRequest", "ExportChunk", "ExportSummary", "merge_export", "write_export"]

_EXPORT_JSON = "export.json"
_MANIFEST, _METADATA = "manifest.csv", "metadata.jsonl"
_ROWS = "rows"
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
class ExportSummary:
    """What an export left behind.

    Attributes
    ----------
    folder : the export.
    manifest : its table; None while shards are missing (`merge_export` writes it).
    counts : class name -> number of images, of this shard or of all.
    written, skipped : images written now, and those that were there before.
    rejections : what filters refused for the whole export, or for this shard.
    """

    folder: Path
    manifest: Path | None
    counts: dict[str, int]
    written: int
    skipped: int
    rejections: Rejections = field(default_factory=Rejections)


def write_export(
    folder: str | PathLike[str],
    requests: Sequence[ChunkRequest],
    render: Callable[[ChunkRequest], ExportChunk],
    *,
    classes: Sequence[str],
    levels: int,
    header: Mapping[str, Any],
    resume: bool = False,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Write chunks of samples as an image folder with masks and a manifest.

    One chunk is in memory at a time. The manifest is written last: without it an export is not complete.

    Parameters
    ----------
    folder : made if it does not exist; must be empty unless `resume`.
    requests : the chunks of the whole export, the same for every shard.
    render : makes the samples of one chunk.
    classes : every class name that may occur, in label order.
    levels : L, the number of mask levels.
    header : JSON-compatible description of the request (model, seed, counts), kept in ``export.json``.
    resume : go on in a folder that holds a part of an export with the same header; finished chunks are not rendered
        again.
    shard : (i, n) writes chunks i, i + n, i + 2n, ... with 1 <= i <= n. The shards may run at the same time, on several
        machines, in one folder; afterwards `merge_export` makes the tables.
    progress : called with (images done, images of this shard).

    Raises
    ------
    RunExistsError
        `folder` holds something else.
    DataError
        A chunk does not fit its contract, or an index occurs twice.
    ConfigError
        No such shard.
    ArtefactError
        The disk is full or the folder cannot be written.
    """
    folder, (position, shards) = Path(folder), shard
    if not (isinstance(position, int) and isinstance(shards, int) and 1 <= position <= shards):
        raise ConfigError(f"expected a shard (i, n) of whole numbers with 1 <= i <= n, got ({position}, {shards})")
    folders = safe_folder_names(classes)
    _check_requests(requests, folders)
    description = _description(folders, levels, header, requests)
    _claim(folder, description, resume, alone=shards == 1)
    writer = _Writer(folder, folders, levels)
    own = list(enumerate(requests))[position - 1 :: shards]
    counts = _counts([request for _, request in own], classes)
    images = sum(counts.values())
    if _is_complete(folder):
        # The tables are there: only lost images are made again.
        for request in requests:
            if not writer.is_there(request):
                writer.write(request, render(request))
        found = _found(folder)
        return replace(found, written=writer.written, skipped=found.skipped - writer.written)
    _begin(folder, description)
    for number, request in own:
        if not writer.take(number):
            writer.add(number, request, render(request))
        if progress is not None:
            progress(writer.written + writer.skipped, images)
    if shards > 1:
        return ExportSummary(folder, None, counts, writer.written, writer.skipped, writer.account.total)
    return _merged(folder, writer)


def merge_export(folder: str | PathLike[str]) -> ExportSummary:
    """Make manifest and metadata of an export whose shards are all written.

    Raises
    ------
    RunExistsError
        The folder holds no export.
    DataError
        Chunks, or images of them, are missing; says how many.
    ArtefactError
        A file of the export is damaged.
    """
    folder = Path(folder)
    found = _record(folder / _EXPORT_JSON)
    if found.get("format") != "syncgan-export":
        raise RunExistsError(f"{folder}: expected an export to merge, found no {_EXPORT_JSON}; check the path")
    if found.get("complete"):
        return _found(folder)
    with _undamaged(folder / _EXPORT_JSON):
        writer, chunks = _Writer(folder, found["folders"], int(found["levels"])), range(int(found["chunks"]))
    missing = [number for number in chunks if not writer.take(number)]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {found['chunks']} chunks are not written yet, or lost images; run their "
            "shards first (finished images are not rendered again)"
        )
    return _merged(folder, writer)


def _merged(folder: Path, writer: _Writer) -> ExportSummary:
    """Make the tables of all rows; what they were made of is no longer needed then."""
    writer.write_tables()
    storage.sweep_temporaries(folder)
    record = {**_record(folder / _EXPORT_JSON), "rejections": writer.account.total.as_dict(), "complete": True}
    storage.write_json(folder / _EXPORT_JSON, record)
    shutil.rmtree(folder / _ROWS, ignore_errors=True)
    return replace(_found(folder), written=writer.written, skipped=writer.skipped)


def _found(folder: Path) -> ExportSummary:
    """Return the summary of a complete export in which nothing had to be done."""
    found = _record(folder / _EXPORT_JSON)
    with _undamaged(folder / _EXPORT_JSON):
        counts = {name: int(found["counts"][name]) for name in found["classes"]}
        rejections = Rejections.from_dict(found["rejections"])
    return ExportSummary(folder, folder / _MANIFEST, counts, 0, sum(counts.values()), rejections)


# --- claiming the folder ---------------------------------------------------------------------------------------------


def _check_requests(requests: Sequence[ChunkRequest], folders: Mapping[str, str]) -> None:
    ends: dict[str, int] = {}
    for request in requests:
        if request.class_name not in folders:
            raise DataError(f"expected a class of {list(folders)}, got {request.class_name!r}")
        if request.first_index < 0 or request.count < 1:
            raise DataError(f"expected a first index of at least 0 and samples, got {request}")
        if request.first_index < ends.get(request.class_name, 0):
            raise DataError(
                f"expected each index once, got {request.first_index} of class {request.class_name!r} again"
            )
        ends[request.class_name] = request.first_index + request.count


def _description(
    folders: Mapping[str, str], levels: int, header: Mapping[str, Any], requests: Sequence[ChunkRequest]
) -> dict[str, Any]:
    if not 2 <= levels <= 256:
        raise DataError(f"expected 2 to 256 mask levels, got {levels}")
    try:
        plain = json.loads(json.dumps(dict(header), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(f"expected a JSON-compatible header ({error})") from error
    return {
        "format": "syncgan-export",
        "format_version": 1,
        "levels": levels,
        "classes": list(folders),  # a mapping compares without order, a list with it
        "folders": dict(folders),
        "header": plain,
        "counts": _counts(requests, list(folders)),
        "chunks": len(requests),
    }


def _counts(requests: Sequence[ChunkRequest], classes: Sequence[str]) -> dict[str, int]:
    counts = dict.fromkeys(classes, 0)
    for request in requests:
        counts[request.class_name] += request.count
    return counts


def _claim(folder: Path, description: Mapping[str, Any], resume: bool, *, alone: bool) -> None:
    """Refuse a folder that holds something else; the shards of one export may find each other's files."""
    if folder.exists() and not folder.is_dir():
        raise RunExistsError(f"{folder}: is a file, expected a folder; choose another name")
    _make(folder)
    if alone:
        storage.sweep_temporaries(folder)
    if any(not storage.is_temporary(entry.name) for entry in folder.iterdir()):
        if alone and not resume:
            raise RunExistsError(f"{folder}: expected a new or empty folder, it holds files; choose another, or resume")
        _check_same_export(folder / _EXPORT_JSON, description)


def _begin(folder: Path, description: Mapping[str, Any]) -> None:
    storage.write_json(folder / _EXPORT_JSON, {**description, "complete": False})
    for kind in ("images", "masks", _ROWS):
        _make(folder / kind)


def _is_complete(folder: Path) -> bool:
    tables = (folder / _MANIFEST, folder / "images" / _METADATA)
    return bool(_record(folder / _EXPORT_JSON).get("complete")) and all(table.is_file() for table in tables)


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of our own file into an `ArtefactError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{path}: is damaged ({type(error).__name__}: {error}); delete it and run again") from error


def _check_same_export(marker: Path, description: Mapping[str, Any]) -> None:
    if not marker.is_file():
        raise RunExistsError(
            f"{marker.parent}: holds files but no {marker.name}, so no export to resume; choose another"
        )
    found = _record(marker)
    changed = [key for key, value in description.items() if found.get(key) != value]
    if changed:
        raise RunExistsError(
            f"{marker.parent}: holds another export (different {', '.join(changed)}); choose another folder"
        )


def _record(marker: Path) -> dict[str, Any]:
    found = storage.read_json(marker) if marker.is_file() else {}
    return found if isinstance(found, dict) else {}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be made ({error.strerror}); choose a writable folder") from error


# --- writing ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Write chunks, keep their rows, and make the tables of them."""

    def __init__(self, folder: Path, folders: Mapping[str, str], levels: int) -> None:
        self.rows: dict[int, list[dict[str, Any]]] = {}
        self.written = 0
        self.skipped = 0
        self.account = Account()
        self._folder = folder
        self._folders = folders
        self._levels = levels
        self._gray_of_level = np.rint(255 * np.arange(levels) / (levels - 1)).astype(np.uint8)
        self._score_names: list[str] | None = None

    def is_there(self, request: ChunkRequest) -> bool:
        """Tell whether every image and mask of a request is written."""
        return all((self._folder / name).is_file() for pair in self._places(request) for name in pair)

    def take(self, number: int) -> bool:
        """Take the rows of a chunk that is finished, with all its images, and tell whether it is."""
        path = self._folder / _ROWS / f"{number:06d}.json"
        if not path.is_file():
            return False
        found = storage.read_json(path)
        with _undamaged(path):
            rows, rejections = list(found["rows"]), Rejections.from_dict(found["rejections"])
            # What the tables need: every column, and text that can be written (damage can make half a character).
            json.dumps([[row[column] for column in _COLUMNS] + [*row] for row in rows], ensure_ascii=False).encode()
            if not all((self._folder / row[kind]).is_file() for row in rows for kind in ("file", "mask")):
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
        storage.write_json(self._folder / _ROWS / f"{number:06d}.json", record)

    def write(self, request: ChunkRequest, chunk: ExportChunk) -> list[dict[str, Any]]:
        """Write the images of a chunk that are not there yet, and return its rows."""
        _check_arrays(request, chunk, self._levels)
        # A folder without an image would be a class that image-folder readers refuse.
        for kind in ("images", "masks"):
            _make(self._folder / kind / self._folders[request.class_name])
        rows = []
        for offset, (image, mask) in enumerate(self._places(request)):
            pixels = {image: chunk.images[offset], mask: self._gray_of_level[chunk.masks[offset]]}
            # storage writes atomically: a file that is there is complete.
            missing = [name for name in pixels if not (self._folder / name).exists()]
            for name in missing:
                storage.write_bytes(self._folder / name, encode_png(pixels[name]))
            self.written += bool(missing)
            self.skipped += not missing
            own = (image, mask, request.class_name, int(request.label), int(request.seed), request.first_index + offset)
            scores = {name: values[offset].item() for name, values in chunk.scores.items()}
            rows.append({**dict(zip(_COLUMNS, own, strict=True)), **scores})
        return rows

    def write_tables(self) -> None:
        """Write ``metadata.jsonl``, then the manifest."""
        rows = [row for _, some in sorted(self.rows.items()) for row in some]
        lines = [json.dumps(_metadata(row)) + "\n" for row in rows]
        storage.write_text(self._folder / "images" / _METADATA, "".join(lines))
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        columns = (*_COLUMNS, *(self._score_names or ()))
        table.writerow([csv_cell(column) for column in columns])
        table.writerows([csv_cell(row[column]) for column in columns] for row in rows)
        storage.write_text(self._folder / _MANIFEST, stream.getvalue())

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
