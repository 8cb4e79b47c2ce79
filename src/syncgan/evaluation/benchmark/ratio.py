"""How many synthetic images for each real one: chosen on inner splits of the training set, and possibly none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from syncgan import rng
from syncgan.config import SynCGANConfig, checked
from syncgan.errors import ConfigError, DataError
from syncgan.evaluation.arms import ArmPlan, orig_prop
from syncgan.evaluation.benchmark.data import BenchmarkData, read_benchmark_data
from syncgan.evaluation.benchmark.feature_cache import CachedFeatures, features_for
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.benchmark.sources import SplitSources
from syncgan.evaluation.benchmark.splits import Split, joined_groups, make_splits
from syncgan.evaluation.benchmark.training import make_classifier, train_classifier
from syncgan.evaluation.features import Features
from syncgan.training.precision import resolve_device

if TYPE_CHECKING:
    from syncgan.training.events import FitEvent

__all__ = ["RATIOS", "RatioChoice", "RatioSearch", "choice_of", "inner_splits", "smallest_as_good", "tune_ratio"]

RATIOS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Synthetic : real that are compared unless asked otherwise."""


@dataclass(frozen=True)
class RatioChoice:
    """What `tune_ratio` found.

    Attributes
    ----------
    ratio : the choice.
    balanced_accuracy : ratio -> mean over the inner splits.
    scores : ratio -> balanced accuracy of each inner split.
    """

    ratio: float
    balanced_accuracy: dict[float, float]
    scores: dict[float, tuple[float, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Return the choice and the scores behind it, JSON-compatible."""
        return {
            "chosen": self.ratio,
            "balanced_accuracy": {f"{ratio:g}": list(found) for ratio, found in self.scores.items()},
        }


def tune_ratio(
    dataset: Any,
    *,
    config: SynCGANConfig | None = None,
    settings: BenchmarkConfig | None = None,
    ratios: Sequence[float] = RATIOS,
    classifier: str = "probe",
    folds: int = 5,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    features: Features | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RatioChoice:
    """Choose synthetic : real on inner splits 3:1:1 of a training set.

    Parameters
    ----------
    dataset : training images with labels; give no image that is tested on later.
    config, settings, seed, device, features : see `run_benchmark`.
    ratios : what is compared; 0 means no synthetic images.
    classifier : name in ``CLASSIFIERS``.
    folds : inner splits, in each of which an augmenter is fitted.
    groups : patient or slide of every item.
    progress : called with (trainings done, trainings).

    Returns
    -------
    The smallest ratio that is as good as the best: see `smallest_as_good`.

    Raises
    ------
    ConfigError
        No ratios, or one that is negative or given twice; fewer than 2 folds.
    DataError
        Too few images or groups of a class for inner splits.
    """
    if folds < 2:
        raise ConfigError(f"expected at least 2 folds, got {folds}: one score has no standard error")
    wanted = sorted(float(ratio) for ratio in ratios)
    if not wanted or wanted[0] < 0 or len(set(wanted)) < len(wanted) or not np.isfinite(wanted).all():
        raise ConfigError(f"expected ratios of at least 0, each once, got {list(ratios)}")
    config, where = checked(config), resolve_device(device)
    data = read_benchmark_data(dataset, config, groups=groups)
    same = [copies for found in data.same_images() for copies in found.copies]
    splits = inner_splits(data.labels, joined_groups(data.groups, same, len(data)), folds=folds, seed=seed)
    search = RatioSearch(
        data=data,
        config=config,
        settings=settings or BenchmarkConfig(),
        classifier=classifier,
        features=features_for([classifier], features, where),
        device=where,
    )
    done = 0

    def tell(ratio: float) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(splits) * len(wanted))

    return choice_of(
        [search.scores(split, search.sources(split, seed=seed), wanted, seed=seed, tell=tell) for split in splits]
    )


def choice_of(found: Sequence[Mapping[float, float]]) -> RatioChoice:
    """Return the choice by ratio -> balanced accuracy of each inner split."""
    scores = {ratio: tuple(own[ratio] for own in found) for ratio in found[0]}
    return RatioChoice(
        ratio=smallest_as_good(scores),
        balanced_accuracy={ratio: float(np.mean(values)) for ratio, values in scores.items()},
        scores=scores,
    )


def smallest_as_good(scores: Mapping[float, Sequence[float]]) -> float:
    """Return the smallest ratio whose paired difference to the best is within one standard error of it.

    Examples
    --------
    >>> smallest_as_good({0.0: [0.5, 0.7], 2.0: [0.8, 0.6]})
    0.0
    >>> smallest_as_good({0.0: [0.5, 0.5], 2.0: [0.7, 0.8]})
    2.0
    """
    best = max(scores, key=lambda ratio: (np.mean(scores[ratio]), -ratio))
    for ratio in sorted(scores):
        behind = np.subtract(scores[best], scores[ratio])
        error = behind.std(ddof=1) / np.sqrt(len(behind)) if len(behind) > 1 else 0.0
        if behind.mean() <= error:
            return ratio
    return best


def inner_splits(
    labels: NDArray[np.int64],
    joined: Sequence[int],
    *,
    folds: int,
    seed: int,
    among: NDArray[np.int64] | None = None,
) -> list[Split]:
    """Split training items 3:1:1, several times anew.

    Parameters
    ----------
    labels, joined : class and group of every item; see `joined_groups`.
    folds : number of inner splits.
    seed : names them.
    among : items to split, ascending, of which the returned splits are made; None for all.

    Raises
    ------
    DataError
        Too few items or groups of a class.
    """
    chosen = np.arange(len(labels)) if among is None else among
    groups = [joined[index] for index in chosen.tolist()]
    try:
        splits = make_splits(labels[chosen], groups, repeats=folds, seed=rng.seed_for(seed, "ratio"))
    except DataError as error:
        raise DataError(f"choosing a ratio on the training images: {error}") from None
    return [Split(own.number, **{side: chosen[part] for side, part in own.parts().items()}) for own in splits]


@dataclass(frozen=True)
class RatioSearch:
    """What all inner splits have in common.

    Attributes
    ----------
    data : the images.
    config, settings : of the augmenter, and of the classifier's training.
    classifier : name in ``CLASSIFIERS``.
    features, device, callbacks : see `run_benchmark`.
    """

    data: BenchmarkData
    config: SynCGANConfig
    settings: BenchmarkConfig
    classifier: str
    features: CachedFeatures | None
    device: torch.device
    callbacks: Iterable[Callable[[FitEvent], None]] = ()

    def sources(self, split: Split, *, seed: int, work: Path | None = None) -> SplitSources:
        """Return what makes synthetic images in an inner split; in `work` an interrupted fit goes on."""
        return SplitSources(
            self.data,
            split,
            config=self.config,
            work=work,
            seed=rng.seed_for(seed, "ratio", split.number),
            device=self.device,
            callbacks=self.callbacks,
        )

    def scores(
        self,
        split: Split,
        sources: SplitSources,
        ratios: Sequence[float],
        *,
        seed: int,
        tell: Callable[[float], None] | None = None,
    ) -> dict[float, float]:
        """Return ratio -> balanced accuracy in an inner split.

        Parameters
        ----------
        split, sources : which items, and what makes synthetic ones of them.
        ratios : what is compared.
        seed : as in `sources`.
        tell : called with a ratio as soon as it is done.
        """
        own = rng.seed_for(seed, "ratio", split.number)
        parts = {name: self.data.part(indices) for name, indices in split.parts().items()}
        found = {}
        for ratio in ratios:
            lots = self.settings.total_lots(round(ratio * len(parts["train"])))
            training = orig_prop(parts["train"], sources.augmenter, rng.seed_for(own, "arm"), ratio=ratio, lots=lots)
            found[ratio] = self._score(training, parts, rng.seed_for(own, "classifier"))
            if tell is not None:
                tell(ratio)
        return found

    def _score(self, training: Any, parts: Mapping[str, Any], seed: int) -> float:
        from sklearn.metrics import balanced_accuracy_score

        settings, device, test = self.settings, self.device, parts["test"]
        made = make_classifier(
            self.classifier,
            classes=len(self.data.classes),
            settings=settings,
            features=self.features,
            device=device,
            seed=seed,
        )
        plan = ArmPlan(training)
        trained = train_classifier(made, plan, parts["validation"], settings=settings, device=device, seed=seed)
        return float(balanced_accuracy_score(test.targets, trained.predict(test.images).argmax(axis=1)))
