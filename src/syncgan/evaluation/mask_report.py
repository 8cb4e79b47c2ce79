"""What a person sees of the masks of a folder: a sheet of outlines, a table, and a report with the worst ones."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from syncgan.arrays import Pixels
from syncgan.data.images import decode_image, encode_png, read_mask
from syncgan.data.safe_names import csv_cell
from syncgan.data.scan import ClassFolders
from syncgan.evaluation.mask_rows import MaskRow
from syncgan.evaluation.plots import COLUMNS, draw_strips, plain
from syncgan.evaluation.report import (
    FactTable,
    FigureEntry,
    Reasons,
    Report,
    Section,
    outline_legend,
    outlined,
    write_report,
)
from syncgan.extractor import MaskDiagnoses
from syncgan.storage import library_versions

__all__ = ["WrittenMasks", "draw_sheet", "files_on_sheet", "table_of", "write_mask_report"]


_COLUMNS = (
    "file",
    "mask",
    "class",
    "height",
    "width",
    "nuclei",
    "nucleus_share",
    "areas_px",
    "problem",
    "worth_a_look",
)
_STRIPS_PER_CLASS = 2
_WORST = 48
_THUMBNAILS = "syncgan masks DATA --out DIR --merge --report --thumbnails"


@dataclass(frozen=True)
class WrittenMasks:
    """A folder of masks, and the images that they were made of.

    Attributes
    ----------
    out : the folder.
    folders : the images that were segmented.
    names : file -> its mask, relative to `out`.
    levels : of the masks.
    bit_depth : with which images of 16 bits a sample were read.
    """

    out: Path
    folders: ClassFolders
    names: Mapping[str, str]
    levels: int
    bit_depth: int | None = None

    def picture(self, file: str) -> Pixels:
        """Return an image with the outlines of the mask that was written."""
        grays = read_mask(self.out / self.names[file]).astype(np.int64)
        mask = np.round(grays * (self.levels - 1) / 255).astype(np.uint8)
        pixels = decode_image(self.folders.root / file, bit_depth=self.bit_depth).pixels
        return outlined(pixels, mask, self.levels)


def files_on_sheet(folders: ClassFolders) -> dict[str, list[str]]:
    """Choose files spread over every class: class name -> files."""
    shown: dict[str, list[str]] = {}
    for label, name in enumerate(folders.classes):
        files = [file for file, own in zip(folders.files, folders.labels, strict=True) if own == label]
        steps = np.linspace(0, len(files) - 1, COLUMNS * _STRIPS_PER_CLASS)
        shown[name] = list(dict.fromkeys(files[round(step)] for step in steps)) if files else []
    return shown


def draw_sheet(masks: WrittenMasks, shown: Mapping[str, Sequence[str]]) -> bytes:
    """Draw outlines on the shown images of every class, with their names below, as PNG bytes."""
    rows: list[tuple[str, list[Pixels]]] = []
    below: list[list[str]] = []
    totals = Counter(masks.folders.labels)
    for label, (name, files) in enumerate(shown.items()):
        caption = _caption(name, len(files), totals[label])
        for start in range(0, len(files), COLUMNS):
            strip = files[start : start + COLUMNS]
            rows.append((caption if start == 0 else "", list(map(masks.picture, strip))))
            below.append([str(PurePosixPath(file).relative_to(name)) for file in strip])
    return draw_strips(rows, below)


def _caption(class_name: str, shown: int, total: int) -> str:
    """Return a class name, followed by how many of its images are shown where not all are."""
    if shown == total:
        return class_name
    counted = f"{shown} of {total} shown"
    return f"{plain(class_name, 30)}: {counted}" if class_name else counted


def table_of(rows: Sequence[MaskRow], diagnoses: MaskDiagnoses, names: Mapping[str, str]) -> str:
    """Return ``masks.csv``: one line an image, spreadsheet formulas defused."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    found = {diagnosis.name: diagnosis for diagnosis in diagnoses}
    for row in rows:
        cells: dict[str, object] = {"file": row.file, "class": row.class_name, "problem": row.reason}
        if (own := found.get(row.file)) is not None:
            cells |= {"mask": names[row.file], "height": row.height, "width": row.width, "nuclei": own.nuclei}
            cells |= {"nucleus_share": round(own.nucleus_share, 4), "areas_px": " ".join(map(str, own.areas_px))}
            cells |= {"problem": own.problem or "", "worth_a_look": "; ".join(own.doubts)}
        writer.writerow({column: csv_cell(value) for column, value in cells.items()})
    return buffer.getvalue()


def write_mask_report(
    masks: WrittenMasks,
    diagnoses: MaskDiagnoses,
    *,
    sheet: bytes | None,
    config: str,
    skipped: Mapping[str, str],
    notes: tuple[str, ...],
) -> None:
    """Write ``report.html``: counts, quartiles, every mask to look at with its reason, and pictures of these.

    Parameters
    ----------
    masks, diagnoses : what was segmented, and what is known of each mask.
    sheet : PNG of `draw_sheet`; without it no real image is shown.
    config : the extractor in words.
    skipped, notes : of reading.
    """
    folders, problems, doubts = masks.folders, diagnoses.problems, diagnoses.doubts
    left_out = {*problems, *skipped}
    by_class = {name: [f for f, own in _labelled(folders) if own == name] for name in folders.classes}
    rows = tuple(
        (name or "all images", str(len(files)), str(len(left_out & set(files))), str(len(set(files) - left_out)))
        for name, files in by_class.items()
    )
    sections = [
        Section(
            "images",
            "Images",
            tables=(FactTable("", ("class", "found", "not usable", "usable"), rows), _quartile_table(diagnoses)),
            notes=notes,
            reasons=(
                Reasons("Files that could not be read", skipped),
                Reasons("Masks that cannot be used for training", problems),
                Reasons("Masks worth a look", doubts),
            ),
        ),
        *([] if sheet is None else _pictures(sheet, masks, problems | doubts)),
        Section("made", "How it was made", terms=library_versions(), listing=config),
    ]
    title = f"Masks of {folders.root.absolute().name}"
    notice = "Masks are for training classifiers, not for diagnosis."
    write_report(masks.out / "report.html", Report(title, notice, tuple(sections), thumbnails=_THUMBNAILS))


def _pictures(sheet: bytes, masks: WrittenMasks, worst: Mapping[str, str]) -> list[Section]:
    """Return the sections that show real images: the sheet, and the masks to look at."""
    figure = FigureEntry(
        section="Masks",
        title="Outlines on some images of every class",
        explanation=f"{outline_legend(masks.levels)}.",
        png=sheet,
        file="overlays.png",
        real=True,
    )
    gallery = tuple(
        FigureEntry(
            section="Masks to look at",
            title=name,
            explanation=reason,
            png=encode_png(masks.picture(name)),
            file="",
            real=True,
        )
        for name, reason in list(worst.items())[:_WORST]
    )
    shown = [Section("masks", "Masks", figures=(figure,))]
    return [*shown, Section("worst", "Masks to look at", gallery=gallery)] if gallery else shown


def _labelled(folders: ClassFolders) -> list[tuple[str, str]]:
    return [(file, folders.classes[label]) for file, label in zip(folders.files, folders.labels, strict=True)]


def _quartile_table(diagnoses: MaskDiagnoses) -> FactTable:
    rows = [
        (
            name or "all images",
            f"{summary.images}",
            f"{summary.failed} ({summary.failed_share:.0%})",
            _spoken(summary.nuclei),
            "" if summary.area_px is None else _spoken(summary.area_px),
        )
        for name, summary in diagnoses.classes.items()
    ]
    header = ("class", "masks", "failed", "nuclei in an image", "area of a nucleus in pixels")
    return FactTable("Nuclei: median (lower to upper quartile)", header, tuple(rows))


def _spoken(quartiles: tuple[float, float, float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"
