"""Random halves of sets of images, by whole groups: what every interval and every baseline here rests on.

A half drawn without repetition from a set is itself an honest, smaller set: the mean of a metric over such halves is
unbiased for the metric at that size, whatever the metric, and the halves spread about as much as whole sets do (the
variance of a half about the whole is that of the whole about the truth). A bootstrap repeats images; a repeated image
is its own neighbour at distance 0, which ruins everything that looks at neighbours, kernels or ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan import rng
from syncgan.errors import DataError

__all__ = ["Draw", "balanced_halves", "draw_alike", "group_of_each", "random_half"]

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """Three sets of equal size and equal classes: two of real images that share no group, one of synthetic ones.

    Attributes
    ----------
    reference, held_out : positions among the real images.
    synthetic : positions among the synthetic images.
    """

    reference: Positions
    held_out: Positions
    synthetic: Positions


def draw_alike(
    real_labels: NDArray[Any], synthetic_labels: NDArray[Any], groups: NDArray[Any], *, repeats: int, seed: int
) -> Iterator[Draw]:
    """Yield random draws: halves of the real images by group, and at most half of the synthetic images.

    Of each class all three sets hold as many as the scarcest of them can give; the order within is the same.
    """
    for repeat in range(repeats):
        generator = rng.numpy_generator(seed, "compare images", repeat)
        halves = balanced_halves(groups, real_labels, generator)
        parts: tuple[list[Positions], ...] = ([], [], [])
        for label in np.unique(real_labels):
            own = [generator.permutation(half[real_labels[half] == label]) for half in halves]
            own.append(generator.permutation(np.flatnonzero(synthetic_labels == label)))
            count = min(len(own[0]), len(own[1]), len(own[2]) // 2)
            for part, positions in zip(parts, own, strict=True):
                part.append(positions[:count])
        yield Draw(*map(np.concatenate, parts))


def balanced_halves(
    groups: NDArray[Any], classes: NDArray[Any], generator: np.random.Generator
) -> tuple[Positions, Positions]:
    """Cut positions into two random halves of whole groups, with about as many of each class on both sides.

    Groups come in random order; each goes where it evens out the classes, or to a random side.
    """
    values, group = np.unique(groups, return_inverse=True)
    kinds, kind = np.unique(classes, return_inverse=True)
    counts = np.zeros((len(values), len(kinds)), dtype=np.int64)
    np.add.at(counts, (group, kind), 1)
    excess = np.zeros(len(kinds), dtype=np.int64)
    sides = generator.choice([-1, 1], size=len(values))
    for one in generator.permutation(len(values)):
        pull = int(excess @ counts[one])
        if pull:
            sides[one] = -1 if pull > 0 else 1
        excess += sides[one] * counts[one]
    first = sides[group] > 0
    return np.flatnonzero(first), np.flatnonzero(~first)


def group_of_each(features: NDArray[Any], groups: Sequence[Any] | None) -> NDArray[Any]:
    """Return the group of each image; without groups each is its own."""
    if groups is None:
        return np.arange(len(features))
    if len(groups) != len(features):
        raise DataError(f"expected one group an image, got {len(groups)} groups and {len(features)} images")
    if len(set(groups)) < 2:
        raise DataError(
            f"expected at least two groups, since halves share none, got {len(set(groups))}; leave groups out"
        )
    return np.asarray(groups)


def random_half(members: NDArray[Any], generator: np.random.Generator) -> Positions:
    """Return the positions of a random half of `members`, by whole groups (equal values are one group)."""
    values, inverse = np.unique(members, return_inverse=True)
    order = generator.permutation(len(values))
    counts = np.bincount(inverse)[order].cumsum()
    # The first groups whose images make up about half.
    last = max(1, int(np.searchsorted(counts, len(members) / 2, side="right")))
    return np.flatnonzero(np.isin(inverse, order[:last]))
