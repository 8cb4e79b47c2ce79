"""Does an arm help? Paired differences in words, beside a second test, and in units of real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from syncgan.errors import DataError
from syncgan.evaluation.statistics.bootstrap import (
    LEAST_SPLITS,
    LEVEL,
    POWER,
    Interval,
    Resamples,
    Resampling,
    limits_of,
)
from syncgan.evaluation.statistics.scores import Score

__all__ = [
    "CorrectedTTest",
    "OracleShare",
    "Verdict",
    "corrected_t_test",
    "holm",
    "oracle_share",
    "sentence_of",
    "shown",
    "verdict_of",
]

Verdict = Literal["helps", "hurts", "no evidence"]

_WIDEST_SHARE = 1e6


@dataclass(frozen=True)
class CorrectedTTest:
    """The corrected resampled t-test of a mean difference over splits.

    Attributes
    ----------
    statistic, degrees_of_freedom, p_value : of the two-sided test.
    low, high : its 95 % interval.
    n_train, n_test : items on which the correction rests.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float
    low: float
    high: float
    n_train: int
    n_test: int


@dataclass(frozen=True)
class OracleShare:
    """What an arm gains, in units of what as many additional real images gain.

    Attributes
    ----------
    share : gain of the arm divided by the oracle's; None where the oracle's own gain is not clearly above zero.
    low, high : ends of its 95 % interval; None with `share`, and on a side to which it has no end.
    images_per_class : real images a class that the arm is worth, by linear interpolation between no images and the
        oracle's; at least 0 and at most the oracle's number. None with `share`, or if that number is not known.
    images_low, images_high : the same for the ends of the interval.
    reason : why there is no share; empty if there is one.
    """

    share: float | None
    low: float | None
    high: float | None
    images_per_class: float | None
    images_low: float | None
    images_high: float | None
    reason: str = ""


def verdict_of(difference: Interval, score: Score) -> Verdict:
    """Return "helps" or "hurts" where the interval of arm minus baseline excludes zero, else "no evidence"."""
    low, high = (difference.low, difference.high) if score.higher_is_better else (-difference.high, -difference.low)
    if low > 0:
        return "helps"
    return "hurts" if high < 0 else "no evidence"


def sentence_of(difference: Interval, score: Score) -> str:
    """Return the verdict as a sentence with its figures.

    Examples
    --------
    >>> from syncgan.evaluation.statistics import score_named
    >>> sentence_of(Interval(0.01, -0.02, 0.04, 0.015, 0.4, 0.045, 5), score_named("accuracy"))
    'no evidence: +1.0 points (-2.0 to +4.0); these 5 splits would have shown 4.5 points in 80 of 100 cases'
    """
    verdict = verdict_of(difference, score)
    unit = " points" if score.percent else ""
    if not math.isfinite(difference.low):
        return f"{verdict}: an interval needs at least {LEAST_SPLITS} splits with this score, got {difference.splits}"
    estimate, low, high = (shown(value, score, signed=True) for value in _ends(difference))
    text = f"{verdict}: {estimate}{unit} ({low} to {high})"
    if verdict == "no evidence" and math.isfinite(difference.detectable):
        least = shown(difference.detectable, score)
        chance = round(100 * POWER)
        text += f"; these {difference.splits} splits would have shown {least}{unit} in {chance} of 100 cases"
    elif difference.low == difference.high == 0:
        text += "; the arms predicted alike in every split, so nothing is known of what would have been shown"
    elif verdict == "no evidence":
        text += f"; these {difference.splits} splits could hardly have shown any difference"
    return text


def shown(value: float, score: Score, *, signed: bool = False) -> str:
    """Return a value as tables show it: percent with one decimal, or losses with three.

    Examples
    --------
    >>> from syncgan.evaluation.statistics import score_named
    >>> shown(0.7333, score_named("accuracy")), shown(-0.01, score_named("brier"), signed=True)
    ('73.3', '-0.010')
    """
    if not math.isfinite(value):
        return "n/a"
    decimals = 1 if score.percent else 3
    rounded = round(value * (100 if score.percent else 1), decimals) + 0.0  # no minus zero
    return f"{rounded:{'+' if signed else ''}.{decimals}f}"


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def corrected_t_test(differences: ArrayLike, n_train: int, n_test: int) -> CorrectedTTest:
    """Test a mean difference over random splits of one data set, allowing for the images that splits share.

    The variance of the mean is taken as ``(1/S + n_test/n_train) s^2`` in place of ``s^2 / S``, and t has S - 1 degrees
    of freedom. Meant for splits with more training than test images (3:1:1); with few training and many test images it
    is so wide that it says nothing.

    Parameters
    ----------
    differences : (S,) score of the arm minus that of the baseline in each split.
    n_train, n_test : items of a split that a classifier was trained on and tested on.

    Returns
    -------
    The test; all NaN with fewer than `LEAST_SPLITS` splits, where t has so few degrees of freedom that it says nothing.

    Raises
    ------
    DataError
        A number of items is not positive.

    References
    ----------
    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003.
    """
    from scipy import stats

    if n_train < 1 or n_test < 1:
        raise DataError(f"expected at least one training and one test item, got {n_train} and {n_test}")
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    freedom = len(values) - 1
    if len(values) < LEAST_SPLITS:
        return CorrectedTTest(math.nan, max(freedom, 0), math.nan, math.nan, math.nan, n_train, n_test)
    mean = float(values.mean())
    error = math.sqrt((1 / len(values) + n_test / n_train) * float(values.var(ddof=1)))
    statistic = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    half = float(stats.t.isf((1 - LEVEL) / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(statistic), freedom))
    return CorrectedTTest(statistic, freedom, p_value, mean - half, mean + half, n_train, n_test)


def oracle_share(
    gain: Resamples, oracle_gain: Resamples, resampling: Resampling, images_per_class: float | None = None
) -> OracleShare:
    """Return the share of the oracle's gain that an arm recovers.

    Its interval holds the ratios r for which the interval of ``gain - r * oracle_gain`` holds zero (Fieller's method,
    with `interval_of`). It is bounded because the oracle's own interval excludes zero.

    Parameters
    ----------
    gain, oracle_gain : scores of the arm and of the oracle minus those of the baseline, of one resampling; times -1 for
        scores of which lower is better.
    images_per_class : additional real images a class of the oracle.

    References
    ----------
    Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B 16, 1954.
    """
    oracle = limits_of(oracle_gain, resampling)
    if not oracle[0] > 0:
        reason = "undefined: the oracle's own gain is not clearly above zero"
        return OracleShare(None, None, None, None, None, None, reason)
    used = np.isfinite(gain.values) & np.isfinite(oracle_gain.values)
    share = float(gain.values[used].mean() / oracle_gain.values[used].mean())

    def clearance(ratio: float) -> tuple[float, float]:
        """Return how far below and above zero the interval ends."""
        low, high = limits_of(gain - oracle_gain * ratio, resampling)
        return -low, high

    # A larger ratio takes more of the oracle's gain away, until the whole interval lies below zero.
    low = _end_of_ratios(lambda ratio: clearance(ratio)[0], share, -1)
    high = _end_of_ratios(lambda ratio: clearance(ratio)[1], share, 1)
    worth = [_images(part, images_per_class) for part in (share, low, high)]
    return OracleShare(share, low, high, worth[0], worth[1], worth[2])


def _end_of_ratios(clearance: Callable[[float], float], start: float, sign: int) -> float | None:
    """Walk from a ratio in one direction until the interval excludes zero, then find where that began."""
    from scipy.optimize import brentq

    if clearance(start) <= 0:
        return start
    step = 1.0
    while step < _WIDEST_SHARE:
        if clearance(start + sign * step) < 0:
            return float(brentq(clearance, start, start + sign * step))
        step *= 2
    return None


def _images(share: float | None, most: float | None) -> float | None:
    return None if share is None or most is None else float(np.clip(share, 0, 1) * most)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust p values for their number, so that the chance of any false alarm among them stays at the level.

    NaN stays NaN and does not count.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]  # NaN comes last
    adjusted = np.full(len(values), np.nan)
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * values[order]))
    return tuple(adjusted.tolist())
