"""Who trains, who chooses, who is held back and who judges: the splits of a benchmark.

The paper's split is 3:1:1 (Sec. 4). With few training images a class the rest is worth more as a test set, so
``per_class`` turns this round: n to train, a third as many to choose the model by, as many as the synthetic arm adds
held back for the arm of more real images, and all others to test. A group (patient, slide) lies on one side only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from syncgan import rng
from syncgan.errors import DataError, warn_user
from syncgan.evaluation.same_images import joined

__all__ = ["PARTS", "Split", "joined_groups", "make_splits", "require_separate", "validation_size"]

Indices = NDArray[np.int64]

PARTS: Final = ("train", "validation", "held_back", "test")
"""The sides of a split."""

_FOLDS = 5  # 3:1:1
_MIN_VALIDATION = 4
_DRAWS = 20  # of folds of groups, until every class is on every side
_SEEDS = 2**32  # scikit-learn's
_HELD_BACK_PARTS = (2, 3, 5, 10, 20)  # at most a half, a third, .. of a class's free groups


@dataclass(frozen=True)
class Split:
    """Item indices of the sides of one split, each ascending; items in none of them are left out.

    Attributes
    ----------
    number : which repeat this is, from 1.
    train : what augmenter and classifiers learn from.
    validation : what their best state is chosen by.
    held_back : real images for the arm that adds real ones; none in a 3:1:1 split.
    test : what classifiers are judged on.
    """

    number: int
    train: Indices
    validation: Indices
    held_back: Indices
    test: Indices

    def parts(self) -> dict[str, Indices]:
        """Return name -> indices of every side."""
        return {name: getattr(self, name) for name in PARTS}


def make_splits(
    labels: Sequence[int] | Indices,
    groups: Sequence[Any] | None = None,
    *,
    repeats: int,
    per_class: int | None = None,
    seed: int,
    held_back: float = 2.0,
) -> list[Split]:
    """Split items into training, validation, held-back and test items, several times anew.

    Parameters
    ----------
    labels : class of every item.
    groups : patient or slide of every item; none lies on two sides.
    repeats : number of splits. A split depends on its number, not on how many there are.
    per_class : training items of each class; None splits 3:1:1.
    seed : names the splits.
    held_back : items held back for each training item, with `per_class`; fewer where too little would be left to test.

    Raises
    ------
    DataError
        Too few items or groups for a class to be on every side.

    Examples
    --------
    >>> split, = make_splits([0] * 40 + [1] * 40, repeats=1, per_class=6, seed=0)
    >>> {name: len(part) for name, part in split.parts().items()}
    {'train': 12, 'validation': 8, 'held_back': 24, 'test': 36}
    """
    labels = np.asarray(labels, dtype=np.int64)
    codes = _codes(groups, len(labels))
    if len(codes) != len(labels):
        raise DataError(f"expected one group an item, got {len(codes)} groups and {len(labels)} items")
    if repeats < 1 or (per_class is not None and per_class < 2):
        raise DataError(f"expected at least one repeat and two items a class, got {repeats} and {per_class}")
    splits = []
    for number in range(1, repeats + 1):
        own = rng.seed_for(seed, "benchmark split", number)
        if per_class is None:
            split = _three_one_one(number, labels, codes, own)
        else:
            split = _few(number, labels, codes, per_class, held_back, own)
        require_separate(split, codes)
        splits.append(split)
    return splits


def require_separate(split: Split, groups: Sequence[Any] | Indices) -> None:
    """Refuse a split that has an item or a group on two sides.

    Raises
    ------
    DataError
        Names the group and the sides.
    """
    side_of: dict[Any, str] = {}
    seen: set[int] = set()
    for name, part in split.parts().items():
        for index in part.tolist():
            group = groups[index]
            if side_of.setdefault(group, name) != name or index in seen:
                raise DataError(
                    f"split {split.number}: group {group!s} (item {index}) is on two sides, {side_of[group]} and "
                    f"{name}; no result of it could be believed"
                )
            seen.add(index)


def validation_size(per_class: int) -> int:
    """Return the validation items of a class: a third of the training items, at least 4."""
    return max(_MIN_VALIDATION, round(per_class / 3))


# --- 3:1:1 ---------------------------------------------------------------------------------------------------------


def _three_one_one(number: int, labels: Indices, codes: Indices, seed: int) -> Split:
    from sklearn.model_selection import StratifiedKFold

    grouped = len(np.unique(codes)) < len(codes)
    for label in np.unique(labels):
        found = len(np.unique(codes[labels == label]))
        if found < _FOLDS:
            raise DataError(
                f"expected at least {_FOLDS} {'groups' if grouped else 'items'} of every class for a split 3:1:1, got "
                f"{found} of class {label}; add images, or give fewer training images a class (per_class)"
            )
    generator, classes = rng.numpy_generator(seed, "folds"), len(np.unique(labels))
    for _ in range(_DRAWS if grouped else 1):
        if grouped:
            folds = _folds_of_groups(labels, codes, generator)
        else:
            splitter = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % _SEEDS)
            folds = [fold for _, fold in splitter.split(labels, labels)]
        # Large groups can leave a fold without a class: such a fold trains.
        pairs = list(permutations(range(_FOLDS), 2))
        for test, validation in [pairs[at] for at in generator.permutation(len(pairs))] if grouped else pairs:
            rest = np.concatenate([fold for at, fold in enumerate(folds) if at not in (test, validation)])
            sides = (rest, folds[validation], folds[test])
            if all(len(np.unique(labels[side])) == classes for side in sides):
                train, chosen, judged = (np.sort(side) for side in sides)
                return Split(number, train, chosen, np.empty(0, np.int64), judged)
    raise DataError(
        f"split {number}: no division of the groups 3:1:1 has every class on every side; "
        "use larger sets of groups, or per_class"
    )


def _folds_of_groups(labels: Indices, codes: Indices, generator: np.random.Generator) -> list[Indices]:
    """Deal groups out to folds in random order, each to the fold that leaves the shares of the classes most alike.

    scikit-learn's StratifiedGroupKFold deals them out by size, so that hardly two of its divisions differ.
    """
    counts = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (codes, labels), 1)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    held, fold_of = np.zeros((_FOLDS, shares.shape[1])), np.zeros(len(shares), np.int64)
    for group in generator.permutation(len(shares)):
        spread = [np.std(held + np.eye(_FOLDS)[fold][:, None] * shares[group], axis=0).mean() for fold in range(_FOLDS)]
        fold_of[group] = generator.choice(np.flatnonzero(np.isclose(spread, min(spread))))
        held[fold_of[group]] += shares[group]
    return [np.flatnonzero(fold_of[codes] == fold) for fold in range(_FOLDS)]


# --- n images a class ------------------------------------------------------------------------------------------------


def _few(number: int, labels: Indices, codes: Indices, per_class: int, held_back: float, seed: int) -> Split:
    """Fill the sides one after another with groups in random order; what belongs to none of them tests."""
    generator = rng.numpy_generator(seed, "groups")
    rank = generator.permutation(int(codes.max()) + 1)
    order = np.lexsort((generator.permutation(len(labels)), rank[codes]))
    owners: dict[int, str] = {}
    chosen: dict[str, list[int]] = {}
    for side, quota in (("train", per_class), ("validation", validation_size(per_class))):
        chosen[side] = _fill(side, dict.fromkeys(np.unique(labels).tolist(), quota), order, labels, codes, owners)
        _require_filled(number, side, quota, labels, chosen[side])
    chosen["held_back"] = _hold_back(math.floor(held_back * per_class + 0.5), order, labels, codes, owners)
    test = [index for index in order.tolist() if codes[index] not in owners]
    _require_filled(number, "test", 1, labels, test)
    sides = {name: np.array(sorted(items), dtype=np.int64) for name, items in {**chosen, "test": test}.items()}
    return Split(number, **sides)


def _hold_back(quota: int, order: Indices, labels: Indices, codes: Indices, owners: dict[int, str]) -> list[int]:
    """Return items to hold back, from so few groups that at least a third of the free items of a class can test."""
    free = [index for index in order.tolist() if codes[index] not in owners]
    classes, counts = np.unique(labels[free], return_counts=True)
    groups = [list(dict.fromkeys(int(codes[at]) for at in free if labels[at] == label)) for label in classes]
    for divisor in _HELD_BACK_PARTS:
        allowed = {group for of_class in groups for group in of_class[: len(of_class) // divisor]}
        some = np.array([index for index in free if codes[index] in allowed], dtype=np.int64)
        trial: dict[int, str] = {}
        taken = _fill("held_back", dict.fromkeys(classes.tolist(), quota), some, labels, codes, trial)
        left = labels[[index for index in free if codes[index] not in trial]]
        if all((left == label).sum() >= max(1, count / 3) for label, count in zip(classes, counts, strict=True)):
            owners.update(trial)
            return taken
    return []


def _fill(
    side: str, quotas: dict[int, int], order: Indices, labels: Indices, codes: Indices, owners: dict[int, str]
) -> list[int]:
    """Return items for one side, and note their groups as its own."""
    taken: list[int] = []
    for label, quota in quotas.items():
        if not quota:
            continue
        members = [
            index for index in order.tolist() if labels[index] == label and owners.get(codes[index], side) == side
        ]
        # Groups that are on this side already first: they can serve no other.
        members.sort(key=lambda index: codes[index] not in owners)
        taken += members[:quota]
        owners.update((int(codes[index]), side) for index in members[:quota])
    return taken


def _require_filled(number: int, side: str, least: int, labels: Indices, chosen: Sequence[int]) -> None:
    for label in np.unique(labels):
        found = int((labels[list(chosen)] == label).sum())
        if found < least:
            raise DataError(
                f"split {number}: expected at least {least} items of class {label} on the side {side!r}, got {found}; "
                "give fewer training images a class (per_class), or more images or groups"
            )


def joined_groups(groups: Sequence[Any] | None, same: Sequence[Sequence[int]], count: int) -> list[int]:
    """Return groups in which items that are one image are together, whatever groups they were in.

    Parameters
    ----------
    groups : group of every item, None for an item each.
    same : sets of items that are the same image.
    count : number of items.
    """
    if same:
        warn_user(
            f"{sum(len(members) for members in same)} items are copies of another; copies stay on one side of a split",
        )
    return [int(code) for code in joined(_codes(groups, count), same)]


def _codes(groups: Sequence[Any] | None, count: int) -> Indices:
    """Return groups as numbers, in the order in which they first occur; without groups each item has its own."""
    if groups is None:
        return np.arange(count)
    known: dict[str, int] = {}
    return np.array([known.setdefault(str(group), len(known)) for group in groups], dtype=np.int64)
