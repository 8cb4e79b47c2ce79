"""What a benchmark compares: arms of every split, with the right groups, and the oracle only where it is fair."""

from __future__ import annotations

import numpy as np
import pytest

from syncgan.evaluation.benchmark.judging import analysis_of


def split(number, right, *, arms=("Orig", "Oracle", "Prop"), groups=True, equal=True, held_back=8):
    """Return a split of 60 test items; `right` is the share that each arm gets right, group by group alike."""
    generator = np.random.default_rng(number)
    labels = np.arange(60) % 2
    results = []
    for arm in arms:
        wrong = generator.random(60) >= right[arm]
        chances = np.where((labels ^ wrong)[:, None] == [0, 1], 0.9, 0.1)
        results.append({"arm": arm, "classifier": "probe", "probabilities": chances.tolist()})
    return {
        "classes": ["a", "b"],
        "labels": labels.tolist(),
        "groups": [f"patient {index // 6}" for index in range(60)] if groups else None,
        "items": {
            "train": ["x"] * 24,
            "test": [f"{number}/{index}" for index in range(60)],
            "held_back": ["y"] * held_back,
        },
        "added": {"equal": equal},
        "results": results,
    }


BETTER = {"Orig": 0.6, "Oracle": 0.9, "Prop": 0.75}


def judged(*splits):
    found = analysis_of(splits, arms=["Orig", "Oracle", "Prop"], classifiers=["probe"])
    return found, {one.arm: one for one in found.comparisons}


@pytest.mark.parametrize("groups", [True, False])
def test_arms_that_get_more_right_help_and_the_oracle_is_the_unit(groups):
    _, by_arm = judged(*[split(number, BETTER, groups=groups) for number in range(8)])
    assert by_arm["Oracle"].verdict == by_arm["Prop"].verdict == "helps"
    assert by_arm["Prop"].oracle_share.share == pytest.approx(0.5, abs=0.2)
    assert by_arm["Prop"].t_test is None


def test_an_oracle_with_fewer_images_is_no_unit():
    _, by_arm = judged(*[split(number, BETTER, equal=False) for number in range(8)])
    assert by_arm["Prop"].oracle_share is None


def test_splits_of_3_1_1_have_the_corrected_t_test():
    splits = [split(number, BETTER, held_back=0, equal=False) for number in range(5)]
    assert judged(*splits)[1]["Prop"].t_test is not None


def test_an_arm_that_one_split_left_out_is_left_out():
    found, _ = judged(split(0, BETTER), split(1, BETTER, arms=("Orig", "Prop")))
    assert found.arms == ("Orig", "Prop")


def test_without_orig_the_first_arm_is_the_baseline():
    splits = [split(number, BETTER, arms=("Prop", "Oracle")) for number in range(3)]
    found = analysis_of(splits, arms=["Prop", "Oracle"], classifiers=["probe"])
    assert found.baseline == "Prop"
