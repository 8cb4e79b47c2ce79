"""Write synthetic images, their masks and a manifest, a chunk at a time.

::

    DIR/export.json               what is written here, first; `complete` turns true last
    DIR/images/CLASS/*.png        readable by torchvision's `ImageFolder`
    DIR/images/metadata.jsonl     read by Hugging Face's `imagefolder`
    DIR/masks/CLASS/*.png         level k of L as round(255 k / (L - 1)): 0 and 255 for L = 2
    DIR/manifest.csv              file, mask, class, label, seed, index and scores of every image

Files are written from arrays only, under names made here: a class name from data never becomes a path unless it is a
safe one.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan import storage
from syncgan.data.images import encode_png
from syncgan.errors import ArtefactError, DataError, RunExistsError

__all__ = ["ExportChunk", "ExportSummary", "csv_cell", "safe_folder_names", "write_export"]

_EXPORT_JSON = "export.json"
_MANIFEST = "manifest.csv"
_COLUMNS = ("file", "mask", "class", "label", "seed", "index")
# Devices of Windows, and what image-folder readers take for a table.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|metadata\..*", re.IGNORECASE)
_LONGEST_FOLDER_BYTES = 80


@dataclass(frozen=True)
class ExportChunk:
    """Some samples of one class, in the order of their index.

    Attributes
    ----------
    class_name, label : class of all samples of the chunk.
    first_index : index of the first sample among all samples of its class and seed.
    seed : seed that the samples were drawn with.
    images : (N, H, W, 3) uint8 RGB.
    masks : (N, H, W) uint8, levels 0..L-1.
    scores : name -> (N,) numbers for the manifest; every chunk of an export has the same names.
    """

    class_name: str
    label: int
    first_index: int
    seed: int
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    scores: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportSummary:
    """What an export left behind.

    Attributes
    ----------
    folder, manifest : the export and its table.
    counts : class name -> number of images.
    written, skipped : images written now, and those that an interrupted export had written before.
    """

    folder: Path
    manifest: Path
    counts: dict[str, int]
    written: int
    skipped: int


def write_export(
    folder: str | PathLike[str],
    chunks: Iterable[ExportChunk],
    *,
    classes: Sequence[str],
    levels: int,
    header: Mapping[str, Any],
    resume: bool = False,
) -> ExportSummary:
    """Write chunks of samples as an image folder with masks and a manifest.

    One chunk is in memory at a time. The manifest is written last: without it an export is not complete.

    Parameters
    ----------
    folder : made if it does not exist; must be empty unless `resume`.
    chunks : the samples; may be a generator that renders them.
    classes : every class name that may occur, in label order.
    levels : L, the number of mask levels.
    header : JSON-compatible description of the request (model, seed, counts), kept in ``export.json``.
    resume : go on in a folder that holds a part of an export with the same header. Images that are there already are
        not written again; the chunks must be the same.

    Raises
    ------
    RunExistsError
        `folder` holds something else.
    DataError
        A chunk does not fit its contract, or an index occurs twice.
    ArtefactError
        The disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    folders = safe_folder_names(classes)
    description = _description(folders, levels, header)
    _claim(folder, description, resume)
    for kind in ("images", "masks"):
        _make(folder / kind)
        storage.sweep_temporaries(folder / kind)
    writer = _Writer(folder, folders, levels)
    for chunk in chunks:
        writer.add(chunk)
    writer.write_tables()
    storage.write_json(folder / _EXPORT_JSON, {**description, "complete": True})
    counts = Counter(str(row["class"]) for row in writer.rows)
    return ExportSummary(
        folder, folder / _MANIFEST, {name: counts[name] for name in classes}, writer.written, writer.skipped
    )


def safe_folder_names(classes: Sequence[str]) -> dict[str, str]:
    """Give each class a folder: its true name where that is safe on every system, else index and slug.

    Safe means letters, digits, spaces and ``. _ - ( )`` in composed Unicode, beginning and ending with a letter, digit
    or underscore, not a reserved name, at most 80 bytes, and unique without case.

    Raises
    ------
    DataError
        A class name occurs twice or is not valid Unicode.

    Examples
    --------
    >>> safe_folder_names(["NILM", "a", "A", "HSIL/CIN2"])
    {'NILM': 'NILM', 'a': '001-a', 'A': '002-a', 'HSIL/CIN2': '003-hsil-cin2'}
    """
    _check_class_names(classes)
    folded = Counter(_fold(name) for name in classes)
    is_true = {name: _is_safe(name) and folded[_fold(name)] == 1 for name in classes}
    taken = {_fold(name) for name in classes if is_true[name]}
    names: dict[str, str] = {}
    for index, name in enumerate(classes):
        folder = name if is_true[name] else f"{index:03d}-{_slug(name)}"
        while not is_true[name] and _fold(folder) in taken:
            folder += "-x"
        taken.add(_fold(folder))
        names[name] = folder
    return names


def csv_cell(value: object) -> str:
    """Format a cell so that a spreadsheet shows text as text.

    Text that begins with ``= + - @``, a tab or a carriage return gets a leading apostrophe; numbers stay numbers.
    """
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


# --- names -----------------------------------------------------------------------------------------------------------


def _check_class_names(classes: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError(f"expected different class names, got {repeated[0]!r} more than once; rename one")
    for name in classes:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise DataError(f"expected class names in valid Unicode, got {name!a}; rename the class")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_safe(name: str) -> bool:
    is_plain = re.fullmatch(r"\w(?:[\w .()-]*[\w)])?", name) is not None
    is_composed = unicodedata.normalize("NFC", name) == name
    is_short = len(name.encode("utf-8")) <= _LONGEST_FOLDER_BYTES
    return is_plain and is_composed and is_short and _RESERVED.fullmatch(name) is None


def _slug(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only)[:40].strip("-") or "class"


# --- claiming the folder ---------------------------------------------------------------------------------------------


def _description(folders: Mapping[str, str], levels: int, header: Mapping[str, Any]) -> dict[str, Any]:
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
    }


def _claim(folder: Path, description: Mapping[str, Any], resume: bool) -> None:
    """Refuse a folder that holds something else, and leave ``export.json`` in ours."""
    _make(folder)
    storage.sweep_temporaries(folder)
    marker = folder / _EXPORT_JSON
    if any(folder.iterdir()):
        if not resume:
            raise RunExistsError(f"{folder}: expected a new or empty folder, it holds files; choose another, or resume")
        _check_same_export(marker, description)
    storage.write_json(marker, {**description, "complete": False})


def _check_same_export(marker: Path, description: Mapping[str, Any]) -> None:
    if not marker.is_file():
        raise RunExistsError(
            f"{marker.parent}: holds files but no {marker.name}, so no export to resume; choose another"
        )
    found = storage.read_json(marker)
    found = found if isinstance(found, dict) else {}
    changed = [key for key, value in description.items() if found.get(key) != value]
    if changed:
        raise RunExistsError(
            f"{marker.parent}: holds another export (different {', '.join(changed)}); choose another folder"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be made ({error.strerror}); choose a writable folder") from error


# --- writing ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Write chunks and collect the rows of the tables."""

    def __init__(self, folder: Path, folders: Mapping[str, str], levels: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.written = 0
        self.skipped = 0
        self._folder = folder
        self._folders = folders
        self._levels = levels
        self._gray_of_level = np.rint(255 * np.arange(levels) / (levels - 1)).astype(np.uint8)
        self._seen: set[tuple[str, int]] = set()
        self._score_names: tuple[str, ...] | None = None

    def add(self, chunk: ExportChunk) -> None:
        """Write the images of a chunk that are not there yet."""
        self._check(chunk)
        if len(chunk.images):
            # A folder without an image would be a class that image-folder readers refuse.
            for kind in ("images", "masks"):
                _make(self._folder / kind / self._folders[chunk.class_name])
        for offset in range(len(chunk.images)):
            row = self._row(chunk, offset)
            pixels = {row["file"]: chunk.images[offset], row["mask"]: self._gray_of_level[chunk.masks[offset]]}
            # storage writes atomically: a file that is there is complete.
            missing = [name for name in pixels if not (self._folder / name).exists()]
            for name in missing:
                storage.write_bytes(self._folder / name, encode_png(pixels[name]))
            self.written += bool(missing)
            self.skipped += not missing
            self.rows.append(row)

    def write_tables(self) -> None:
        """Write ``metadata.jsonl``, then the manifest."""
        lines = [json.dumps(_metadata(row)) + "\n" for row in self.rows]
        storage.write_text(self._folder / "images" / "metadata.jsonl", "".join(lines))
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator="\n")
        columns = (*_COLUMNS, *(self._score_names or ()))
        table.writerow([csv_cell(column) for column in columns])
        table.writerows([csv_cell(row[column]) for column in columns] for row in self.rows)
        storage.write_text(self._folder / _MANIFEST, stream.getvalue())

    def _row(self, chunk: ExportChunk, offset: int) -> dict[str, Any]:
        index = chunk.first_index + offset
        place = f"{self._folders[chunk.class_name]}/{_slug(chunk.class_name)}_{index:06d}.png"
        scores = {name: values[offset].item() for name, values in chunk.scores.items()}
        own = {
            "file": f"images/{place}",
            "mask": f"masks/{place}",
            "class": chunk.class_name,
            "label": int(chunk.label),
            "seed": int(chunk.seed),
            "index": index,
        }
        return own | scores

    def _check(self, chunk: ExportChunk) -> None:
        _check_arrays(chunk, self._levels)
        if chunk.class_name not in self._folders:
            raise DataError(f"expected a class of {list(self._folders)}, got {chunk.class_name!r}")
        if self._score_names is None:
            self._score_names = tuple(chunk.scores)
        if set(self._score_names) != set(chunk.scores):
            raise DataError(f"expected the scores {self._score_names} in every chunk, got {tuple(chunk.scores)}")
        new = {(chunk.class_name, chunk.first_index + offset) for offset in range(len(chunk.images))}
        if new & self._seen:
            name, index = min(new & self._seen)
            raise DataError(f"expected each index once, got {index} of class {name!r} again")
        self._seen |= new


def _check_arrays(chunk: ExportChunk, levels: int) -> None:
    images, masks = chunk.images, chunk.masks
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(f"expected (N, H, W, 3) uint8 images, got {images.shape} {images.dtype}")
    if masks.shape != images.shape[:3] or masks.dtype != np.uint8:
        raise DataError(f"expected {images.shape[:3]} uint8 masks, got {masks.shape} {masks.dtype}")
    if masks.size and masks.max() >= levels:
        raise DataError(f"expected mask levels 0..{levels - 1}, got {masks.max()}")
    if chunk.first_index < 0:
        raise DataError(f"expected a first index of at least 0, got {chunk.first_index}")
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
