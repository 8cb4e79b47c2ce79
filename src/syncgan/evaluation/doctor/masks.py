"""Whether nuclei are found: the masks of a folder, diagnosed one by one, and a sheet of outlines to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from syncgan.config import SynCGANConfig
from syncgan.data.folders import ImageFolderDataset
from syncgan.data.images import decode_image
from syncgan.errors import ContractError, DataError
from syncgan.evaluation.doctor.finding import Finding, Level
from syncgan.evaluation.doctor.image_rules import Duplicates
from syncgan.evaluation.doctor.rules import MIN_IMAGES
from syncgan.evaluation.plots import COLUMNS, draw_strips, plain
from syncgan.evaluation.report import outlined
from syncgan.extractor import MaskDiagnoses, MaskDiagnosis, MaskExtractor
from syncgan.segmentation.diagnosis import MANY_FAILED, diagnose_mask, remedy_for
from syncgan.segmentation.parallel import map_in_groups, pays_for_processes
from syncgan.segmentation.recipe import Recipe

__all__ = ["about_masks", "diagnose_files", "draw_duplicates", "draw_masks", "extractor_of"]

_SETS_SHOWN = 24
_MOST = 0.5


def extractor_of(config: SynCGANConfig) -> MaskExtractor:
    """Return the extractor that `fit` uses under a configuration."""
    extractor = MaskExtractor.from_config(config.extractor)
    if extractor.declares_levels or config.levels == extractor.levels:
        return extractor
    return MaskExtractor.from_config(config.extractor, levels=config.levels)


def diagnose_files(
    dataset: ImageFolderDataset, extractor: MaskExtractor, *, progress: Callable[[int, int], None] | None = None
) -> MaskDiagnoses:
    """Segment every image and say what its mask holds; no mask is kept.

    Raises
    ------
    ContractError
        The segmenter returned something that its contract does not allow, or failed; names the file.
    """
    items = [(file, dataset.classes[label]) for file, label in zip(dataset.files, dataset.targets, strict=True)]
    work = partial(_diagnose, Path(dataset.root), dataset.bit_depth, extractor.recipe)
    n_jobs = -1 if pays_for_processes(len(items)) else 1
    rows: list[MaskDiagnosis] = []
    for row in map_in_groups(work, items, total=len(items), n_jobs=n_jobs):
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(items))
    return MaskDiagnoses.of(rows)


def _diagnose(root: Path, bit_depth: int | None, recipe: Recipe, item: tuple[str, str]) -> MaskDiagnosis:
    """Decode and segment one file; runs in a worker."""
    file, class_name = item
    pixels = decode_image(root / file, bit_depth=bit_depth).pixels
    try:
        mask, instances = recipe.masks(pixels.copy())
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    return diagnose_mask(pixels, mask, name=file, levels=recipe.levels, instances=instances, class_name=class_name)


def about_masks(diagnoses: MaskDiagnoses, config: SynCGANConfig) -> list[Finding]:
    """Say in which classes nuclei were found, and which masks are to be looked at."""
    findings = []
    table = tuple(
        f"{summary.images - summary.failed} of {summary.images} {name}; "
        f"nuclei in the median image: {summary.nuclei[1]:.0f}"
        for name, summary in diagnoses.classes.items()
    )
    problems, doubts = diagnoses.problems, diagnoses.doubts
    look = f"look at them (--out DIR), and {remedy_for([*problems.values(), *doubts.values()])}"
    usable = {name: summary.images - summary.failed for name, summary in diagnoses.classes.items()}
    none_left = [name for name, count in usable.items() if count < MIN_IMAGES <= diagnoses.classes[name].images]
    if none_left and config.extractor.exclude_failed:
        lines = tuple(f"{name}: {usable[name]} of {diagnoses.classes[name].images} can be used" for name in none_left)
        findings.append(
            Finding("problem", "masks", "`fit` refuses classes with fewer than 2 usable masks", lines, look)
        )
    many = [name for name, summary in diagnoses.classes.items() if summary.failed_share > MANY_FAILED]
    if problems:
        share = f", more than {MANY_FAILED:.0%} of a class" if many else ""
        left_out = "are left out of training" if config.extractor.exclude_failed else "are bad, yet trained on"
        text = f"{len(problems)} of {len(diagnoses)} masks failed and {left_out}{share}"
        findings.append(Finding("worth a look", "masks", text, _reasons(problems), look))
    shared = diagnoses.shared_doubts
    of_most = [found for found in shared if found.share > _MOST]
    if shared:
        text = f"more than {_MOST if of_most else MANY_FAILED:.0%} of a class's masks share a doubt"
        level: Level = "problem" if of_most else "worth a look"
        findings.append(Finding(level, "masks", text, tuple(map(str, shared)), look))
    told = {name for found in shared for name in found.names}
    if others := {name: doubt for name, doubt in doubts.items() if name not in told}:
        text = f"{len(others)} of {len(diagnoses)} masks can be used but are unusual"
        findings.append(Finding("worth a look", "masks", text, _reasons(others)))
    passed = f"{len(diagnoses) - len(problems)} of {len(diagnoses)} masks"
    if of_most or none_left:
        text = f"{passed} can be used, {len(diagnoses) - len(problems) - len(doubts)} of them without a doubt"
        return [*findings, Finding("worth a look", "masks", text, table)]
    text = f"{passed} pass the checks; whether outlines are right, only a look at them tells (--out DIR)"
    return [*findings, Finding("fine", "masks", text, table)]


def _reasons(found: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {reason}" for name, reason in found.items())


def draw_masks(dataset: ImageFolderDataset, extractor: MaskExtractor, diagnoses: MaskDiagnoses) -> bytes:
    """Draw outlines on some images of every class, and on those to look at below them, as PNG bytes."""
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = []
    below: list[list[str]] = []
    odd = {**diagnoses.problems, **diagnoses.doubts}
    for name, summary in diagnoses.classes.items():
        own = [row.name for row in diagnoses if row.class_name == name]
        good = [file for file in own if file not in odd]
        bad = sorted((file for file in own if file in odd), key=lambda file: file not in diagnoses.problems)
        title = plain(name, 30)
        usable = f"{summary.images - summary.failed} of {summary.images} masks pass the checks"
        for caption, files in ((f"{title}: {usable}", good), (f"{title}: {len(bad)} to look at", bad)):
            shown = _spread(files)
            if shown:
                rows.append((caption, [_outlined(dataset, extractor, file) for file in shown]))
                below.append([_below_class(file) for file in shown])
    return draw_strips(rows, below)


def draw_duplicates(dataset: ImageFolderDataset, duplicates: Sequence[Duplicates]) -> bytes:
    """Draw the images of each set of duplicates beside each other, those that leak first, as PNG bytes."""
    shown = sorted(duplicates, key=lambda found: not found.leaks)[:_SETS_SHOWN]
    rows, below = [], []
    for found in shown:
        files = found.files[:COLUMNS]
        where = "in several classes" if len(found.classes) > 1 else "in several groups"
        how = "the same pixels" if found.exact else f"alike ({found.likeness:.2f})"
        rows.append((f"{how}, {where if found.leaks else 'in one class'}", [_pixels(dataset, file) for file in files]))
        below.append(list(files))
    # Room for the captions, even where all are pairs.
    return draw_strips(rows, below, columns=max(3, *(len(files) for files in below)))


def _pixels(dataset: ImageFolderDataset, file: str) -> NDArray[np.uint8]:
    return decode_image(Path(dataset.root) / file, bit_depth=dataset.bit_depth).pixels


def _outlined(dataset: ImageFolderDataset, extractor: MaskExtractor, file: str) -> NDArray[np.uint8]:
    pixels = _pixels(dataset, file)
    return outlined(pixels, extractor.recipe.masks(pixels.copy()).mask, extractor.levels)


def _spread(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    return list(dict.fromkeys(files[round(step)] for step in np.linspace(0, len(files) - 1, COLUMNS)))


def _below_class(file: str) -> str:
    return str(PurePosixPath(*PurePosixPath(file).parts[1:]))
