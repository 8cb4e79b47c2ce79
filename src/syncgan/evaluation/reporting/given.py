"""Sections on what a run was given: its images, and the masks that it learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from syncgan.evaluation.plots import COLUMNS, draw_strips
from syncgan.evaluation.report import FactTable, FigureEntry, Reasons, Section, outline_legend, outlined
from syncgan.evaluation.reporting.subject import Subject, training_counts

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.evaluation.mask_prior_report import ClassPrior
    from syncgan.evaluation.runs import RunData

__all__ = ["class_pairs", "data_section", "mask_origin", "masks_section"]

_MEASURED = 64
_NAMED = 12


def data_section(subject: Subject) -> Section:
    """Return counts, sizes, groups and what was left out, of a subject with its data."""
    augmenter, source = subject.augmenter, subject.source
    if source is None or not subject.has_pairs:
        raise ValueError("expected a subject with its data")
    from syncgan.data.raw import read_targets
    from syncgan.evaluation.run_pairs import held_out_count

    held_out = held_out_count(augmenter, augmenter.pairs_, source.groups, subject.folder)
    read = Counter(read_targets(source.dataset, classes=subject.labels))
    unreadable = Counter(PurePosixPath(name).parts[0] for name in source.skipped)
    used = training_counts(augmenter)
    rows = tuple(
        (name, str(found := read[label] + unreadable[name]), str(found - used[name]), str(used[name]))
        for name, label in subject.labels.items()
    )
    return Section(
        "data",
        "Images",
        verdict=_told(used, sum(read.values()) + len(source.skipped), held_out),
        terms={
            "sizes": _sizes(source, augmenter),
            "groups": _groups(source),
            "fingerprint": f"{augmenter.fingerprint_} (sha256 of images, masks and labels)",
        },
        tables=(FactTable("", ("class", "found", "left out", "used"), rows),),
        notes=source.notes,
        reasons=(
            Reasons("Files that could not be read", dict(source.skipped)),
            Reasons("Images left out because their mask failed", dict(augmenter.pairs_.excluded)),
        ),
    )


def masks_section(subject: Subject, priors: Mapping[str, ClassPrior]) -> Section:
    """Return what was measured on the masks of a subject with its data; with thumbnails, also their outlines."""
    return Section(
        "masks",
        "Masks",
        text=(mask_origin(subject.augmenter),),
        tables=_nuclei(priors),
        figures=(_overlays(subject),) if subject.thumbnails else (),
        notes=subject.not_shown,
    )


def _overlays(subject: Subject) -> FigureEntry:
    levels = subject.augmenter.levels_
    rows = []
    for name in subject.shown:
        maps, images = class_pairs(subject.augmenter, subject.labels[name])
        pairs = zip(images.numpy().transpose(0, 2, 3, 1), maps.numpy(), strict=True)
        rows.append((name, [outlined(image, mask, levels) for image, mask in pairs]))
    return FigureEntry(
        section="Masks",
        title="Masks that the model learned from",
        explanation=f"{outline_legend(levels)}; where they do not, choose another segmenter, because the synthetic "
        "masks can only be as good as these.",
        png=draw_strips(rows, columns=COLUMNS),
        file="mask-overlays.png",
        real=True,
    )


def mask_origin(augmenter: SynCGANAugmenter) -> str:
    """Say in a sentence where the masks of the training images come from."""
    name = str(augmenter.extractor_description_["name"])
    levels = {2: "nucleus or not", 3: "nucleus, other stained matter, background"}.get(augmenter.levels_)
    what = f"{augmenter.levels_} levels{f' ({levels})' if levels else ''}"
    if name == "given masks":
        return f"Masks of {what} were given with the images."
    return f"Masks of {what} were found by the segmenter {name!r}; nobody has drawn or checked them."


def class_pairs(augmenter: SynCGANAugmenter, label: int) -> tuple[Any, Any]:
    """Return a few maps and images of a class, spread over it."""
    pairs = augmenter.pairs_
    positions = (pairs.labels == label).nonzero().flatten().tolist()
    chosen = sorted({positions[round(step)] for step in np.linspace(0, len(positions) - 1, COLUMNS)})
    return pairs.maps[chosen].cpu(), pairs.images[chosen].cpu()


def _told(used: Mapping[str, int], found: int, held_out: int | None) -> str:
    """Say how many images there were and what for; `held_out` only chose the renderer, None where that is not known."""
    total, first = sum(used.values()), list(used.items())[:_NAMED]
    named = ", ".join(f"{count} {name}" for name, count in first) + (", .." if len(used) > _NAMED else "")
    left = f"; {found - total} of {found} were left out" if found > total else ""
    what = f"{total} images of {len(used)} classes ({named})"
    if held_out is None:
        return f"{what} were given to the fit; how many of them it held out to choose the renderer is not known{left}."
    if held_out:
        return (
            f"{what} were given to the fit: {total - held_out} taught the model, {held_out} chose the renderer{left}."
        )
    return f"{what} taught the model{left}."


def _sizes(source: RunData, augmenter: SynCGANAugmenter) -> str:
    """Say how large the images are, by a sample spread over them."""
    from syncgan.data.items import rgb_pixels, split_item
    from syncgan.data.views import raw_view

    view, count = raw_view(source.dataset), len(source.dataset)
    chosen = sorted({round(step) for step in np.linspace(0, count - 1, min(count, _MEASURED))})
    shapes = [rgb_pixels(split_item(view[index])[0]).shape[:2] for index in chosen]
    heights, widths = zip(*shapes, strict=True)
    side, how = augmenter.config_.image_size, augmenter.config_.geometry
    used = f"the model sees them as {side} x {side} ({how})"
    if len(set(shapes)) == 1:
        return f"{widths[0]} x {heights[0]} pixels; {used}"
    spread = (f"{min(of)} to {max(of)} (median {median(of):.0f})" for of in (widths, heights))
    return f"{' wide, '.join(spread)} high, in pixels; {used}"


def _groups(source: RunData) -> str:
    if source.groups is None:
        return "not known: which images are of one patient or slide was not given"
    counts = Counter(map(str, source.groups)).values()
    return f"{len(counts)} patients or slides with {min(counts)} to {max(counts)} images each"


def _nuclei(priors: Mapping[str, ClassPrior]) -> tuple[FactTable, ...]:
    rows = tuple(
        (
            name,
            str(len(prior.real)),
            _quartiles(prior.real.pooled("nuclei"), "{:.0f}"),
            _quartiles(100 * prior.real.pooled("area"), "{:.1f}"),
        )
        for name, prior in priors.items()
    )
    if not rows:
        return ()
    header = ("class", "masks", "nuclei in an image", "area of a nucleus, % of the image")
    explanation = "Median, and lower to upper quartile; doubtful figures point to masks that missed the nuclei."
    return (FactTable("Nuclei that were found", header, rows, explanation),)


def _quartiles(values: Any, form: str) -> str:
    if not len(values):
        return "–"
    low, middle, high = (form.format(value) for value in np.percentile(values, [25, 50, 75]))
    return f"{middle} ({low} to {high})"
