"""Sections on what a run makes and how it learned: samples, mask priors, variety within one mask, training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from syncgan.arrays import Pixels
from syncgan.evaluation.embedding import read_picture
from syncgan.evaluation.mask_prior_report import ClassPrior, mask_prior_table, prior_figures
from syncgan.evaluation.plots import COLUMNS, colour_map, draw_strips, uncaptioned_rows
from syncgan.evaluation.previews import given_rows
from syncgan.evaluation.report import FactTable, FigureEntry, Section, spoken_duration
from syncgan.evaluation.reporting.given import class_pairs
from syncgan.evaluation.reporting.subject import PREVIEWS, Subject
from syncgan.evaluation.training_figures import speed_and_memory, training_figures

__all__ = ["priors_section", "real_strips", "samples_section", "training_section", "variety_section"]


_FEATURES_SIDES = 64, 128
_log = logging.getLogger(__name__)


def samples_section(subject: Subject, strips: Mapping[str, bytes]) -> Section:
    """Return freshly rendered samples of every class below masks of real images, and with thumbnails these images.

    Parameters
    ----------
    strips : name of a file -> picture; see `real_strips`.
    """
    figures = tuple(_grid(subject, name, file, strips) for name, file in subject.shown.items())
    text = (
        "Each class is rendered anew, not chosen: what is shown is what ",
        f"sampling with seed {subject.seed} gives.",
    )
    return Section("samples", "Samples", text=("".join(text),), figures=figures, notes=subject.not_shown)


def real_strips(subject: Subject) -> dict[str, bytes]:
    """Return name of a file -> masks of real images of a class, of the data or as kept earlier.

    The images stand above their masks with thumbnails, and where an earlier report with thumbnails kept them.
    """
    found = {}
    for name, part in subject.shown.items():
        file = _strip_name(part)
        kept = subject.folder / "figures" / file
        if subject.has_pairs:
            maps, images = class_pairs(subject.augmenter, subject.labels[name])
            rows = _rows(images, maps, subject)[0 if subject.thumbnails else 1 :]
            found[file] = draw_strips([("", row) for row in rows], columns=COLUMNS)
        elif kept.is_file():
            found[file] = read_picture(kept)
    return found


def priors_section(subject: Subject, priors: Mapping[str, ClassPrior]) -> Section:
    """Return how synthetic masks compare with those of the training images."""
    if not priors:
        missing = "Not measured: masks are compared for classes of at least 4 training images, of which there is none."
        return Section("priors", "Synthetic masks against real ones", missing=missing)
    shown = {name: prior for name, prior in priors.items() if name in subject.shown}
    rows = [row for prior in priors.values() for row in prior.comparison.rows]
    return Section(
        "priors",
        "Synthetic masks against real ones",
        verdict=f"Synthetic masks are like those of the training images by {sum(row.alike for row in rows)} of "
        f"{len(rows)} figures.",
        text=(
            "Compared are the number of nuclei, their area and shape, their distances, and how much two masks overlap. "
            "The yardstick is how much random halves of the real masks differ.",
        ),
        tables=(mask_prior_table(priors),),
        figures=tuple(prior_figures(shown, subject.shown)),
        notes=subject.not_shown,
    )


def variety_section(subject: Subject) -> Section:
    """Return how much renderings of one mask differ; a section without figures where that cannot be measured."""
    from syncgan.evaluation.diversity import diversity_within_masks
    from syncgan.evaluation.features import default_features

    smallest, largest = _FEATURES_SIDES
    try:
        features = default_features(side=min(largest, max(smallest, subject.augmenter.config_.image_size)))
        found = diversity_within_masks(subject.augmenter, features)
    except Exception:
        _log.warning("the variety within one mask could not be measured", exc_info=True)
        return Section("variety", _VARIETY, missing="It could not be measured; the log of the command says why.")
    rows = tuple(
        (name, *map(_shown, (own.features, own.features_without_stain, own.pixels))) for name, own in found.items()
    )
    explanation = (
        "How much renderings of one mask differ, in units of how much real images of the class differ. 0: the noise is "
        "ignored and one mask gives one image; 1: as different as real images. One mask fixes where things are, so "
        f"values between are to be expected. Features: {features.name}."
    )
    header = ("class", "features", "features, stain fixed", "pixels")
    return Section("variety", _VARIETY, tables=(FactTable("", header, rows, explanation),))


def training_section(subject: Subject) -> Section:
    """Return how the run was trained, from its log and its previews."""
    if not subject.stats:
        return Section("training", "Training", missing="A saved model alone does not tell how it was trained.")
    figures = training_figures(subject.stats, subject.shown, subject.folder / PREVIEWS, thumbnails=subject.thumbnails)
    on_gpu = str(subject.record.get("device", "")).startswith("cuda")
    seconds = _seconds(subject.stats)
    return Section(
        "training",
        "Training",
        terms={
            "time": f"{spoken_duration(seconds)} of training, since the start or the last resume of each stage",
            **speed_and_memory(subject.stats, on_gpu=on_gpu),
        },
        figures=tuple(figures),
        notes=subject.not_shown,
    )


_VARIETY = "Variety within one mask"


def _grid(subject: Subject, name: str, file: str, strips: Mapping[str, bytes]) -> FigureEntry:
    samples = subject.augmenter.sample(name, COLUMNS, seed=subject.seed)
    strip = strips.get(_strip_name(file))
    given = given_rows([] if strip is None else uncaptioned_rows(strip, COLUMNS), thumbnails=subject.thumbnails)
    real = len(given) > 1
    images, masks = _rows(samples.images.cpu(), samples.masks.cpu(), subject)
    rows: list[tuple[str, Sequence[Pixels]]] = [
        *given,
        ("synthetic mask", masks),
        ("synthetic image", images),
    ]
    like = "look like the real ones of this class, " if real else ""
    nothing = f"; none belongs to a real {'image' if real else 'mask'} above it" if given else ""
    return FigureEntry(
        section="Samples",
        title=name,
        explanation=f"Synthetic images should {like}differ from each other, and show a nucleus wherever their mask is "
        f"blue{nothing}.",
        png=draw_strips(rows, columns=COLUMNS),
        file=f"samples-{file}.png",
        real=real,
    )


def _rows(images: Any, maps: Any, subject: Subject) -> tuple[list[Pixels], list[Pixels]]:
    coloured = [colour_map(mask, subject.augmenter.levels_) for mask in maps.numpy()]
    return list(images.numpy().transpose(0, 2, 3, 1)), coloured


def _strip_name(part: str) -> str:
    return f"real-{part}.png"


def _seconds(stats: Any) -> float:
    last = {line["stage"]: line["seconds"] for line in stats if "seconds" in line}
    return float(sum(last.values()))


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
