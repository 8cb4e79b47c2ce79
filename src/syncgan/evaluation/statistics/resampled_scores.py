"""Scores of one test set under many resamplings of its groups, without a loop over the resamplings.

Every score but the area under the ROC curve is a function of sums over items (a confusion matrix, a sum of losses, sums
in bins). So the sums of each group are formed once, and one matrix product gives those of all resamplings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from syncgan.evaluation.statistics.scores import (
    CALIBRATION_BINS,
    Floats,
    Ints,
    Score,
    auc_classes,
    confidence_bins,
    is_built_in,
    require_class,
)

__all__ = ["resampled_scores"]

_LARGEST_BLOCK = 2_000_000  # numbers in one temporary array


def resampled_scores(score: Score, labels: Ints, probabilities: Floats, groups: Ints, counts: Ints) -> Floats:
    """Return the score under each resampling, NaN where it is not defined.

    Parameters
    ----------
    score : one of `SCORES` or a recall by the fast path; any other by computing it on the repeated items in turn.
    labels, probabilities : of the n items.
    groups : (n,) the group of each item, as a column of `counts`.
    counts : (R, G) how often each resampling has drawn each group.
    """
    if not is_built_in(score):
        return _one_by_one(score, labels, probabilities, groups, counts)
    if score.name == "auc":
        return _in_blocks(lambda part: _auc(labels, probabilities, part), counts, groups)
    if score.name.startswith("recall:"):
        index = int(score.name.removeprefix("recall:"))
        require_class(index, probabilities.shape[1])
        return _recalls(_confusion(labels, probabilities, groups, counts))[:, index]
    if score.name in _FROM_CONFUSION:
        return _FROM_CONFUSION[score.name](_confusion(labels, probabilities, groups, counts))
    if score.name in _ITEM_LOSSES:
        return _mean_loss(_ITEM_LOSSES[score.name](labels, probabilities), groups, counts)
    if score.name == "calibration_error":
        return _calibration_error(labels, probabilities, groups, counts)
    return _one_by_one(score, labels, probabilities, groups, counts)


def _sums(values: Floats, groups: Ints, counts: Ints) -> Floats:
    """Return (R, k) sums over the resampled items of (n, k) values."""
    of_groups = np.zeros((counts.shape[1], values.shape[1]))
    np.add.at(of_groups, groups, values)
    return np.asarray(counts @ of_groups)


def _ratio(above: Floats, below: Floats) -> Floats:
    ratios: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return ratios


def _mean_of_defined(values: Floats) -> Floats:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _confusion(labels: Ints, probabilities: Floats, groups: Ints, counts: Ints) -> Floats:
    """Return (R, C, C): true class, predicted class."""
    classes = probabilities.shape[1]
    cells = np.zeros((counts.shape[1], classes * classes))
    np.add.at(cells, (groups, labels * classes + probabilities.argmax(axis=1)), 1)
    return np.asarray(counts @ cells, dtype=np.float64).reshape(-1, classes, classes)


def _recalls(confusion: Floats) -> Floats:
    return _ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2))


def _accuracy(confusion: Floats) -> Floats:
    return _ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def _balanced_accuracy(confusion: Floats) -> Floats:
    return _mean_of_defined(_recalls(confusion))


def _macro_f1(confusion: Floats) -> Floats:
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    scores = _ratio(2 * hits, confusion.sum(axis=1) + confusion.sum(axis=2))
    return _mean_of_defined(np.where(confusion.sum(axis=2) > 0, scores, np.nan))


_FROM_CONFUSION: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
}


def _squared_errors(labels: Ints, probabilities: Floats) -> Floats:
    return np.asarray(np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1))


def _surprises(labels: Ints, probabilities: Floats) -> Floats:
    smallest = np.finfo(np.float64).eps  # scikit-learn's bound, so that a certain and wrong prediction stays finite
    chances = probabilities[np.arange(len(labels)), labels] / probabilities.sum(axis=1)
    return np.asarray(-np.log(np.clip(chances, smallest, 1 - smallest)))


_ITEM_LOSSES: dict[str, Callable[[Ints, Floats], Floats]] = {"brier": _squared_errors, "log_loss": _surprises}


def _mean_loss(losses: Floats, groups: Ints, counts: Ints) -> Floats:
    sums = _sums(np.column_stack([losses, np.ones_like(losses)]), groups, counts)
    return _ratio(sums[:, 0], sums[:, 1])


def _calibration_error(labels: Ints, probabilities: Floats, groups: Ints, counts: Ints) -> Floats:
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    in_bin = np.eye(CALIBRATION_BINS)[confidence_bins(confidence)]
    gaps = _sums(in_bin * (correct - confidence)[:, None], groups, counts)
    items = _sums(np.ones((len(labels), 1)), groups, counts)[:, 0]
    return _ratio(np.abs(gaps).sum(axis=1), items)


def _auc(labels: Ints, probabilities: Floats, weights: Floats) -> Floats:
    classes = auc_classes(probabilities.shape[1])
    areas = [_area(labels == index, probabilities[:, index], weights) for index in classes]
    return _mean_of_defined(np.column_stack(areas))


def _area(is_class: np.ndarray[tuple[int], np.dtype[np.bool_]], chances: Floats, weights: Floats) -> Floats:
    """Return the share of pairs of (R, n) weighted items that are in the right order, half for ties."""
    order = np.argsort(chances, kind="stable")
    starts = np.flatnonzero(np.diff(chances[order], prepend=-np.inf) > 0)
    inside, outside = (
        np.add.reduceat(weights[:, order] * part[order], starts, axis=1) for part in (is_class, ~is_class)
    )
    below = np.cumsum(outside, axis=1) - outside / 2
    return _ratio((inside * below).sum(axis=1), inside.sum(axis=1) * outside.sum(axis=1))


def _in_blocks(compute: Callable[[Floats], Floats], counts: Ints, groups: Ints) -> Floats:
    """Compute from (R, n) weights of items, some resamplings at a time, as all of them may not fit in memory."""
    rows = max(1, _LARGEST_BLOCK // len(groups))
    starts = range(0, len(counts), rows)
    return np.concatenate([compute(counts[start : start + rows, groups].astype(np.float64)) for start in starts])


def _one_by_one(score: Score, labels: Ints, probabilities: Floats, groups: Ints, counts: Ints) -> Floats:
    values = np.full(len(counts), np.nan)
    for row, drawn in enumerate(counts):
        items = np.repeat(np.arange(len(labels)), drawn[groups])
        if len(items):
            values[row] = score.compute(labels[items], probabilities[items])
    return values
