"""What a report is about: a fitted augmenter, the folder of its run, and its data where they are at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncgan.data.safe_names import safe_folder_names

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.evaluation.runs import RunData

__all__ = ["MOST_CLASSES", "PREVIEWS", "Subject", "training_counts"]

PREVIEWS = "previews"
"""Folder of a run with the pictures made while it learned."""

MOST_CLASSES = 24
"""Classes that a report shows in pictures; its tables have all."""


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes
    ----------
    augmenter : the fitted one; with its `pairs_` where the data are at hand.
    folder : of the run.
    source : what it learned from, where that is at hand.
    stats, record : contents of ``stats.jsonl`` and ``run.json``; empty where there are none.
    seed : of what is sampled.
    thumbnails : whether real images are to be shown.
    """

    augmenter: SynCGANAugmenter
    folder: Path
    source: RunData | None = None
    stats: Sequence[Mapping[str, Any]] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    thumbnails: bool = False

    @property
    def has_pairs(self) -> bool:
        """Whether the training pairs are at hand."""
        return hasattr(self.augmenter, "pairs_")

    @property
    def labels(self) -> dict[str, int]:
        """Class name -> label."""
        return dict(zip(self.augmenter.classes_, self.augmenter.label_values_, strict=True))

    @property
    def shown(self) -> dict[str, str]:
        """Classes that are shown in pictures -> their names as parts of names of files."""
        return dict(list(safe_folder_names(self.augmenter.classes_).items())[:MOST_CLASSES])

    @property
    def not_shown(self) -> tuple[str, ...]:
        """A sentence on classes that have no pictures, if there are any."""
        count = len(self.augmenter.classes_)
        return (f"Pictures are of the first {MOST_CLASSES} of {count} classes.",) if count > MOST_CLASSES else ()


def training_counts(augmenter: SynCGANAugmenter) -> dict[str, int]:
    """Return class name -> number of training images of an augmenter that still has its `pairs_`."""
    counts = Counter(augmenter.pairs_.labels.tolist())
    return {name: counts[label] for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True)}
