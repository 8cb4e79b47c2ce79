"""The report of one run: what it learned from, what it makes, how it was trained, in numbers and pictures."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from syncgan.evaluation.figures import FactTable
from syncgan.evaluation.mask_prior_report import write_mask_prior
from syncgan.evaluation.report import ReportFacts, draw_figures, spoken_duration, write_report
from syncgan.evaluation.training_figures import speed_and_memory
from syncgan.training.run_folder import RunFolder

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.evaluation.runs import RunData

__all__ = ["PREVIEWS", "report_run", "training_counts"]

PREVIEWS = "previews"
"""Folder of a run with the pictures made while it learned."""

_log = logging.getLogger(__name__)
_FEATURES_SIDES = 64, 128


def report_run(augmenter: SynCGANAugmenter, source: RunData, out: Path, seconds: float) -> Path | None:
    """Write figures and report of a run that has just been fitted; return None, and log why, where that fails."""
    try:
        stats = RunFolder(out).stats()
        facts = _facts(augmenter, source, out, seconds, stats)
        figures = draw_figures(augmenter, stats, out / "figures", previews=out / PREVIEWS)
        prior_figures, prior_tables = write_mask_prior(augmenter, out / "figures")
        facts = replace(facts, measures=(*facts.measures, *prior_tables))
        return write_report(out, facts, [*figures, *prior_figures])
    except Exception:
        _log.warning("the report of %s could not be written; the model is complete", out, exc_info=True)
        return None


def training_counts(augmenter: SynCGANAugmenter) -> dict[str, int]:
    """Return class -> number of training images of an augmenter that still has its `pairs_`."""
    counts = Counter(augmenter.pairs_.labels.tolist())
    return {name: counts[label] for name, label in _class_to_label(augmenter).items()}


def _facts(
    augmenter: SynCGANAugmenter, source: RunData, out: Path, seconds: float, stats: list[dict[str, Any]]
) -> ReportFacts:
    from syncgan.data.raw import read_targets
    from syncgan.storage import library_versions

    read = Counter(read_targets(source.dataset, classes=_class_to_label(augmenter)))
    unreadable = Counter(PurePosixPath(name).parts[0] for name in source.skipped)
    used = training_counts(augmenter)
    rows = [
        (name, read[label] + unreadable[name], used[name])
        for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True)
    ]
    details = {
        "masks": str(augmenter.extractor_description_["name"]),
        "seed": str(augmenter.seed),
        "device": str(augmenter.device_),
        "time taken": f"{spoken_duration(seconds)} since the start or the last resume",
        **speed_and_memory(stats, on_gpu=augmenter.device_.type == "cuda"),
        **library_versions(),
    }
    return ReportFacts(
        title=f"Run {out.absolute().name}",
        notice="Synthetic images are for training classifiers, not for diagnosis.",
        classes=tuple(rows),
        details=details,
        config=augmenter.config_.to_toml(),
        skipped=dict(source.skipped),
        excluded=dict(augmenter.excluded_),
        notes=source.notes,
        measures=_diversity(augmenter),
    )


def _diversity(augmenter: SynCGANAugmenter) -> tuple[FactTable, ...]:
    """Return the table of variety within one mask; none, and a line in the log, where it cannot be measured."""
    from syncgan.evaluation.diversity import diversity_within_masks
    from syncgan.evaluation.features import default_features

    smallest, largest = _FEATURES_SIDES
    try:
        features = default_features(side=min(largest, max(smallest, augmenter.config_.image_size)))
        found = diversity_within_masks(augmenter, features)
    except Exception:
        _log.warning("the variety within one mask could not be measured", exc_info=True)
        return ()
    rows = tuple(
        (name, *map(_shown, (own.features, own.features_without_stain, own.pixels))) for name, own in found.items()
    )
    explanation = (
        "How much renderings of one mask differ, in units of how much real images of the class differ. 0: the noise is "
        "ignored and one mask gives one image; 1: as different as real images. One mask fixes where things are, so "
        f"values between are to be expected. Features: {features.name}."
    )
    header = ("class", "features", "features, stain fixed", "pixels")
    return (FactTable("Variety within one mask", header, rows, explanation),)


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _class_to_label(augmenter: SynCGANAugmenter) -> Mapping[str, int]:
    return dict(zip(augmenter.classes_, augmenter.label_values_, strict=True))
