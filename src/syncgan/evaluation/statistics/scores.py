"""Scores of a classifier on the test images of one split, by scikit-learn.

Class ``c`` is column ``c`` of the probabilities, so labels are 0..C-1 here whatever the data set calls them.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syncgan.arrays import Floats
from syncgan.errors import DataError, UnknownNameError

__all__ = [
    "CALIBRATION_BINS",
    "SCORES",
    "CalibrationCurve",
    "Floats",
    "Ints",
    "Score",
    "calibration_of",
    "check_predictions",
    "is_built_in",
    "require_class",
    "score_named",
    "scores_of",
]

Ints = NDArray[np.int64]

CALIBRATION_BINS = 10
_ROW_SUM_TOLERANCE = 1e-3  # half-precision softmax
_RECALL = "recall:"
_SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Score:
    """What a score is, apart from its value.

    Attributes
    ----------
    name : as in a result file; ``recall:2`` is the recall of class 2.
    title : as in a heading.
    compute : (labels (n,), probabilities (n, C)) -> value, NaN where the score is not defined on these items.
    higher_is_better : False for losses.
    percent : whether tables show it times 100, and differences in points.
    span : its smallest and largest possible value; no interval reaches beyond.
    by_class : whether every class counts alike in it, or one alone does, however few items and groups it has.
    """

    name: str
    title: str
    compute: Callable[[Ints, Floats], float]
    higher_is_better: bool = True
    percent: bool = True
    span: tuple[float, float] = (-math.inf, math.inf)
    by_class: bool = False


@dataclass(frozen=True)
class CalibrationCurve:
    """How often the most probable class is the true one, by the probability that the classifier gives it.

    Attributes
    ----------
    confidence, accuracy : mean probability of the predicted class, and share of correct predictions, in each bin that
        holds items.
    items : number of items in these bins.
    error : expected calibration error, the mean of ``|accuracy - confidence|`` weighted by `items`.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    items: tuple[int, ...]
    error: float


def score_named(name: str, classes: int | None = None) -> Score:
    """Return a score of `SCORES`, or the recall of one class for ``recall:2``.

    Parameters
    ----------
    name : of the score.
    classes : how many there are, if that is known.

    Raises
    ------
    UnknownNameError
        There is none of this name, or no such class.
    """
    if name in SCORES:
        return SCORES[name]
    number = name.removeprefix(_RECALL)
    if name.startswith(_RECALL) and number.isdecimal():
        index = int(number)
        if classes is not None and index >= classes:
            raise UnknownNameError(f"expected the number of a class below {classes}, got {name!r}")
        return _recall_score(index)
    known = ", ".join(SCORES)
    raise UnknownNameError(f"expected a score ({known}, or recall:NUMBER), got {name!r}; choose one of them")


@functools.cache
def _recall_score(index: int) -> Score:
    def compute(labels: Ints, chances: Floats) -> float:
        return _recall(labels, chances, index)

    return Score(f"{_RECALL}{index}", f"recall of class {index}", compute, span=_SHARE, by_class=True)


def is_built_in(score: Score) -> bool:
    """Tell whether a score is one of `SCORES` or a recall, and not another one of that name."""
    try:
        return score_named(score.name) is score
    except UnknownNameError:
        return False


def scores_of(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Return every score of one classifier on one test set: those of `SCORES`, and the recall of every class.

    Parameters
    ----------
    labels : (n,) integers 0..C-1.
    probabilities : (n, C), rows summing to 1.

    Examples
    --------
    >>> found = scores_of([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    >>> found["accuracy"], found["recall:0"], found["auc"]
    (0.75, 0.5, 1.0)
    """
    truth, chances = check_predictions(labels, probabilities)
    names = [*SCORES, *(f"{_RECALL}{index}" for index in range(chances.shape[1]))]
    return {name: score_named(name).compute(truth, chances) for name in names}


def check_predictions(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Ints, Floats]:
    """Return labels as int64 and probabilities as float64.

    Raises
    ------
    DataError
        Their shapes do not fit, a label is not in 0..C-1, or a row is no distribution.
    """
    truth, chances = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or chances.ndim != 2 or len(truth) != len(chances) or not len(truth) or chances.shape[1] < 2:
        raise DataError(
            f"expected labels (n,) and probabilities (n, C) with n of at least 1 and C of at least 2, got "
            f"{truth.shape} and {chances.shape}; give one row of class probabilities for each test item"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= chances.shape[1]:
        raise DataError(
            f"expected integer labels from 0 to {chances.shape[1] - 1}, got {truth.dtype} from {truth.min()} to "
            f"{truth.max()}; number the classes in the order of the columns"
        )
    sums = chances.sum(axis=1)
    if not (np.abs(sums - 1) <= _ROW_SUM_TOLERANCE).all() or chances.min() < 0:
        row = int(np.argmax(~(np.abs(sums - 1) <= _ROW_SUM_TOLERANCE) | (chances < 0).any(axis=1)))
        raise DataError(
            f"expected probabilities that sum to 1 in every row, got {chances[row].tolist()} in row {row}; apply "
            "softmax to the logits"
        )
    return truth.astype(np.int64), chances


def calibration_of(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationCurve:
    """Compare the probability of the predicted class with how often it is right, in 10 bins of equal width.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    from sklearn.calibration import calibration_curve

    truth, chances = check_predictions(labels, probabilities)
    confidence = chances.max(axis=1)
    correct = (chances.argmax(axis=1) == truth).astype(np.int64)
    accuracy, mean = calibration_curve(correct, confidence, pos_label=1, n_bins=CALIBRATION_BINS, strategy="uniform")
    counts = np.bincount(confidence_bins(confidence), minlength=CALIBRATION_BINS)
    items = counts[counts > 0]
    error = float(np.average(np.abs(accuracy - mean), weights=items))
    return CalibrationCurve(tuple(mean.tolist()), tuple(accuracy.tolist()), tuple(items.tolist()), error)


def confidence_bins(confidence: Floats) -> Ints:
    """Return the bin of each item by scikit-learn's rule, which `calibration_curve` does not tell."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    return np.searchsorted(edges[1:-1], confidence).astype(np.int64)


def _accuracy(labels: Ints, chances: Floats) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, chances.argmax(axis=1)))


def _balanced_accuracy(labels: Ints, chances: Floats) -> float:
    from sklearn.metrics import balanced_accuracy_score

    with warnings.catch_warnings():
        # A class that was predicted and is not in this test set has no recall: the others count.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        return float(balanced_accuracy_score(labels, chances.argmax(axis=1)))


def _macro_f1(labels: Ints, chances: Floats) -> float:
    from sklearn.metrics import f1_score

    # A class that does not occur is left out of the mean, predicted or not.
    return float(f1_score(labels, chances.argmax(axis=1), labels=np.unique(labels).tolist(), average="macro"))


def _auc(labels: Ints, chances: Floats) -> float:
    from sklearn.metrics import roc_auc_score

    values = [
        roc_auc_score(labels == index, chances[:, index])
        for index in auc_classes(chances.shape[1])
        if 0 < (labels == index).sum() < len(labels)
    ]
    return float(np.mean(values)) if values else math.nan


def auc_classes(classes: int) -> range:
    """Return the classes whose areas are averaged: of two classes the second one, as both have the same area."""
    return range(1, 2) if classes == 2 else range(classes)


def require_class(index: int, classes: int) -> None:
    """Refuse the recall of a class that there is not."""
    if index >= classes:
        raise DataError(f"expected a class from 0 to {classes - 1}, got recall:{index}")


def _recall(labels: Ints, chances: Floats, index: int) -> float:
    from sklearn.metrics import recall_score

    require_class(index, chances.shape[1])
    predicted = chances.argmax(axis=1)
    found: Any = recall_score(labels, predicted, labels=[index], average=None, zero_division=np.nan)
    return float(found[0])


def _brier(labels: Ints, chances: Floats) -> float:
    # scikit-learn scores more than two classes only since 1.7.
    return float(np.square(chances - np.eye(chances.shape[1])[labels]).sum(axis=1).mean())


def _log_loss(labels: Ints, chances: Floats) -> float:
    from sklearn.metrics import log_loss

    # Single precision is too coarse a sum for scikit-learn. Elsewhere rows stay as they are: dividing breaks ties.
    rows = chances / chances.sum(axis=1, keepdims=True)
    return float(log_loss(labels, rows, labels=list(range(chances.shape[1]))))


def _calibration_error(labels: Ints, chances: Floats) -> float:
    return calibration_of(labels, chances).error


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("accuracy", "accuracy", _accuracy, span=_SHARE),
        Score("balanced_accuracy", "balanced accuracy", _balanced_accuracy, span=_SHARE, by_class=True),
        Score("macro_f1", "macro-averaged F1", _macro_f1, span=_SHARE, by_class=True),
        Score("auc", "area under the ROC curve", _auc, span=_SHARE, by_class=True),
        Score(
            "calibration_error", "expected calibration error", _calibration_error, higher_is_better=False, span=_SHARE
        ),
        Score("brier", "Brier score", _brier, higher_is_better=False, percent=False, span=(0.0, 2.0)),
        Score("log_loss", "log loss", _log_loss, higher_is_better=False, percent=False, span=(0.0, math.inf)),
    )
}
