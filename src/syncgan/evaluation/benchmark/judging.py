"""From finished splits to intervals and verdicts: which arms are compared, by what, and with which test groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syncgan.evaluation.statistics import Analysis, Outcomes, analyse

__all__ = ["analysis_of"]

_BASELINE, _ORACLE = "Orig", "Oracle"
Split = Mapping[str, Any]


def analysis_of(
    splits: Sequence[Split], *, arms: Sequence[str], classifiers: Sequence[str], score: str = "balanced_accuracy"
) -> Analysis:
    """Compare the arms of a benchmark with ``Orig``, or with the first arm where ``Orig`` was not asked for.

    Parameters
    ----------
    splits : contents of the split files.
    arms, classifiers : in the order of the tables. An arm that some split left out is left out.
    score : name of a score of `syncgan.evaluation.statistics`.

    Returns
    -------
    The analysis. Test items are independent where no groups are known, but an image that several splits test is one
    image. The oracle is the unit only where it added as many real images as the others synthetic ones. The corrected
    resampled t-test is there for 3 : 1 : 1 splits, which alone it is made for.
    """
    baseline = _BASELINE if _BASELINE in arms else arms[0]
    outcomes = {name: _outcomes(splits, name, arms) for name in classifiers}
    outcomes = {name: one for name, one in outcomes.items() if baseline in one.probabilities}
    train, test = (int(np.median([len(split["items"][side]) for split in splits])) for side in ("train", "test"))
    held_back = [len(split["items"]["held_back"]) for split in splits]
    oracle_is_fair = all(split["added"]["equal"] for split in splits)
    return analyse(
        outcomes,
        score=score,
        baseline=baseline,
        oracle=_ORACLE if oracle_is_fair else None,
        oracle_images_per_class=float(np.mean(held_back)) / len(splits[0]["classes"]) if oracle_is_fair else None,
        t_test_items=None if any(held_back) else (train, test),
    )


def _outcomes(splits: Sequence[Split], classifier: str, arms: Sequence[str]) -> Outcomes:
    found = [
        {entry["arm"]: entry["probabilities"] for entry in split["results"] if entry["classifier"] == classifier}
        for split in splits
    ]
    return Outcomes(
        labels=[split["labels"] for split in splits],
        probabilities={arm: [own[arm] for own in found] for arm in arms if all(arm in own for own in found)},
        groups=[split["groups"] or split["items"]["test"] for split in splits],
    )
