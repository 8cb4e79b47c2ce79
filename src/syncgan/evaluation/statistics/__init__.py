"""Statistics of a benchmark: scores, paired intervals over few splits, verdicts in words. Pure functions on arrays.

`analyse` makes all of it from class probabilities; the parts can be used alone.
"""

from __future__ import annotations

from syncgan.evaluation.statistics.analysis import Analysis, ArmScore, Comparison, Outcomes, analyse
from syncgan.evaluation.statistics.bootstrap import Interval, Resamples, Resampling, interval_of
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
from syncgan.evaluation.statistics.scores import (
    SCORES,
    CalibrationCurve,
    Score,
    calibration_of,
    score_named,
    scores_of,
)

__all__ = [
    "SCORES",
    "Analysis",
    "ArmScore",
    "CalibrationCurve",
    "Comparison",
    "CorrectedTTest",
    "Interval",
    "OracleShare",
    "Outcomes",
    "Resamples",
    "Resampling",
    "Score",
    "Verdict",
    "analyse",
    "calibration_of",
    "corrected_t_test",
    "holm",
    "interval_of",
    "oracle_share",
    "score_named",
    "scores_of",
    "sentence_of",
    "verdict_of",
]
