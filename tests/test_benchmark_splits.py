"""Splits of a benchmark: sizes, strata, groups, held-back images, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from syncgan.errors import DataError
from syncgan.evaluation.benchmark.splits import PARTS, Split, joined_groups, make_splits, require_separate

LABELS = [0] * 50 + [1] * 30 + [2] * 70
# Slides of 1 to 7 images, of one class or two.
GROUPS = [f"slide {index // 3 if index < 60 else index // 7 + 100}" for index in range(150)]


def sizes(split: Split, labels: list[int]) -> dict[str, list[int]]:
    return {
        name: np.bincount(np.array(labels)[part], minlength=3).tolist() if len(part) else [0, 0, 0]
        for name, part in split.parts().items()
    }


def test_the_papers_split_is_three_to_one_to_one_within_each_class() -> None:
    (split,) = make_splits(LABELS, repeats=1, seed=0)
    assert sizes(split, LABELS) == {
        "train": [30, 18, 42],
        "validation": [10, 6, 14],
        "held_back": [0, 0, 0],
        "test": [10, 6, 14],
    }


def test_few_images_a_class_leave_a_third_to_choose_by_and_the_rest_to_test() -> None:
    (split,) = make_splits(LABELS, repeats=1, per_class=6, seed=0)
    found = sizes(split, LABELS)
    assert found["train"] == [6, 6, 6]
    assert found["validation"] == [4, 4, 4]
    assert found["held_back"][0] == found["held_back"][2] == 12
    assert np.sum(list(found.values()), axis=0).tolist() == [50, 30, 70]


def test_what_is_held_back_leaves_at_least_a_third_to_test() -> None:
    labels = [0] * 24 + [1] * 24
    (split,) = make_splits(labels, repeats=1, per_class=6, seed=0)
    held_back, test = len(split.held_back), len(split.test)
    assert 0 < held_back < 24  # fewer than the 12 a class that were asked for
    assert test >= (48 - 12 - 8) / 3


@pytest.mark.parametrize("per_class", [None, 4])
def test_no_group_is_on_two_sides(per_class: int | None) -> None:
    for split in make_splits(LABELS, GROUPS, repeats=5, per_class=per_class, seed=3):
        sides = [{GROUPS[index] for index in part.tolist()} for part in split.parts().values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert all(set(np.array(LABELS)[split.parts()[name]]) == {0, 1, 2} for name in ("train", "validation", "test"))


@pytest.mark.parametrize("per_class", [None, 6])
def test_a_split_depends_on_seed_and_number_alone(per_class: int | None) -> None:
    def made(repeats: int, seed: int) -> list[list[int]]:
        splits = make_splits(LABELS, repeats=repeats, per_class=per_class, seed=seed)
        return [np.concatenate([split.parts()[name] for name in PARTS]).tolist() for split in splits]

    assert made(2, seed=7) == made(4, seed=7)[:2]
    assert made(2, seed=7) != made(2, seed=8)
    first, second = made(2, seed=7)
    assert first != second


def test_every_split_by_groups_is_another_one_and_about_three_to_one_to_one() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), generator.integers(3, 25, 24))  # patients of one class each, of unequal size
    labels = groups % 2
    splits = make_splits(labels.tolist(), groups.tolist(), repeats=40, seed=0)
    tested = [frozenset(groups[split.test].tolist()) for split in splits]
    assert len(set(tested)) >= 32
    for group in range(24):
        in_test = sum(group in members for members in tested)
        assert 0 < in_test < 30, group
    shares = np.array([[len(part) / len(labels) for part in (one.train, one.validation, one.test)] for one in splits])
    assert np.allclose(shares.mean(axis=0), [0.6, 0.2, 0.2], atol=0.05)
    assert (shares[:, 2] > 0.05).all()


def test_a_split_with_a_group_on_two_sides_is_refused() -> None:
    none = np.empty(0, np.int64)
    crossing = Split(1, np.array([0]), np.array([2]), none, np.array([1]))
    with pytest.raises(DataError, match=r"group a \(item 1\) is on two sides, train and test"):
        require_separate(crossing, ["a", "a", "b"])


@pytest.mark.parametrize(
    ("labels", "groups", "per_class", "message"),
    [
        ([0] * 4 + [1] * 9, None, None, "at least 5 items of every class for a split 3:1:1, got 4 of class 0"),
        ([0] * 9 + [1] * 9, None, 8, "at least 4 items of class 0 on the side 'validation', got 1"),
        ([0] * 20 + [1] * 20, ["a"] * 20 + ["b"] * 20, 4, "on the side 'validation', got 0"),
        ([0, 1], ["a"], 2, "got 1 groups and 2 items"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_reason(
    labels: list[int], groups: list[str] | None, per_class: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_splits(labels, groups, repeats=1, per_class=per_class, seed=0)


def test_copies_join_groups() -> None:
    assert joined_groups(["a", "b", "c", "a"], [], 4) == [0, 1, 2, 0]
    with pytest.warns(UserWarning, match="2 items are copies of another"):
        joined = joined_groups(["a", "b", "c", "a"], [(1, 3)], 4)
    assert joined[0] == joined[1] == joined[3] != joined[2]
