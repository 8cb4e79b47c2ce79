"""Masks for a folder of images, to look at before anything is trained; nothing here needs torch."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan.data.export import csv_cell, safe_folder_names
from syncgan.data.images import decode_image, encode_png
from syncgan.data.scan import ClassFolders, scan_images, some
from syncgan.errors import ArtefactError, DataError, ImageReadError
from syncgan.evaluation.plots import COLUMNS, draw_strips
from syncgan.evaluation.report import FigureEntry, ReportFacts, outlined, write_report
from syncgan.extractor import MaskDiagnosis, MaskExtractor
from syncgan.storage import library_versions, write_bytes, write_text

__all__ = ["MaskFolderResult", "extract_folder"]

Pixels = NDArray[np.uint8]

_COLUMNS = ("file", "mask", "class", "height", "width", "nuclei", "nucleus_share", "areas_px", "problem")
_STRIPS_PER_CLASS = 2
_MANY_IMAGES = 64


@dataclass(frozen=True)
class MaskFolderResult:
    """What `extract_folder` left behind.

    Attributes
    ----------
    folder, table, overlays : the folder, ``masks.csv`` and ``overlays.png``.
    report : ``report.html``, or None when it was not asked for.
    classes : class name -> number of masks; ``""`` for a folder without classes.
    nuclei : class name -> mean number of nuclei in an image.
    problems : relative name -> why the mask cannot be used for training.
    skipped : relative name -> why the file cannot be read.
    notes : what the scan ignored and the decoder decided.
    """

    folder: Path
    table: Path
    overlays: Path
    report: Path | None
    classes: dict[str, int]
    nuclei: dict[str, float]
    problems: dict[str, str]
    skipped: dict[str, str]
    notes: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return what a program that asked for the masks wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "table": str(self.table),
            "overlays": str(self.overlays),
            "report": None if self.report is None else str(self.report),
            "classes": self.classes,
            "nuclei_per_image": self.nuclei,
            "problems": len(self.problems),
            "skipped": len(self.skipped),
        }


@dataclass(frozen=True)
class _Item:
    """One image file: what its mask holds, or why it cannot be read (then without `diagnosis`)."""

    file: str
    class_name: str
    shape: tuple[int, ...] = ()
    diagnosis: MaskDiagnosis | None = None
    overlay: Pixels | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def problem(self) -> str | None:
        """Why the mask cannot be used."""
        return None if self.diagnosis is None else self.diagnosis.problem


def extract_folder(
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    extractor: MaskExtractor,
    n_jobs: int | None = None,
    report: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> MaskFolderResult:
    """Extract the mask of every image in a folder of class folders, or of images.

    Leaves ``masks/CLASS/NAME.png`` (level k of L as round(255 k / (L - 1))), ``masks.csv`` with one line an image, and
    ``overlays.png`` with outlines drawn on some images of every class.

    Parameters
    ----------
    data : the images; files that cannot be read are listed with their reason.
    out : made here, once the first image has been read.
    n_jobs : processes; None chooses by the number of images.
    report : also write ``report.html``.
    progress : called with (done, total) after each image.

    Raises
    ------
    DataError
        No image file, or none that can be read.
    ArtefactError
        `out` cannot be written.
    """
    folders, out = scan_images(data), Path(out)
    names = _mask_names(folders)
    items: list[_Item] = []
    for item, mask in _extracted(folders, extractor, n_jobs):
        if mask is not None:  # written as it comes: memory does not grow with the number of images
            _write_mask(out / names[item.file], mask, extractor.levels)
        items.append(item)
        if progress is not None:
            progress(len(items), len(folders.files))
    _require_readable(folders.root, items)
    sheet = _sheet(folders.classes, items)
    write_bytes(out / "overlays.png", sheet)
    write_text(out / "masks.csv", _table(items, names))
    result = _result(out, folders, items, report)
    if report:
        _report(result, folders, sheet, extractor)
    return result


def _extracted(
    folders: ClassFolders, extractor: MaskExtractor, n_jobs: int | None
) -> Iterator[tuple[_Item, Pixels | None]]:
    """Yield every file with its mask, in order; the mask is None where the file cannot be read."""
    from joblib import Parallel, delayed

    shown = _shown_on_sheet(folders)
    if n_jobs is None:
        n_jobs = -1 if len(folders.files) >= _MANY_IMAGES else 1
    tasks = (
        delayed(_extract)(folders.root, file, folders.classes[label], extractor, file in shown)
        for file, label in zip(folders.files, folders.labels, strict=True)
    )
    yield from Parallel(n_jobs=n_jobs, return_as="generator")(tasks)


def _extract(
    root: Path, file: str, class_name: str, extractor: MaskExtractor, is_shown: bool
) -> tuple[_Item, Pixels | None]:
    """Decode and segment one file; runs in a worker."""
    try:
        decoded = decode_image(root / file)
    except ImageReadError as error:
        return _Item(file, class_name, reason=error.reason), None
    try:
        mask = extractor(decoded.pixels)
    except DataError as error:
        raise type(error)(f"{file}: {error}") from error
    (diagnosis,) = extractor.diagnose([decoded.pixels], [mask], [file])
    picture = outlined(decoded.pixels, mask, extractor.levels) if is_shown else None
    return _Item(file, class_name, mask.shape, diagnosis, picture, decoded.notes), mask


# --- names ---------------------------------------------------------------------------------------------------------


def _mask_names(folders: ClassFolders) -> dict[str, str]:
    """Return file -> ``masks/CLASS/NAME.png``: true names where they are safe and unique, else index and slug."""
    class_folders = safe_folder_names(folders.classes)
    names = {}
    for label, class_name in enumerate(folders.classes):
        inner = {file: PurePosixPath(file).relative_to(class_name) for file in _of_class(folders, label)}
        stems = Counter(str(path.with_suffix("")) for path in inner.values())
        wanted = [
            str(path if stems[str(path.with_suffix(""))] > 1 else path.with_suffix("")) for path in inner.values()
        ]
        safe = safe_folder_names(wanted)
        folder = PurePosixPath("masks", class_folders[class_name] if class_name else "")
        names.update({file: str(folder / f"{safe[name]}.png") for file, name in zip(inner, wanted, strict=True)})
    return names


def _of_class(folders: ClassFolders, label: int) -> list[str]:
    return [file for file, own in zip(folders.files, folders.labels, strict=True) if own == label]


def _shown_on_sheet(folders: ClassFolders) -> set[str]:
    """Choose files spread over every class."""
    shown: set[str] = set()
    for label in range(len(folders.classes)):
        files = _of_class(folders, label)
        shown.update(files[round(step)] for step in np.linspace(0, len(files) - 1, COLUMNS * _STRIPS_PER_CLASS))
    return shown


# --- writing -------------------------------------------------------------------------------------------------------


def _write_mask(path: Path, mask: Pixels, levels: int) -> None:
    grays = np.round(np.arange(levels) * 255 / (levels - 1)).astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtefactError(f"{path.parent}: cannot be made ({error.strerror}); choose a writable folder") from error
    write_bytes(path, encode_png(grays[mask]))


def _require_readable(root: Path, items: Sequence[_Item]) -> None:
    if not any(item.diagnosis for item in items):
        reasons = some([f"{item.file}: {item.reason}" for item in items])
        raise DataError(
            f"expected images in {root}, none of {len(items)} files can be read ({reasons}); check the files"
        )


def _sheet(classes: Sequence[str], items: Sequence[_Item]) -> bytes:
    rows: list[tuple[str, list[Pixels]]] = []
    for name in classes:
        pictures = [item.overlay for item in items if item.class_name == name and item.overlay is not None]
        starts = range(0, len(pictures), COLUMNS)
        rows.extend((name if start == 0 else "", pictures[start : start + COLUMNS]) for start in starts)
    return draw_strips(rows)


def _table(items: Sequence[_Item], names: dict[str, str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for item in items:
        row: dict[str, object] = {"file": item.file, "class": item.class_name, "problem": item.reason}
        if item.diagnosis is not None:
            row |= {"mask": names[item.file], "height": item.shape[0], "width": item.shape[1]}
            row |= {"nuclei": item.diagnosis.nuclei, "nucleus_share": round(item.diagnosis.nucleus_share, 4)}
            row |= {"areas_px": " ".join(map(str, item.diagnosis.areas_px)), "problem": item.problem or ""}
        writer.writerow({column: csv_cell(value) for column, value in row.items()})
    return buffer.getvalue()


def _result(out: Path, folders: ClassFolders, items: Sequence[_Item], wants_report: bool) -> MaskFolderResult:
    nuclei: dict[str, list[int]] = {name: [] for name in folders.classes}
    for item in items:
        if item.diagnosis is not None:
            nuclei[item.class_name].append(item.diagnosis.nuclei)
    return MaskFolderResult(
        folder=out,
        table=out / "masks.csv",
        overlays=out / "overlays.png",
        report=out / "report.html" if wants_report else None,
        classes={name: len(counts) for name, counts in nuclei.items()},
        nuclei={name: round(float(np.mean(counts)), 2) for name, counts in nuclei.items() if counts},
        problems={item.file: item.problem for item in items if item.problem},
        skipped={item.file: item.reason for item in items if item.diagnosis is None},
        notes=folders.notes + tuple(f"{item.file}: {note}" for item in items for note in item.notes),
    )


def _report(result: MaskFolderResult, folders: ClassFolders, sheet: bytes, extractor: MaskExtractor) -> None:
    failed = {*result.problems, *result.skipped}
    files = {name: _of_class(folders, label) for label, name in enumerate(folders.classes)}
    facts = ReportFacts(
        title=f"Masks of {folders.root.absolute().name}",
        notice="Masks are for training classifiers, not for diagnosis.",
        classes=tuple((name, len(own), len(set(own) - failed)) for name, own in files.items()),
        details=library_versions(),
        config=repr(extractor),
        skipped=result.skipped,
        excluded=result.problems,
        notes=result.notes,
    )
    figure = FigureEntry(
        section="Masks",
        title="Outlines on some images of every class",
        explanation="Green outlines should follow the nuclei, orange ones whatever else is stained.",
        png=sheet,
        file="overlays.png",
    )
    write_report(result.folder, facts, [figure])
