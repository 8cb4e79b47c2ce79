"""Write synthetic images, their masks and a manifest, a chunk at a time.

::

    DIR/export.json               what is written here, first; `complete` turns true last
    DIR/images/CLASS/*.png        readable by torchvision's `ImageFolder`
    DIR/images/metadata.jsonl     read by Hugging Face's `imagefolder`
    DIR/masks/CLASS/*.png         level k of L as round(255 k / (L - 1)): 0 and 255 for L = 2
    DIR/manifest.csv              file, mask, class, label, seed, index and scores of every image
    DIR/rows/*.json               rows of the finished chunks, until the tables are made of them
    DIR/unfinished/               images and masks, until the export is complete and has passed its check

A chunk whose rows are there is finished: it is not rendered again by a resumed export, and the shards of one export can
be written by several machines into one folder. Files are written from arrays only, under names made here: a class name
from data never becomes a path unless it is a safe one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from syncgan import storage
from syncgan.data.export_files import (
    MANIFEST,
    METADATA,
    ROWS,
    UNFINISHED,
    Check,
    Checked,
    ChunkRequest,
    ExportChunk,
    Exported,
    ExportFiles,
    undamaged,
)
from syncgan.data.rejections import Rejections
from syncgan.data.safe_names import safe_folder_names
from syncgan.errors import ConfigError, DataError, RunExistsError

__all__ = [
    "Check",
    "Checked",
    "ChunkRequest",
    "ExportChunk",
    "ExportSummary",
    "Exported",
    "merge_export",
    "write_export",
]

_EXPORT_JSON = "export.json"
_CHECK, _REFUSED = "check", "refused"


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
    check : figures of the check that the export has passed; None without one.
    """

    folder: Path
    manifest: Path | None
    counts: dict[str, int]
    written: int
    skipped: int
    rejections: Rejections = field(default_factory=Rejections)
    check: Mapping[str, Any] | None = None


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
    check: Check | None = None,
) -> ExportSummary:
    """Write chunks of samples as an image folder with masks and a manifest.

    One chunk is in memory at a time. Images and masks come into sight together, when all are there; the manifest is
    written last: without it an export is not complete.

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
    check : looks at all samples before they come into sight, and may refuse them. They stay in ``unfinished/`` then,
        and a resumed export renders nothing again. With shards, give it to `merge_export`.

    Raises
    ------
    RunExistsError
        `folder` holds something else.
    DataError
        A chunk does not fit its contract, an index occurs twice, or the check refuses the samples.
    ConfigError
        No such shard, or a check of one shard alone.
    ArtefactError
        The disk is full or the folder cannot be written.
    """
    folder, (position, shards) = Path(folder), shard
    if not (isinstance(position, int) and isinstance(shards, int) and 1 <= position <= shards):
        raise ConfigError(f"expected a shard (i, n) of whole numbers with 1 <= i <= n, got ({position}, {shards})")
    if check is not None and shards > 1:
        raise ConfigError(
            "expected a check of the whole export, got one with a shard; check when the shards are merged"
        )
    folders = safe_folder_names(classes)
    _check_requests(requests, folders)
    description = _description(folders, levels, header, requests)
    _claim(folder, description, resume, alone=shards == 1)
    if _is_complete(folder):
        return _repaired(folder, requests, render, ExportFiles(folder, folders, levels, complete=True), check)
    if shards == 1:
        _require_check(folder, check)
    files = ExportFiles(folder, folders, levels)
    own = list(enumerate(requests))[position - 1 :: shards]
    counts = _counts([request for _, request in own], classes)
    _begin(folder, description, files)
    for number, request in own:
        if not files.take(number):
            files.add(number, request, render(request))
        if progress is not None:
            progress(files.written + files.skipped, sum(counts.values()))
    if shards > 1:
        return ExportSummary(folder, None, counts, files.written, files.skipped, files.account.total)
    return _finished(folder, files, check)


def merge_export(folder: str | PathLike[str], *, check: Check | None = None) -> ExportSummary:
    """Make manifest and metadata of an export whose shards are all written.

    Parameters
    ----------
    check : see `write_export`.

    Raises
    ------
    RunExistsError
        The folder holds no export.
    DataError
        Chunks, or images of them, are missing (says how many), or the check refuses the samples.
    ArtefactError
        A file of the export is damaged.
    """
    folder = Path(folder)
    found = _record(folder / _EXPORT_JSON)
    if found.get("format") != "syncgan-export":
        raise RunExistsError(f"{folder}: expected an export to merge, found no {_EXPORT_JSON}; check the path")
    with undamaged(folder / _EXPORT_JSON):
        complete, chunks = bool(found.get("complete")), range(int(found["chunks"]))
        files = ExportFiles(folder, found["folders"], int(found["levels"]), complete=complete)
    if complete:
        _pass(folder, files, check)
        return _found(folder)
    _require_check(folder, check)
    missing = [number for number in chunks if not files.take(number)]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {found['chunks']} chunks are not written yet, or lost images; run their "
            "shards first (finished images are not rendered again)"
        )
    return _finished(folder, files, check)


def _repaired(
    folder: Path,
    requests: Sequence[ChunkRequest],
    render: Callable[[ChunkRequest], ExportChunk],
    files: ExportFiles,
    check: Check | None,
) -> ExportSummary:
    """Write lost images of a complete export again: the tables are there."""
    for request in requests:
        if not files.is_there(request):
            files.write(request, render(request))
    _pass(folder, files, check)
    found = _found(folder)
    return replace(found, written=files.written, skipped=found.skipped - files.written)


def _finished(folder: Path, files: ExportFiles, check: Check | None) -> ExportSummary:
    """Bring the samples into sight with the tables; what the tables were made of is no longer needed then."""
    files.write_metadata()
    _pass(folder, files, check)
    files.release()
    storage.sweep_temporaries(folder)
    record = {**_record(folder / _EXPORT_JSON), "rejections": files.account.total.as_dict(), "complete": True}
    storage.write_json(folder / _EXPORT_JSON, record)
    shutil.rmtree(folder / ROWS, ignore_errors=True)
    return replace(_found(folder), written=files.written, skipped=files.skipped)


def _found(folder: Path) -> ExportSummary:
    """Return the summary of a complete export in which nothing had to be done."""
    found = _record(folder / _EXPORT_JSON)
    with undamaged(folder / _EXPORT_JSON):
        counts = {name: int(found["counts"][name]) for name in found["classes"]}
        rejections = Rejections.from_dict(found["rejections"])
    return ExportSummary(folder, folder / MANIFEST, counts, 0, sum(counts.values()), rejections, found.get(_CHECK))


# --- checking --------------------------------------------------------------------------------------------------------


def _pass(folder: Path, files: ExportFiles, check: Check | None) -> None:
    """Ask the check, and keep what it says; refused samples are out of sight afterwards."""
    if check is None:
        return
    record = _record(folder / _EXPORT_JSON)
    checked = check(files.exported(record.get("header", {})))
    kept = {key: value for key, value in record.items() if key != _REFUSED} | {_CHECK: dict(checked.figures)}
    if checked.refusal is None:
        storage.write_json(folder / _EXPORT_JSON, kept)
        return
    storage.write_json(folder / _EXPORT_JSON, {**kept, _REFUSED: checked.refusal, "complete": False})
    files.withdraw()
    raise DataError(f"{folder}: refused, and left in {UNFINISHED}/: {checked.refusal}")


def _require_check(folder: Path, check: Check | None) -> None:
    """Refuse to go on without a check where one has refused the samples."""
    refusal = _record(folder / _EXPORT_JSON).get(_REFUSED)
    if check is None and refusal is not None:
        raise DataError(f"{folder}: was refused ({refusal}); check it again under another limit, or delete the folder")


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
    storage.make_folder(folder)
    if any(not storage.is_temporary(entry.name) for entry in folder.iterdir()):
        if alone and not resume:
            raise RunExistsError(f"{folder}: expected a new or empty folder, it holds files; choose another, or resume")
        _check_same_export(folder / _EXPORT_JSON, description)
    if alone:
        storage.sweep_temporaries(folder)


def _begin(folder: Path, description: Mapping[str, Any], files: ExportFiles) -> None:
    found = _record(folder / _EXPORT_JSON)
    said = {key: found[key] for key in (_CHECK, _REFUSED) if key in found}
    storage.write_json(folder / _EXPORT_JSON, {**description, **said, "complete": False})
    files.begin()


def _is_complete(folder: Path) -> bool:
    tables = (folder / MANIFEST, folder / METADATA)
    return bool(_record(folder / _EXPORT_JSON).get("complete")) and all(table.is_file() for table in tables)


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
