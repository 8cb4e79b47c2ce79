"""All trainings of one split: arms x classifiers, each kept as soon as it is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from syncgan import rng
from syncgan.config import SynCGANConfig
from syncgan.data.views import unique_names
from syncgan.errors import DataError
from syncgan.evaluation.arms import ArmPlan, plan_of
from syncgan.evaluation.benchmark.data import BenchmarkData, Guard, ImageSet, across
from syncgan.evaluation.benchmark.ratio import RATIOS, RatioChoice, RatioSearch, choice_of, inner_splits
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.benchmark.sources import SplitSources
from syncgan.evaluation.benchmark.splits import Split
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.training import make_classifier, train_classifier
from syncgan.evaluation.classifiers import initial_weights
from syncgan.evaluation.same_images import SameImages
from syncgan.registry import ARMS, accepted

__all__ = ["Bench", "rounded", "run_split"]

_DIGITS, _MOST_DIGITS = 5, 300


@dataclass(frozen=True)
class Bench:
    """What all splits of a benchmark have in common.

    Attributes
    ----------
    data, same : the images, and which of them are one image.
    joined : group of every item, copies of one image in one group.
    config, settings : of the augmenter and of the classifiers' training.
    arms, classifiers : names.
    store : where results go.
    features : for probes.
    seed, device : of everything.
    callbacks : told of every fit.
    """

    data: BenchmarkData
    same: Sequence[SameImages]
    joined: tuple[int, ...]
    config: SynCGANConfig
    settings: BenchmarkConfig
    arms: tuple[str, ...]
    classifiers: tuple[str, ...]
    store: BenchmarkStore
    features: Any
    seed: int
    device: torch.device
    callbacks: tuple[Callable[..., None], ...] = ()


class TellTraining(Protocol):
    """What hears of every training: "ARM, CLASSIFIER", and whether it was taken from an earlier run."""

    def __call__(self, what: str, *, restored: bool = False) -> None: ...


def run_split(bench: Bench, split: Split, tell: TellTraining | None = None) -> dict[str, Any]:
    """Run all arms and classifiers of a split and return its result.

    Parameters
    ----------
    bench, split : what is compared, and on which items.
    tell : called after each training.

    Raises
    ------
    DataError
        Something was fitted on a test image.
    """
    data, seed = bench.data, rng.seed_for(bench.seed, "benchmark", split.number)
    _require_no_copies(data, split)
    sources = SplitSources(
        data,
        split,
        config=bench.config,
        work=bench.store.work(split.number),
        seed=seed,
        device=bench.device,
        callbacks=bench.callbacks,
    )
    parts = {name: data.part(indices) for name, indices in split.parts().items()}
    choice = _choose_ratio(bench, split, sources, seed, tell) if bench.settings.tuning_folds else None
    ratio = bench.settings.ratio if choice is None else choice.ratio
    names = unique_names(data.names)
    results: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for result, restored in _trainings(bench, split, parts, sources, ratio, seed):
        (skipped if "reason" in result else results).append(result)
        if tell is not None:
            tell(f"{result['arm']}, {result['classifier']}", restored=restored)
    sources.require_unseen_test()
    test = split.test.tolist()
    return {
        "split": split.number,
        "classes": list(data.classes),
        "items": {name: [names[index] for index in part.tolist()] for name, part in split.parts().items()},
        "labels": parts["test"].targets,
        "groups": None if data.groups is None else [data.groups[index] for index in test],
        "test_groups": _group_names(bench.joined, data.groups or names, test),
        "counts": {name: _counts(part) for name, part in parts.items()},
        **({} if choice is None else {"ratio": choice.as_dict()}),
        "added": _added(parts, ratio),
        "near_duplicates": across(split, bench.same, names),
        "results": results,
        "skipped": skipped,
    }


def _choose_ratio(
    bench: Bench, split: Split, sources: SplitSources, seed: int, tell: TellTraining | None
) -> RatioChoice:
    """Choose synthetic : real for a split on inner splits of its training part; each is kept as soon as it is done."""
    classifier = bench.classifiers[0]
    search = RatioSearch(
        data=bench.data,
        config=bench.config,
        settings=bench.settings,
        classifier=classifier,
        features=bench.features,
        device=bench.device,
        callbacks=bench.callbacks,
    )
    found: list[dict[float, float]] = []
    for inner in inner_splits(
        bench.data.labels, bench.joined, folds=bench.settings.tuning_folds, seed=seed, among=split.train
    ):

        def say(ratio: float, number: int = inner.number, *, restored: bool = False) -> None:
            if tell is not None:
                tell(f"inner split {number}, ratio {ratio:g}, {classifier}", restored=restored)

        known = bench.store.fold(split.number, inner.number)
        if known is None:
            work = bench.store.fold_work(split.number, inner.number)
            own = search.sources(inner, seed=seed, work=work)
            scores = search.scores(inner, own, RATIOS, seed=seed, tell=say)
            sources.guard.seen.update(own.guard.seen)
            sources.require_unseen_test()
            bench.store.keep_fold(split.number, inner.number, scores)
        else:
            scores = known
            for ratio in RATIOS:
                say(ratio, restored=True)
        found.append(scores)
    return choice_of(found)


def _trainings(
    bench: Bench, split: Split, parts: dict[str, ImageSet], sources: SplitSources, ratio: float, seed: int
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the result of every training, and whether it was taken from an earlier run."""
    weights = bench.store.initial_weights()
    for place, arm in enumerate(bench.arms):
        plan: ArmPlan | None = None
        for other, classifier in enumerate(bench.classifiers):
            known = bench.store.training(split.number, place, other)
            if known is not None:
                if "initial_weights" in known["training"]:
                    weights.setdefault(classifier, known["training"]["initial_weights"])
                yield known["training"], True
                continue
            reason = _unserved(arm, parts)
            if reason is None:
                plan = plan or _plan(arm, bench, parts, sources, ratio, seed)
                result = _train(bench, arm, classifier, plan, parts, seed, weights)
            else:
                result = {"arm": arm, "classifier": classifier, "reason": reason}
            bench.store.keep_training(split.number, place, other, {"training": result})
            yield result, False


def _unserved(arm: str, parts: dict[str, ImageSet]) -> str | None:
    """Say why an arm cannot be run on a split."""
    wanted = signature(ARMS.get(arm)).parameters.get("held_back")
    if wanted is not None and wanted.default is wanted.empty and not len(parts["held_back"]):
        return "no real images are held back: they are with per_class only, where a class has enough images"
    return None


def _plan(
    arm: str, bench: Bench, parts: dict[str, ImageSet], sources: SplitSources, ratio: float, seed: int
) -> ArmPlan:
    plan = _asked(arm, bench, parts, sources, ratio, seed)
    if not ratio and _is_empty(plan):  # an arm of synthetic images alone, where the choice was to have none
        plan = _asked(arm, bench, parts, sources, bench.settings.ratio, seed)
    if _is_empty(plan):
        raise DataError(f"arm {arm!r}: expected a training set, got an empty one; check ratio and classes")
    return plan


def _asked(
    arm: str, bench: Bench, parts: dict[str, ImageSet], sources: SplitSources, ratio: float, seed: int
) -> ArmPlan:
    function = ARMS.get(arm)
    more = {
        "ratio": ratio,
        "lots": bench.settings.total_lots(round(ratio * len(parts["train"]))),
        "held_back": parts["held_back"],
        "plain_gan": sources.plain_gan,
        "warped": sources.warped,
    }
    returned = function(parts["train"], sources.augmenter, rng.seed_for(seed, "arm"), **accepted(function, more))
    return plan_of(returned)


def _is_empty(plan: ArmPlan) -> bool:
    return any(dataset is not None and not len(dataset) for dataset in (plan.dataset, plan.pretrain))


def _train(
    bench: Bench,
    arm: str,
    classifier: str,
    plan: ArmPlan,
    parts: dict[str, ImageSet],
    seed: int,
    weights: dict[str, str],
) -> dict[str, Any]:
    started, own = time.monotonic(), rng.seed_for(seed, "classifier")
    made = make_classifier(
        classifier,
        classes=len(bench.data.classes),
        settings=bench.settings,
        features=bench.features,
        device=bench.device,
        seed=own,
    )
    bench.store.require_weights(classifier, initial_weights(made), weights)
    weights.setdefault(classifier, initial_weights(made))
    if plan.pretrain is not None and not isinstance(made, torch.nn.Module):
        reason = "a classifier that fits itself has no first stage"
        return {"arm": arm, "classifier": classifier, "reason": reason}
    trained = train_classifier(made, plan, parts["validation"], settings=bench.settings, device=bench.device, seed=own)
    return {
        "arm": arm,
        "classifier": classifier,
        "probabilities": rounded(trained.predict(parts["test"].images)),
        "initial_weights": initial_weights(made),
        "training_items": len(plan.dataset),
        "pretraining_items": 0 if plan.pretrain is None else len(plan.pretrain),
        "steps": trained.steps,
        "kept_step": trained.kept_step,
        "validation": {name: round(value, _DIGITS) for name, value in trained.validation.items()},
        "seconds": round(time.monotonic() - started, 1),
    }


def rounded(probabilities: NDArray[np.float64]) -> list[list[float]]:
    """Return probabilities with 5 decimals, and more near 0 and 1: three digits of what lies between.

    So a file is short, and neither a logarithm nor the order of nearly certain predictions suffers.

    Examples
    --------
    >>> rounded(np.array([[0.123456789, 0.876543211], [1.23456e-9, 1 - 1.23456e-9]]))
    [[0.12346, 0.87654], [1.23e-09, 0.99999999877]]
    """
    nearest = np.minimum(probabilities, 1 - probabilities)
    with np.errstate(divide="ignore"):
        wanted = 2 - np.floor(np.log10(np.maximum(nearest, 0)))
    decimals = np.clip(wanted, _DIGITS, _MOST_DIGITS).astype(int)
    return [
        [round(float(value), int(digits)) for value, digits in zip(*row, strict=True)]
        for row in zip(probabilities, decimals, strict=True)
    ]


def _require_no_copies(data: BenchmarkData, split: Split) -> None:
    guard = Guard()
    for name, part in split.parts().items():
        if name != "test":
            indices = part.tolist()
            guard.seen.update(zip(data.digests(indices), (data.names[at] for at in indices), strict=True))
    test = split.test.tolist()
    guard.require_unseen([data.names[at] for at in test], data.digests(test))


def _group_names(joined: Sequence[int], names: Sequence[str], items: Sequence[int]) -> list[str]:
    """Return the joined group of some items by the name of its first member: the same in every split."""
    first: dict[int, str] = {}
    for code, name in zip(joined, names, strict=True):
        first.setdefault(code, name)
    return [first[joined[index]] for index in items]


def _counts(part: ImageSet) -> dict[str, int]:
    counts = Counter(part.targets)
    return {name: counts[label] for label, name in enumerate(part.classes)}


def _added(parts: dict[str, ImageSet], ratio: float) -> dict[str, Any]:
    """Return how many images a class the synthetic and the oracle arms add, and whether these are equal."""
    synthetic = {name: int(np.floor(ratio * count + 0.5)) for name, count in _counts(parts["train"]).items()}
    held_back = _counts(parts["held_back"])
    return {"synthetic": synthetic, "held_back": held_back, "equal": synthetic == held_back}
