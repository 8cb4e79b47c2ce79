"""A two-way bootstrap over splits and test groups that keeps its promise with few splits.

Each resample draws the splits with replacement and, within them, whole test groups with replacement (single items
where there are no groups). All arms see the same draws, so a difference is paired. A group that is tested in several
splits is drawn for all of them at once: it is the same patient. The percentiles of the resampled means give the shape
of the interval; its width is set by the variance components.

Why not the percentiles themselves: the score of a split already holds the chance of its test items, so drawing splits
*and* items counts that chance twice (up to 1.8 times the variance with 5 splits, an interval too wide), while drawing S
splits finds only (S - 1) / S of their variance and takes its quantiles as if that were known exactly (an interval too
narrow: where splits differ more than items, 12 of 100 comparisons of equal arms with 5 splits come out as a difference,
as `benchmarks/interval_level.py` shows). With

- ``between``: variance of the mean over splits, from the S scores, ``s^2 / S``;
- ``within``: variance of the mean by the test groups of each split alone, from the resamples;
- ``shared``: what groups add that are tested in several splits, the covariance of splits under the same resamples;

the half-width at level 1 - a is ``sqrt(max(t(a, S-1)^2 between + t(a, G-1)^2 shared, t(a, g)^2 within))`` with G groups
in all and g their number less one, summed over splits. Where classes count alike, however few patients one has, these
are the groups of the class that has fewest: the score hangs on them. A side on which the percentile lies farther out
than a normal one's is longer by that factor. `between` alone would be Student's interval, exact for normal scores of
independent splits. The rest only widens it: for the same patients tested again and again, which S scores cannot show;
for scores that agree better than the test items allow, which is luck; and for skewness. So the level is held whatever
the components are, as far as splits are independent. Splits of one small data set share training images, which no
resampling of finished results can undo; see `corrected_t_test`.

References
----------
Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007.
Field and Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical Society B 69, 2007.
Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015 (too narrow with few).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from syncgan import rng
from syncgan.errors import DataError
from syncgan.evaluation.statistics.resampled_scores import resampled_scores
from syncgan.evaluation.statistics.scores import Floats, Ints, Score, check_predictions

__all__ = [
    "LEAST_SPLITS",
    "LEVEL",
    "POWER",
    "RESAMPLES",
    "Interval",
    "Resamples",
    "Resampling",
    "interval_of",
    "limits_of",
]

LEVEL = 0.95
"""Two-sided level of every interval."""

POWER = 0.8
"""Chance of showing the smallest difference that is said to be detectable."""

RESAMPLES = 2000

LEAST_SPLITS = 3
"""Splits below which there is no interval: Student's t with one degree of freedom is 12.7, which says nothing."""

_SMALLEST_P = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean over splits with its 95 % interval.

    Attributes
    ----------
    estimate : mean over splits of the score, or of the difference of two scores.
    low, high : ends of the interval; NaN with fewer than `LEAST_SPLITS` splits, as are the figures below.
    standard_error : bootstrap standard error, free of the double count.
    p_value : two-sided, for an estimate of zero: below 0.05 exactly where the interval excludes zero.
    detectable : smallest true distance from zero that data like these would have shown with a chance of 80 %: the
        half-width plus the 80 % quantile of Student's t times the standard error. Infinite where that is more than the
        score can differ by, and where nothing varies.
    splits : number of splits in which the score is defined.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    p_value: float
    detectable: float
    splits: int

    def within(self, least: float, most: float) -> Interval:
        """Return the interval without what lies outside of the values that are possible, `least` to `most`.

        Examples
        --------
        >>> Interval(0.9, 0.75, 1.05, 0.05, 0.01, 0.2, 3).within(0, 1).high
        1.0
        """
        low, high = (float(np.clip(end, least, most)) for end in (self.low, self.high))
        detectable = math.inf if self.detectable > most else self.detectable
        return replace(self, low=low, high=high, detectable=detectable)


@dataclass(frozen=True, eq=False)
class Resamples:
    """A score, or a linear combination of scores, in each split, as it is and resampled.

    Attributes
    ----------
    values : (S,) of the splits.
    drawn : (R, S) of the same splits with their groups resampled.
    by_class : whether every class counts alike in the score.
    """

    values: Floats
    drawn: Floats
    by_class: bool = False

    def __sub__(self, other: Resamples) -> Resamples:
        by_class = self.by_class or other.by_class
        return Resamples(self.values - other.values, self.drawn - other.drawn, by_class)

    def __mul__(self, factor: float) -> Resamples:
        return Resamples(self.values * factor, self.drawn * factor, self.by_class)


class Resampling:
    """Draws of splits and test groups that all arms and all scores share.

    Parameters
    ----------
    labels : for each of S splits (n_s,) integers 0..C-1.
    groups : for each split the (n_s,) groups (patients, slides) of its items, by any value that is the same for the
        same group in every split; None where items are independent. Give the items' own numbers to have an item
        recognised that is tested in several splits.
    resamples : R.
    seed : of the draws.

    Raises
    ------
    DataError
        There is no split, or the groups do not fit the labels.
    """

    def __init__(
        self,
        labels: Sequence[ArrayLike],
        groups: Sequence[ArrayLike] | None = None,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.labels = [np.asarray(part) for part in labels]
        if not self.labels:
            raise DataError("expected at least one split, got none; finish a split first")
        self.resamples, self._seed, self._crossed = resamples, seed, groups is not None
        self.columns, self.group_count = _numbered(self.labels, groups)
        self.groups_in_split = [len(np.unique(part)) for part in self.columns]
        self.fewest_in_split = [
            _fewest_of_a_class([part], [columns]) for part, columns in zip(self.labels, self.columns, strict=True)
        ]
        self.fewest_count = _fewest_of_a_class(self.labels, self.columns, crossed=self._crossed)
        splits = len(self.labels)
        generator = rng.numpy_generator(seed, "splits")
        self.split_counts: Ints = generator.multinomial(splits, np.full(splits, 1 / splits), size=resamples)

    def of(self, score: Score, probabilities: Mapping[str, Sequence[ArrayLike]]) -> dict[str, Resamples]:
        """Return the score of each arm in each split, as it is and under the draws.

        Parameters
        ----------
        probabilities : arm -> for each split (n_s, C) class probabilities.
        """
        for arm, parts in probabilities.items():
            if len(parts) != len(self.labels):
                raise DataError(
                    f"expected {len(self.labels)} splits of arm {arm!r}, got {len(parts)}; leave out the rest"
                )
        found: dict[str, list[Floats]] = {arm: [] for arm in probabilities}
        for split, (labels, columns) in enumerate(zip(self.labels, self.columns, strict=True)):
            counts = self.group_draws(split)
            once = np.ones_like(counts[:1])  # every group once: the items as they are
            counts = np.concatenate([once, counts])
            for arm, parts in probabilities.items():
                truth, chances = check_predictions(labels, parts[split])
                found[arm].append(resampled_scores(score, truth, chances, columns, counts))
        tables = {arm: np.column_stack(parts) for arm, parts in found.items()}
        return {arm: Resamples(table[0], table[1:], score.by_class) for arm, table in tables.items()}

    def group_draws(self, split: int) -> Ints:
        """Return (R, G): how often each resample has drawn each group, as the columns of this split number them."""
        if self._crossed:
            return self._crossed_draws
        return self._draw(len(self.labels[split]), split)

    @cached_property
    def _crossed_draws(self) -> Ints:
        return self._draw(self.group_count, "all")

    def _draw(self, count: int, *address: int | str) -> Ints:
        generator = rng.numpy_generator(self._seed, "groups", *address)
        return np.asarray(generator.multinomial(count, np.full(count, 1 / count), size=self.resamples))


def _numbered(labels: Sequence[Any], groups: Sequence[ArrayLike] | None) -> tuple[list[Ints], int]:
    """Return the number of each item's group over all splits, or of the item within its split without groups."""
    if groups is None:
        return [np.arange(len(part)) for part in labels], sum(len(part) for part in labels)
    given = [np.asarray(part) for part in groups]
    sizes, wanted = [part.shape for part in given], [part.shape for part in labels]
    if sizes != wanted:
        raise DataError(f"expected groups of shapes {wanted}, one for each test item, got {sizes}")
    names, numbers = np.unique(np.concatenate(given), return_inverse=True)
    ends = np.cumsum([len(part) for part in given])[:-1]
    return np.split(numbers.astype(np.int64), ends), len(names)


def _fewest_of_a_class(labels: Sequence[Any], columns: Sequence[Ints], *, crossed: bool = True) -> int:
    """Return in how many groups the items of a class are, of that class which has fewest."""
    found: dict[int, set[tuple[int, int]]] = {}
    for split, (part, of_part) in enumerate(zip(labels, columns, strict=True)):
        for label in np.unique(part).tolist():
            groups = np.unique(of_part[part == label]).tolist()
            found.setdefault(label, set()).update((0 if crossed else split, group) for group in groups)
    return min(len(groups) for groups in found.values())


def interval_of(resamples: Resamples, resampling: Resampling) -> Interval:
    """Return the mean over splits with its interval (see the module)."""
    found = _Components.of(resamples, resampling)
    if found.splits < LEAST_SPLITS:
        return Interval(found.estimate, math.nan, math.nan, math.nan, math.nan, math.nan, found.splits)
    width = found.half_width(1 - LEVEL)
    # Arms that predict alike in every split and draw say nothing of what a difference would have looked like.
    detectable = width + _student(1 - POWER, found.splits - 1) * found.standard_error if width else math.inf
    return Interval(
        found.estimate,
        *found.limits(),
        found.standard_error,
        found.p_value(),
        detectable,
        found.splits,
    )


def limits_of(resamples: Resamples, resampling: Resampling) -> tuple[float, float]:
    """Return only the ends of `interval_of`, which is faster."""
    found = _Components.of(resamples, resampling)
    return found.limits() if found.splits >= LEAST_SPLITS else (math.nan, math.nan)


@dataclass(frozen=True)
class _Components:
    """What the interval is made of: variances of the mean, their degrees of freedom, and the shape of the resamples."""

    estimate: float
    splits: int
    between: float
    within: float
    shared: float
    within_freedom: int
    shared_freedom: int
    below: float  # how far the percentiles lie from the mean, in units of a normal distribution's
    above: float

    @classmethod
    def of(cls, resamples: Resamples, resampling: Resampling) -> _Components:
        used = np.flatnonzero(np.isfinite(resamples.values))
        splits = len(used)
        if splits < LEAST_SPLITS:
            estimate = float(resamples.values[used].mean()) if splits else math.nan
            return cls(estimate, splits, math.nan, math.nan, math.nan, 0, 0, math.nan, math.nan)
        values, drawn = resamples.values[used], resamples.drawn[:, used]
        by_class, groups = resamples.by_class, np.array(resampling.groups_in_split)[used]
        if by_class:  # a class of one group has no variance of its own here, and must not make that of others vanish
            groups = np.minimum(groups, np.maximum(2, np.array(resampling.fewest_in_split)[used]))
        in_all = resampling.fewest_count if by_class else resampling.group_count
        # G draws of G groups find (G - 1) / G of their variance; a single group says nothing about others.
        inflation = np.where(groups > 1, groups / np.maximum(groups - 1, 1), 0)
        each = np.nanvar(drawn, axis=0)
        within = float((each * inflation).sum()) / splits**2
        together = float(np.nanvar(_mean(drawn, np.ones_like(drawn))))
        covariance = max(0.0, together - float(each.sum()) / splits**2) if resampling.group_count > 1 else 0.0
        shared = covariance * in_all / max(in_all - 1, 1) if _recur(resampling) else 0.0
        below, above = _shape(_mean(drawn, resampling.split_counts[:, used].astype(np.float64)))
        return cls(
            estimate=float(values.mean()),
            splits=splits,
            between=float(values.var(ddof=1)) / splits,
            within=within,
            shared=shared,
            within_freedom=max(1, int((groups - 1).sum())),
            shared_freedom=max(1, in_all - 1),
            below=below,
            above=above,
        )

    @property
    def standard_error(self) -> float:
        return math.sqrt(max(self.within, self.between + self.shared))

    def half_width(self, tail: float) -> float:
        """Return the half-width at the two-sided level 1 - tail, before it takes the shape of the resamples."""
        by_splits = _student(tail / 2, self.splits - 1) ** 2 * self.between
        by_groups = _student(tail / 2, self.shared_freedom) ** 2 * self.shared
        return math.sqrt(max(_student(tail / 2, self.within_freedom) ** 2 * self.within, by_splits + by_groups))

    def limits(self) -> tuple[float, float]:
        width = self.half_width(1 - LEVEL)
        return self.estimate - self.below * width, self.estimate + self.above * width

    def p_value(self) -> float:
        """Return the tail at which the interval just touches zero."""
        from scipy.optimize import brentq

        distance = abs(self.estimate) / (self.below if self.estimate > 0 else self.above)
        if distance == 0:
            return 1.0
        if self.half_width(_SMALLEST_P) <= distance:
            return _SMALLEST_P
        return math.exp(brentq(lambda tail: self.half_width(math.exp(tail)) - distance, math.log(_SMALLEST_P), 0.0))


def _recur(resampling: Resampling) -> bool:
    """Tell whether any group is tested in more than one split."""
    return resampling.group_count < sum(resampling.groups_in_split)


def _mean(drawn: Floats, weights: Floats) -> Floats:
    """Return the weighted means over splits, leaving out splits in which a resample has no score."""
    defined = np.isfinite(drawn)
    total = np.where(defined, weights, 0).sum(axis=1)
    sums = np.where(defined, drawn * weights, 0).sum(axis=1)
    means: Floats = np.divide(sums, total, out=np.full(len(drawn), np.nan), where=total > 0)
    return means


def _shape(means: Floats) -> tuple[float, float]:
    """Return how far the 2.5 and 97.5 % percentiles lie from the mean; 1 for a normal distribution, and no less.

    Percentiles of few splits that lie nearer than a normal distribution's are mostly noise: believing them would raise
    the level by about one in a hundred.
    """
    spread = float(np.nanstd(means))
    if not spread > 0:
        return 1.0, 1.0
    # Deviations from the resamples' own mean: resampling biases some scores, the calibration error most of all.
    low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - np.nanmean(means)
    normal = _normal((1 - LEVEL) / 2) * spread
    return max(1.0, float(-low / normal)), max(1.0, float(high / normal))


def _student(tail: float, freedom: int) -> float:
    """Return the value that Student's t exceeds with probability `tail`."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, tail))


def _normal(tail: float) -> float:
    from scipy.special import ndtri

    return -float(ndtri(tail))
