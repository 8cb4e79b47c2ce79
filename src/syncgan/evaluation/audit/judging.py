"""Who counts as a copy, and when there are too many of them for chance.

A copy is nearer to a training image than 95 % of the held-out images are; it is near to that one alone, where a smooth
or typical image is as near to many; and it is nearer than training images lie to each other, where an image of the same
slide is not. The second and third condition only ever take images away, so chance is bounded by that of the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from syncgan.evaluation.audit.rates import at_least, chance_of, thresholds
from syncgan.evaluation.nearest_images import STRUCTURE, Nearest
from syncgan.evaluation.same_images import NEAR_COPY

__all__ = ["SIGNIFICANCE", "Yardstick", "copies_among", "flags", "repeats"]

SIGNIFICANCE = 0.05
"""Probability of a false alarm, of all spaces together."""

Array = NDArray[Any]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Yardstick:
    """Distances of real images to the training images in one space.

    Attributes
    ----------
    distance, ratio, labels : of the held-out images.
    spread, spread_labels : of training images to the others of them.
    """

    distance: Array
    ratio: Array
    labels: Array
    spread: Array
    spread_labels: Array

    def take(self, rows: Array) -> Self:
        """Return it with some of the held-out images only."""
        return replace(self, distance=self.distance[rows], ratio=self.ratio[rows], labels=self.labels[rows])


def copies_among(found: Nearest, labels: Array, yardstick: Yardstick) -> Flags:
    """Tell which images count as copies; see the module."""
    limits = [
        (found.distance, thresholds(yardstick.distance, yardstick.labels)),
        (found.ratio, thresholds(yardstick.ratio, yardstick.labels)),
        (found.distance, thresholds(yardstick.spread, yardstick.spread_labels)),
    ]
    below = [values < np.array([of_class[int(label)] for label in labels]) for values, of_class in limits]
    return np.asarray(np.logical_and.reduce(below))


def repeats(found: Nearest, yardstick: Yardstick) -> Flags:
    """Tell, in the space of structures, which images are near copies, at half the distance of any real image."""
    least = min(float(yardstick.distance.min()), float(yardstick.spread.min()))
    return (found.distance <= 1 - NEAR_COPY) & (found.distance < least / 2)


def flags(found: dict[str, Nearest], labels: Array, yardsticks: dict[str, Yardstick]) -> dict[str, bool]:
    """Return space -> whether images hold more copies than chance explains, or one that is a near copy."""
    return {
        space: (
            at_least(
                chance_of(labels, yardsticks[space].labels), int(copies_among(own, labels, yardsticks[space]).sum())
            )
            <= SIGNIFICANCE / len(found)
            or (space == STRUCTURE and bool(repeats(own, yardsticks[space]).any()))
        )
        for space, own in found.items()
    }
