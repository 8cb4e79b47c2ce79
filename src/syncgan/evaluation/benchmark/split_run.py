"""All trainings of one split: arms x classifiers, each kept as soon as it is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from syncgan import rng
from syncgan.config import SynCGANConfig
from syncgan.errors import DataError
from syncgan.evaluation.arms import ArmPlan, plan_of
from syncgan.evaluation.benchmark.data import BenchmarkData, Guard, ImageSet, across
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.benchmark.sources import SplitSources
from syncgan.evaluation.benchmark.splits import Split
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.training import make_classifier, train_classifier
from syncgan.evaluation.classifiers import initial_weights
from syncgan.evaluation.same_images import SameImages
from syncgan.registry import ARMS, accepted

__all__ = ["Bench", "run_split"]

_DIGITS = 6


@dataclass(frozen=True)
class Bench:
    """What all splits of a benchmark have in common.

    Attributes
    ----------
    data, same : the images, and which of them are one image.
    config, settings : of the augmenter and of the classifiers' training.
    arms, classifiers : names.
    store : where results go.
    features : for probes.
    seed, device : of everything.
    callbacks : told of every fit.
    """

    data: BenchmarkData
    same: Sequence[SameImages]
    config: SynCGANConfig
    settings: BenchmarkConfig
    arms: tuple[str, ...]
    classifiers: tuple[str, ...]
    store: BenchmarkStore
    features: Any
    seed: int
    device: torch.device
    callbacks: tuple[Callable[..., None], ...] = ()


def run_split(bench: Bench, split: Split, tell: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run all arms and classifiers of a split and return its result.

    Parameters
    ----------
    bench, split : what is compared, and on which items.
    tell : called with "ARM, CLASSIFIER" after each training.

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
    results: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for result in _trainings(bench, split, parts, sources, seed):
        (skipped if "reason" in result else results).append(result)
        if tell is not None:
            tell(f"{result['arm']}, {result['classifier']}")
    sources.require_unseen_test()
    test = split.test.tolist()
    return {
        "split": split.number,
        "classes": list(data.classes),
        "items": {name: [data.names[index] for index in part.tolist()] for name, part in split.parts().items()},
        "labels": parts["test"].targets,
        "groups": None if data.groups is None else [data.groups[index] for index in test],
        "counts": {name: _counts(part) for name, part in parts.items()},
        "added": _added(parts, bench.settings.ratio),
        "near_duplicates": across(split, bench.same, data.names),
        "results": results,
        "skipped": skipped,
    }


def _trainings(
    bench: Bench, split: Split, parts: dict[str, ImageSet], sources: SplitSources, seed: int
) -> Iterator[dict[str, Any]]:
    for place, arm in enumerate(bench.arms):
        plan: ArmPlan | None = None
        for other, classifier in enumerate(bench.classifiers):
            known = bench.store.training(split.number, place, other)
            if known is not None:
                yield known["training"]
                continue
            reason = _unserved(arm, parts)
            if reason is None:
                plan = plan or _plan(arm, bench, parts, sources, seed)
                result = _train(bench, arm, classifier, plan, parts, seed)
            else:
                result = {"arm": arm, "classifier": classifier, "reason": reason}
            bench.store.keep_training(split.number, place, other, {"training": result})
            yield result


def _unserved(arm: str, parts: dict[str, ImageSet]) -> str | None:
    """Say why an arm cannot be run on a split."""
    if accepted(ARMS.get(arm), {"held_back": None}) and not len(parts["held_back"]):
        return "no real images are held back: they are with per_class only, where a class has enough images"
    return None


def _plan(arm: str, bench: Bench, parts: dict[str, ImageSet], sources: SplitSources, seed: int) -> ArmPlan:
    function = ARMS.get(arm)
    more = {
        "ratio": bench.settings.ratio,
        "held_back": parts["held_back"],
        "plain_gan": sources.plain_gan,
        "warped": sources.warped,
    }
    returned = function(parts["train"], sources.augmenter, rng.seed_for(seed, "arm"), **accepted(function, more))
    plan = plan_of(returned)
    for dataset in (plan.dataset, plan.pretrain):
        if dataset is not None and not len(dataset):
            raise DataError(f"arm {arm!r}: expected a training set, got an empty one; check ratio and classes")
    return plan


def _train(
    bench: Bench, arm: str, classifier: str, plan: ArmPlan, parts: dict[str, ImageSet], seed: int
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
    if plan.pretrain is not None and not isinstance(made, torch.nn.Module):
        reason = "a classifier that fits itself has no first stage"
        return {"arm": arm, "classifier": classifier, "reason": reason}
    trained = train_classifier(made, plan, parts["validation"], settings=bench.settings, device=bench.device, seed=own)
    return {
        "arm": arm,
        "classifier": classifier,
        "probabilities": np.round(trained.predict(parts["test"].images), _DIGITS).tolist(),
        "initial_weights": initial_weights(made),
        "training_items": len(plan.dataset),
        "pretraining_items": 0 if plan.pretrain is None else len(plan.pretrain),
        "steps": trained.steps,
        "kept_step": trained.kept_step,
        "validation": {name: round(value, _DIGITS) for name, value in trained.validation.items()},
        "seconds": round(time.monotonic() - started, 1),
    }


def _require_no_copies(data: BenchmarkData, split: Split) -> None:
    guard = Guard()
    for name, part in split.parts().items():
        if name != "test":
            indices = part.tolist()
            guard.seen.update(zip(data.digests(indices), (data.names[at] for at in indices), strict=True))
    test = split.test.tolist()
    guard.require_unseen([data.names[at] for at in test], data.digests(test))


def _counts(part: ImageSet) -> dict[str, int]:
    counts = Counter(part.targets)
    return {name: counts[label] for label, name in enumerate(part.classes)}


def _added(parts: dict[str, ImageSet], ratio: float) -> dict[str, Any]:
    """Return how many images a class the synthetic and the oracle arms add, and whether these are equal."""
    synthetic = {name: int(np.floor(ratio * count + 0.5)) for name, count in _counts(parts["train"]).items()}
    held_back = _counts(parts["held_back"])
    return {"synthetic": synthetic, "held_back": held_back, "equal": synthetic == held_back}
