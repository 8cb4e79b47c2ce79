"""From class probabilities to every figure of a benchmark: means, paired differences, verdicts, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from syncgan.errors import DataError
from syncgan.evaluation.statistics.bootstrap import LEVEL, RESAMPLES, Interval, Resamples, Resampling, interval_of
from syncgan.evaluation.statistics.comparison import (
    CorrectedTTest,
    OracleShare,
    Verdict,
    corrected_t_test,
    holm,
    oracle_share,
    sentence_of,
    verdict_of,
)
from syncgan.evaluation.statistics.scores import Score, score_named

__all__ = ["Analysis", "ArmScore", "Comparison", "Outcomes", "analyse"]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What the arms of one classifier predicted on the test items of S splits.

    Attributes
    ----------
    labels : for each split (n_s,) integers 0..C-1.
    probabilities : arm -> for each split (n_s, C) class probabilities, rows in the order of `labels`.
    groups : for each split the (n_s,) groups of its test items, the same value for the same group in every split; None
        where items are independent.
    """

    labels: Sequence[ArrayLike]
    probabilities: Mapping[str, Sequence[ArrayLike]]
    groups: Sequence[ArrayLike] | None = None


@dataclass(frozen=True)
class ArmScore:
    """One cell of the table.

    Attributes
    ----------
    classifier, arm : row and column.
    mean : of the score over splits, with its interval.
    values : the score in each split.
    """

    classifier: str
    arm: str
    mean: Interval
    values: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline.

    Attributes
    ----------
    classifier, arm, baseline : what is compared.
    difference : arm minus baseline, paired, with its interval.
    verdict : "helps", "hurts" or "no evidence".
    sentence : the verdict with its figures.
    holm_p_value : the p value adjusted for all comparisons of the analysis.
    t_test : the corrected resampled t-test; None unless asked for.
    oracle_share : None where the arm is the oracle, or without one.
    values : the difference in each split.
    """

    classifier: str
    arm: str
    baseline: str
    difference: Interval
    verdict: Verdict
    sentence: str
    holm_p_value: float
    t_test: CorrectedTTest | None
    oracle_share: OracleShare | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Analysis:
    """Every figure of a benchmark by one score.

    Attributes
    ----------
    score : its name; see `score_named`.
    baseline : the arm that the others are compared with.
    cells, comparisons : by classifier, then arm, in the order in which they were given.
    level : of every interval, for each comparison by itself.
    resamples, seed : of the bootstrap.
    """

    score: str
    baseline: str
    cells: tuple[ArmScore, ...]
    comparisons: tuple[Comparison, ...]
    level: float
    resamples: int
    seed: int

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the rows."""
        return tuple(dict.fromkeys(cell.classifier for cell in self.cells))

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(dict.fromkeys(cell.arm for cell in self.cells))

    @property
    def false_alarms_expected(self) -> float:
        """Verdicts other than "no evidence" to expect if no arm made any difference."""
        return len(self.comparisons) * (1 - self.level)


def analyse(
    outcomes: Mapping[str, Outcomes],
    *,
    score: str | Score = "accuracy",
    baseline: str = "Orig",
    oracle: str | None = "Oracle",
    oracle_images_per_class: float | None = None,
    t_test_items: tuple[int, int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Analysis:
    """Compare the arms of every classifier with its baseline.

    Parameters
    ----------
    outcomes : classifier -> what its arms predicted.
    score : name of a score (see `score_named`), or one of your own.
    baseline : arm to compare with.
    oracle : arm with additional real images, in units of whose gain the others are told; None for no shares, as where
        it had fewer images than they.
    oracle_images_per_class : additional real images a class of that arm.
    t_test_items : (n_train, n_test) of a split, for the corrected resampled t-test; None to leave it out.
    resamples, seed : of the bootstrap.

    Raises
    ------
    DataError
        A classifier has no baseline, or shapes do not fit.
    """
    how = score if isinstance(score, Score) else score_named(score)
    widest = how.span[1] - how.span[0]
    cells, comparisons = [], []
    for classifier, given in outcomes.items():
        if baseline not in given.probabilities:
            raise DataError(
                f"expected an arm {baseline!r} of {classifier!r}, got {list(given.probabilities)}; run it, or name "
                "another baseline"
            )
        resampling = Resampling(given.labels, given.groups, resamples=resamples, seed=seed)
        found = resampling.of(how, given.probabilities)
        cells += [
            ArmScore(classifier, arm, interval_of(own, resampling).within(*how.span), tuple(own.values.tolist()))
            for arm, own in found.items()
        ]
        gains = {arm: own - found[baseline] for arm, own in found.items() if arm != baseline}
        shares = _shares(gains, oracle, oracle_images_per_class, how, resampling)
        for arm, gain in gains.items():
            difference = interval_of(gain, resampling).within(-widest, widest)
            comparison = Comparison(
                classifier=classifier,
                arm=arm,
                baseline=baseline,
                difference=difference,
                verdict=verdict_of(difference, how),
                sentence=sentence_of(difference, how),
                holm_p_value=np.nan,
                t_test=corrected_t_test(gain.values, *t_test_items) if t_test_items else None,
                oracle_share=shares.get(arm),
                values=tuple(gain.values.tolist()),
            )
            comparisons.append(comparison)
    return Analysis(how.name, baseline, tuple(cells), _adjusted(comparisons), LEVEL, resamples, seed)


def _shares(
    gains: Mapping[str, Resamples], oracle: str | None, images: float | None, score: Score, resampling: Resampling
) -> dict[str, OracleShare]:
    if oracle is None or oracle not in gains:
        return {}
    sign = 1.0 if score.higher_is_better else -1.0
    best = gains[oracle] * sign
    return {arm: oracle_share(own * sign, best, resampling, images) for arm, own in gains.items() if arm != oracle}


def _adjusted(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    p_values = holm([comparison.difference.p_value for comparison in comparisons])
    return tuple(replace(own, holm_p_value=value) for own, value in zip(comparisons, p_values, strict=True))
