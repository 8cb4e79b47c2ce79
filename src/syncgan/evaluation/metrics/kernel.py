"""Kernel distance of two sets of features, its interval, and what chance alone would give among real images.

It is unbiased at any number of images, which no other distance here is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan import rng
from syncgan.errors import DataError
from syncgan.evaluation.metrics.resampling import group_of_each, random_half

__all__ = ["Chance", "cubic", "kernel_distance", "kernel_distance_interval", "real_against_real", "unbiased"]

Features = NDArray[np.float64]

_FEWEST, _FEWEST_TO_HALVE = 2, 4


@dataclass(frozen=True)
class Chance:
    """The kernel distance between random disjoint sets of real images.

    Attributes
    ----------
    size : images in each of the two sets, at most.
    mean : mean distance; near zero, since it is unbiased.
    percentile_95 : 95th percentile of its absolute value.
    """

    size: int
    mean: float
    percentile_95: float


def kernel_distance(first: Features, second: Features) -> float:
    """Return the unbiased kernel distance (KID): squared maximum mean discrepancy under a cubic kernel.

    Parameters
    ----------
    first, second : (N, D) and (M, D), at least two images each.

    Returns
    -------
    About 0 for sets from one distribution (it may be negative), larger the more they differ.

    Raises
    ------
    DataError
        Fewer than two images on a side.

    References
    ----------
    Binkowski et al., "Demystifying MMD GANs", ICLR 2018: ``k(x, y) = (x . y / D + 1) ** 3``.
    """
    if min(len(first), len(second)) < 2:
        raise DataError(f"expected at least two images on each side, got {len(first)} and {len(second)}")
    pairs = ((first, first), (second, second), (first, second))
    return unbiased(*(cubic(one @ other.T, first.shape[1]) for one, other in pairs))


def cubic(products: Features, dimensions: int) -> Features:
    """Return the cubic kernel from scalar products of features with so many dimensions."""
    raised = products / dimensions + 1
    return np.asarray(raised * raised * raised)  # several times faster than NumPy's power


def unbiased(first: Features, second: Features, between: Features) -> float:
    """Return the unbiased squared maximum mean discrepancy from kernels within two sets and between them."""
    within = sum((kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in (first, second))
    return float(within - 2 * between.mean())


def kernel_distance_interval(
    first: Features, second: Features, *, groups: Sequence[Any] | None = None, repeats: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % interval of the kernel distance, by resampling half of each side without repetition.

    Half-samples keep the estimate unbiased, which a bootstrap with repeated images does not; their spread is that of
    whole samples (a half-sample's variance about the whole equals that of the whole about the truth).

    Parameters
    ----------
    first, second : (N, D) and (M, D).
    groups : the group of each image of `second`; groups are then resampled whole.
    repeats, seed : halves that are drawn, and their seed.

    Raises
    ------
    DataError
        Fewer than four images on a side, or fewer than two groups.
    """
    if min(len(first), len(second)) < _FEWEST_TO_HALVE:
        raise DataError(
            f"expected at least {_FEWEST_TO_HALVE} images on each side, so that half of them have a distance, "
            f"got {len(first)} and {len(second)}; give more images"
        )
    own, other = np.arange(len(first)), group_of_each(second, groups)
    found = []
    for repeat in range(repeats):
        generator = rng.numpy_generator(seed, "kernel distance", repeat)
        mine, theirs = (random_half(members, generator) for members in (own, other))
        if min(len(mine), len(theirs)) >= 2:
            found.append(kernel_distance(first[mine], second[theirs]))
    if not found:
        raise DataError("no half of the groups had two images; give more groups, or leave groups out")
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def real_against_real(
    features: Features,
    *,
    size: int,
    groups: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    repeats: int = 200,
    seed: int = 0,
) -> Chance:
    """Measure the kernel distance between disjoint sets of real images, drawn by whole groups.

    Parameters
    ----------
    features : (N, D) of all real images.
    size : images wanted in each set; less where there are not twice as many.
    groups : one an image; no group comes to lie on both sides.
    labels : one an image; both sides then have equally many images of each class, as nearly equal in all as can be.
    repeats, seed : pairs of sets that are drawn, and their seed.

    Raises
    ------
    DataError
        Fewer than two groups, or no pair of sets with at least two images each.
    """
    members = group_of_each(features, groups)
    classes = np.zeros(len(features)) if labels is None else np.asarray(labels)
    found, sizes = [], []
    for repeat in range(repeats):
        generator = rng.numpy_generator(seed, "real against real", repeat)
        first = random_half(members, generator)
        second = np.setdiff1d(np.arange(len(features)), first)
        chosen = _alike((first, second), classes, size, generator)
        if min(map(len, chosen)) < _FEWEST:
            continue  # all groups of a class can fall on one side
        sizes.append(min(map(len, chosen)))
        found.append(kernel_distance(features[chosen[0]], features[chosen[1]]))
    if not found:
        raise DataError(
            "expected two sets of at least two images each with equal classes, found none; give more groups"
        )
    return Chance(int(np.median(sizes)), float(np.mean(found)), float(np.percentile(np.abs(found), 95)))


def _alike(
    sides: tuple[NDArray[np.int64], NDArray[np.int64]], classes: NDArray[Any], size: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return as many positions of each class from both sides, up to `size` in all."""
    values = np.unique(classes)
    chosen: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for value in values:
        members = [generator.permutation(side[classes[side] == value]) for side in sides]
        count = min(size // len(values), *map(len, members)) if len(values) > 1 else size
        for part, own in zip(chosen, members, strict=True):
            part.append(own[:count])
    return [np.concatenate(part) for part in chosen]
