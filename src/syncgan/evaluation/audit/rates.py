"""How often samples lie nearer than real images do, and how often that would happen by chance.

The null hypothesis is exchangeability: given the training images, a sample of a class and a held-out image of it have
distances of one distribution. Then the number of samples below the r-th smallest of m held-out distances has a
negative hypergeometric distribution, whatever that distribution is, and no threshold need be taken as exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "PERCENT",
    "Interval",
    "at_least",
    "chance_of",
    "fewest_at",
    "group_interval",
    "mann_whitney",
    "share",
    "thresholds",
]

Array = NDArray[Any]

PERCENT = 5
"""Share of held-out images, in percent, that may lie below a threshold."""

_CONFIDENCE = 0.95
_RESAMPLES = 1000


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def thresholds(values: Array, labels: Array) -> dict[int, float]:
    """Return label -> the value below which 5 % of the real images of the class lie: one of their own values.

    With fewer than 19 images it is the smallest one.
    """
    return {
        int(label): float(np.sort(values[labels == label])[_rank(labels, label) - 1]) for label in np.unique(labels)
    }


def chance_of(labels: Array, real_labels: Array) -> NDArray[np.float64]:
    """Return (n + 1,) probabilities that 0, 1, .. n samples lie below the `thresholds` of their classes by chance.

    Parameters
    ----------
    labels : (n,) of the samples.
    real_labels : of the held-out images; every label of a sample occurs.
    """
    total = np.ones(1)
    for label in np.unique(labels):
        count, real = int((labels == label).sum()), int((real_labels == label).sum())
        law = stats.nhypergeom(count + real, count, _rank(real_labels, label))
        total = np.convolve(total, np.clip(np.nan_to_num(law.pmf(np.arange(count + 1))), 0, 1))
    return np.asarray(total / total.sum())


def at_least(chance: NDArray[np.float64], count: int) -> float:
    """Return the probability of `count` or more."""
    return float(min(1.0, chance[count:].sum()))


def fewest_at(chance: NDArray[np.float64], level: float) -> int | None:
    """Return the smallest count that has a probability of at most `level`; None where no count has."""
    tails = np.cumsum(chance[::-1])[::-1]
    rare = np.flatnonzero(tails <= level)
    return int(rare[0]) if len(rare) else None


def share(count: int, of: int) -> Interval:
    """Return the Clopper-Pearson interval of a share."""
    found = stats.binomtest(count, of).proportion_ci(_CONFIDENCE)
    return Interval(float(found.low), float(found.high))


def group_interval(
    values: Array, labels: Array, real: Array, real_labels: Array, groups: Sequence[Any], *, seed: int
) -> Interval:
    """Return the bootstrap interval of the share of samples below the thresholds, over samples and groups."""
    names, of = np.unique([str(group) for group in groups], return_inverse=True)
    if len(names) < 2:
        return Interval(0.0, 1.0)
    members = [np.flatnonzero(of == name) for name in range(len(names))]

    def statistic(samples: Array, drawn: Array) -> float:
        rows = np.concatenate([members[int(name)] for name in drawn])
        known = thresholds(real[rows], real_labels[rows])
        chosen = samples.astype(np.int64)
        # A class whose groups were all left out has no threshold in this draw.
        limits = np.array([known.get(int(label), np.nan) for label in labels[chosen]])
        usable = ~np.isnan(limits)
        return float((values[chosen][usable] < limits[usable]).mean()) if usable.any() else 0.0

    found = stats.bootstrap(
        (np.arange(len(values)), np.arange(len(names))),
        statistic,
        n_resamples=_RESAMPLES,
        vectorized=False,
        method="percentile",
        confidence_level=_CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def mann_whitney(values: Array, labels: Array, real: Array, real_labels: Array) -> float:
    """Return the p-value that samples have smaller values than real images of their class.

    Mann and Whitney's test in each class, joined by Stouffer's method.

    References
    ----------
    Meehan, Chaudhuri and Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS 2020.
    """
    found, weights = [], []
    for label in np.unique(labels):
        own, other = values[labels == label], real[real_labels == label]
        found.append(float(stats.mannwhitneyu(own, other, alternative="less").pvalue))
        weights.append((len(own) * len(other) / (len(own) + len(other))) ** 0.5)
    # Stouffer's method has no answer to a certainty.
    within = np.clip(found, 1e-300, 1 - 1e-12)
    return float(stats.combine_pvalues(within, method="stouffer", weights=np.array(weights)).pvalue)


def _rank(labels: Array, label: int) -> int:
    count = int((labels == label).sum())
    return max(1, (count + 1) * PERCENT // 100)
