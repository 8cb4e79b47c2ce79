"""How often two equal arms come out as different: the level of three bootstraps, and the power of ours.

    python benchmarks/interval_level.py --runs 400

Arms are right about an item with a probability that depends on the split (training), the group and the item; both
arms by the same process. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import special, stats

from syncgan.evaluation.statistics import Resampling, interval_of, score_named

ACCURACY, BALANCED = score_named("accuracy"), score_named("balanced_accuracy")
CASES = {
    "items only": {"items": 100},
    "items and splits": {"items": 100, "split_sd": 0.2},
    "splits above all": {"items": 200, "split_sd": 0.4},
    "new patients in each split": {"items": 100, "split_sd": 0.1, "groups": 10, "group_sd": 0.5},
    "the same patients in each split": {
        "items": 100,
        "split_sd": 0.1,
        "groups": 20,
        "group_sd": 0.5,
        "is_shared": True,
    },
    "the same, one arm better in some": {
        "items": 100,
        "split_sd": 0.1,
        "groups": 20,
        "group_sd": 0.5,
        "arm_sd": 0.3,
        "is_shared": True,
    },
    "the same, 5 of 60 patients of one class": {
        "items": 600,
        "groups": 60,
        "arm_sd": 0.7,
        "is_shared": True,
        "rare": 5,
    },
}


def simulated(
    seed,
    splits,
    *,
    items,
    split_sd=0.0,
    groups=0,
    group_sd=0.0,
    arm_sd=0.0,
    is_shared=False,
    rare=0,
    gain=0.0,
    base=0.8,
):
    """Return the resampling, and the scores of two arms by `interval_of`'s input.

    With `rare`, all items of so many groups are of one class, those of the others of another, and classes count alike.
    """
    generator = np.random.default_rng(seed)
    count = groups or items
    own = arm_sd * generator.normal(size=(2, count))
    effects = group_sd * generator.normal(size=(1 if is_shared else splits, count))
    labels, tested, predicted = [], [], {"a": [], "b": []}
    for split in range(splits):
        group = generator.integers(0, count, items)
        label = (group < rare).astype(int) if rare else generator.integers(0, 2, items)
        shared = base + effects[split % len(effects)][group] + 0.5 * generator.normal(size=items)
        for arm, extra in (("a", 0.0), ("b", gain)):
            chance = special.ndtr(shared + extra + split_sd * generator.normal() + own["ab".index(arm)][group])
            guess = np.where(generator.random(items) < chance, label, 1 - label)
            predicted[arm].append(0.1 + 0.8 * np.eye(2)[guess])
        labels.append(label)
        tested.append(group if is_shared else group + count * split)
    resampling = Resampling(labels, tested if groups else None, resamples=200, seed=seed)
    return resampling, resampling.of(BALANCED if rare else ACCURACY, predicted)


def excludes_zero(means):
    low, high = np.quantile(means, [0.025, 0.975])
    return not low <= 0 <= high


def verdicts(seed, splits, case):
    """Return whether zero is excluded by percentiles over splits, by those over splits and groups, and by ours."""
    resampling, found = simulated(seed, splits, **case)
    difference = found["b"] - found["a"]
    counts = resampling.split_counts
    ours = interval_of(difference, resampling)
    return (
        excludes_zero((difference.values * counts).mean(axis=1)),
        excludes_zero((difference.drawn * counts).mean(axis=1)),
        not ours.low <= 0 <= ours.high,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print(
        "| splits | what varies | percentiles, splits | percentiles, splits and groups | ours |\n|---|---|---|---|---|"
    )
    for splits in (3, 5, 10):
        for name, case in CASES.items():
            rates = np.mean([verdicts(seed, splits, case) for seed in range(runs)], axis=0)
            print(f"| {splits} | {name} | " + " | ".join(f"{rate:.1%}" for rate in rates) + " |", flush=True)
    print("\n| splits | smallest difference said to be detectable | how often it was shown |\n|---|---|---|")
    for splits in (5, 10):
        print(power(splits, runs))


def power(splits, runs):
    """Simulate arms that differ by what equal arms of the same kind were said to show."""
    case = CASES["items and splits"]
    found = []
    for seed in range(runs):
        resampling, scores = simulated(seed, splits, **case)
        found.append(interval_of(scores["b"] - scores["a"], resampling))
    least = float(np.mean([interval.detectable for interval in found]))
    gain = gain_for(least, case)
    shown = []
    for seed in range(runs):
        resampling, scores = simulated(seed + runs, splits, gain=gain, **case)
        shown.append(interval_of(scores["b"] - scores["a"], resampling).low > 0)
    return f"| {splits} | {100 * least:.1f} points | {np.mean(shown):.0%} |"


def gain_for(points, case):
    """Return the shift of the arm's skill that raises its accuracy by so much."""
    spread = np.sqrt(1 + 0.5**2 + case["split_sd"] ** 2)
    return spread * stats.norm.ppf(stats.norm.cdf(0.8 / spread) + points) - 0.8


if __name__ == "__main__":
    main()
