"""What a benchmark compares: arms of every split, with the right groups, and the oracle only where it is fair."""

from __future__ import annotations

import numpy as np
import pytest

from syncgan.evaluation.benchmark.judging import analysis_of, beyond_traditional
from syncgan.evaluation.benchmark.notes import notes_of


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


def test_the_baseline_is_an_arm_that_every_classifier_was_trained_on():
    splits = [split(number, BETTER, arms=("Oracle", "Prop")) for number in range(3)]
    for one in splits:
        own = [{**entry, "classifier": "cnn"} for entry in one["results"]]
        one["results"] = [*(entry for entry in one["results"] if entry["arm"] == "Prop"), *own]
    found = analysis_of(splits, arms=["Oracle", "Prop"], classifiers=["probe", "cnn"])
    assert found.baseline == "Prop"
    assert {cell.classifier for cell in found.cells} == {"probe", "cnn"}


def test_the_t_test_goes_by_how_splits_were_made_where_that_is_known():
    splits = [split(number, BETTER, held_back=0, equal=False) for number in range(5)]
    found = analysis_of(splits, arms=["Orig", "Prop"], classifiers=["probe"], three_one_one=False)
    assert found.comparisons[0].t_test is None


def test_copies_count_once_where_their_group_is_known():
    def width(**more):
        splits = [{**split(number, BETTER, groups=False), **more} for number in range(4)]
        return analysis_of(splits, arms=["Orig", "Prop"], classifiers=["probe"]).comparisons[0].difference

    alone, copies = width(), width(test_groups=[f"image {index // 10}" for index in range(60)])
    assert copies.estimate == alone.estimate
    assert copies.high - copies.low > alone.high - alone.low


TRADITIONAL = {"Orig": 0.6, "Orig+Trad": 0.9, "Orig+Trad+Prop": 0.9, "Oracle+Trad": 1.0}


def test_what_traditional_augmentation_gains_is_not_put_down_to_synthetic_images():
    arms = tuple(TRADITIONAL)
    splits = [split(number, TRADITIONAL, arms=arms) for number in range(8)]
    asked = {"arms": arms, "classifiers": ["probe"]}
    to_orig = {one.arm: one.verdict for one in analysis_of(splits, **asked).comparisons}
    assert to_orig["Orig+Trad+Prop"] == "helps"
    beyond = beyond_traditional(splits, **asked)
    assert beyond.baseline == "Orig+Trad"
    found = {one.arm: one for one in beyond.comparisons}
    assert (found["Orig+Trad+Prop"].verdict, found["Oracle+Trad"].verdict) == ("no evidence", "helps")
    assert found["Orig+Trad+Prop"].oracle_share is not None  # in units of Oracle+Trad


@pytest.mark.parametrize("arms", [("Orig", "Orig+Trad"), ("Orig", "Orig+Trad+Prop"), ("Orig+Trad", "Orig+Trad+Prop")])
def test_there_is_no_second_comparison_where_it_would_say_nothing_new(arms):
    splits = [split(number, TRADITIONAL, arms=arms) for number in range(3)]
    assert beyond_traditional(splits, arms=arms, classifiers=["probe"]) is None


def noted(number=1, **changes):
    own = split(number, BETTER)
    for entry in own["results"]:
        entry["initial_weights"] = "texture"
    return {
        **own,
        "split": number,
        "counts": {"train": {"a": 12, "b": 12}},
        "added": {"held_back": {"a": 24, "b": 24}, "synthetic": {"a": 24, "b": 24}, "equal": True},
        "near_duplicates": [],
        "skipped": [],
        **changes,
    }


IDENTITY = {"per_class": 12, "settings": {"ratio": 2.0}}


def test_notes_say_how_splits_were_made_and_nothing_more_where_nothing_is_wrong():
    assert notes_of(IDENTITY, [noted(1), noted(2)]) == (
        "Splits by a number of training images: 12 training images a class.",
        "Synthetic : real is 2.",
        "Initial weights or features of classifiers: probe: texture.",
    )


def test_notes_say_where_synthetic_images_change_from_pass_to_pass():
    varied = {"per_class": 12, "settings": {"ratio": 2.0, "lots": "auto"}}
    assert "Synthetic : real is 2; each pass shows other synthetic images." in notes_of(varied, [noted(1)])


def test_notes_say_what_weakens_the_figures():
    fewer = {"held_back": {"a": 5, "b": 6}, "synthetic": {"a": 12, "b": 12}, "equal": False}
    copies = [
        {"items": [{"name": name, "side": side} for name, side in (("x", "train"), ("y", "train"), ("z", "test"))]}
    ]
    left_out = [{"arm": "Pretrain", "classifier": "probe", "reason": "no first stage"}]
    other = noted(2, added=fewer, near_duplicates=copies * 2, skipped=left_out, ratio={"chosen": 0.5})
    other["results"][0]["initial_weights"] = "network"
    text = "\n".join(notes_of({**IDENTITY, "per_class": None}, [noted(1), other, noted(3, skipped=left_out)]))
    assert "Splits 3:1:1: 12 training images a class." in text
    assert "chosen in each split: 0.5 (split 2)." in text
    assert text.count("Not run: Pretrain with probe: no first stage.") == 1
    assert "Oracle adds 5 to 24 real images a class, arms of synthetic images add 12 to 24: no share" in text
    assert "probe: texture and network. Mixed" in text
    assert "2 sets over all splits, the first in split 2: x (train) and z (test)." in text
