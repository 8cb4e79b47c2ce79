"""From finished splits to intervals and verdicts: which arms are compared, by what, and with which test groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syncgan.evaluation.statistics import Analysis, Outcomes, analyse

__all__ = ["analysis_of", "beyond_traditional"]

_BASELINE, _ORACLE = "Orig", "Oracle"
_TRADITIONAL, _TRADITIONAL_ORACLE = "Orig+Trad", "Oracle+Trad"
_BEYOND = (_TRADITIONAL, "Orig+Trad+Prop", "Pretrain+Trad", _TRADITIONAL_ORACLE)
Split = Mapping[str, Any]


def analysis_of(
    splits: Sequence[Split],
    *,
    arms: Sequence[str],
    classifiers: Sequence[str],
    score: str = "balanced_accuracy",
    baseline: str | None = None,
    three_one_one: bool | None = None,
) -> Analysis:
    """Compare the arms of a benchmark with one of them.

    Parameters
    ----------
    splits : contents of the split files.
    arms, classifiers : in the order of the tables. An arm that some split left out is left out.
    score : name of a score of `syncgan.evaluation.statistics`.
    baseline : the arm to compare with, without which a classifier is left out; None for ``Orig``, or the first arm that
        every classifier was trained on.
    three_one_one : whether the splits are 3 : 1 : 1; None guesses so where nothing is held back.

    Returns
    -------
    The analysis. Test items are independent where no groups are known, but an image that several splits test is one
    image, and exact copies are one. The oracle is the unit only where it added as many real images as the others
    synthetic ones. The corrected resampled t-test is there for 3 : 1 : 1 splits, which alone it is made for.
    """
    outcomes = {name: _outcomes(splits, name, arms) for name in classifiers}
    if baseline is None:
        wanted = (_BASELINE, *arms) if _BASELINE in arms else arms
        everywhere = (arm for arm in wanted if all(arm in one.probabilities for one in outcomes.values()))
        baseline = next(everywhere, wanted[0])
    outcomes = {name: one for name, one in outcomes.items() if baseline in one.probabilities}
    train, test = (int(np.median([len(split["items"][side]) for split in splits])) for side in ("train", "test"))
    held_back = [len(split["items"]["held_back"]) for split in splits]
    if three_one_one is None:
        three_one_one = not any(held_back)
    oracle = _TRADITIONAL_ORACLE if baseline == _TRADITIONAL else _ORACLE
    oracle_is_fair = all(split["added"]["equal"] for split in splits)
    return analyse(
        outcomes,
        score=score,
        baseline=baseline,
        oracle=oracle if oracle_is_fair else None,
        oracle_images_per_class=float(np.mean(held_back)) / len(splits[0]["classes"]) if oracle_is_fair else None,
        t_test_items=(train, test) if three_one_one else None,
    )


def beyond_traditional(
    splits: Sequence[Split], *, arms: Sequence[str], classifiers: Sequence[str], **how: Any
) -> Analysis | None:
    """Compare what adds images to traditional augmentation with traditional augmentation alone.

    Against ``Orig`` the gain of ``Orig+Trad+Prop`` may be that of ``Orig+Trad``.

    Parameters
    ----------
    splits, arms, classifiers : as for `analysis_of`.
    how : its other parameters.

    Returns
    -------
    The analysis, None where there are no such arms or they are compared with ``Orig+Trad`` anyway.
    """
    own = [arm for arm in _BEYOND if arm in arms]
    if (_BASELINE not in arms and arms[0] == _TRADITIONAL) or _TRADITIONAL not in own:
        return None
    found = analysis_of(splits, arms=own, classifiers=classifiers, baseline=_TRADITIONAL, **how)
    return found if found.comparisons else None


def _outcomes(splits: Sequence[Split], classifier: str, arms: Sequence[str]) -> Outcomes:
    found = [
        {entry["arm"]: entry["probabilities"] for entry in split["results"] if entry["classifier"] == classifier}
        for split in splits
    ]
    return Outcomes(
        labels=[split["labels"] for split in splits],
        probabilities={arm: [own[arm] for own in found] for arm in arms if all(arm in own for own in found)},
        groups=[split.get("test_groups") or split["groups"] or split["items"]["test"] for split in splits],
    )
