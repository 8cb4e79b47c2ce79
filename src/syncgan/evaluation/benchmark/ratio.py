"""How many synthetic images for each real one: chosen on inner splits of the training set, and possibly none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from syncgan import rng
from syncgan.config import SynCGANConfig, checked
from syncgan.errors import ConfigError
from syncgan.evaluation.arms import ArmPlan
from syncgan.evaluation.benchmark.data import BenchmarkData, read_benchmark_data
from syncgan.evaluation.benchmark.feature_cache import CachedFeatures, features_for
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.benchmark.sources import SplitSources
from syncgan.evaluation.benchmark.splits import Split, joined_groups, make_splits
from syncgan.evaluation.benchmark.training import make_classifier, train_classifier
from syncgan.evaluation.features import Features
from syncgan.training.precision import resolve_device

__all__ = ["RatioChoice", "smallest_as_good", "tune_ratio"]


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


def tune_ratio(
    dataset: Any,
    *,
    config: SynCGANConfig | None = None,
    settings: BenchmarkConfig | None = None,
    ratios: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0),
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
        No ratios, or one that is negative or given twice.
    DataError
        Too few images or groups of a class for inner splits.
    """
    wanted = sorted(float(ratio) for ratio in ratios)
    if not wanted or wanted[0] < 0 or len(set(wanted)) < len(wanted) or not np.isfinite(wanted).all():
        raise ConfigError(f"expected ratios of at least 0, each once, got {list(ratios)}")
    config, settings, where = checked(config), settings or BenchmarkConfig(), resolve_device(device)
    data = read_benchmark_data(dataset, config, groups=groups)
    same = [found.members for found in data.same_images() if found.exact]
    splits = make_splits(
        data.labels, joined_groups(data.groups, same, len(data)), repeats=folds, seed=rng.seed_for(seed, "ratio")
    )
    cached = features_for([classifier], features, where)
    scores: dict[float, list[float]] = {ratio: [] for ratio in wanted}
    for done, split in enumerate(splits):
        own = rng.seed_for(seed, "ratio", split.number)
        sources = SplitSources(data, split, config=config, work=None, seed=own, device=where)
        for place, ratio in enumerate(wanted):
            score = _score(data, split, sources, ratio, classifier, settings, cached, own, where)
            scores[ratio].append(score)
            if progress is not None:
                progress(done * len(wanted) + place + 1, len(splits) * len(wanted))
    return RatioChoice(
        ratio=smallest_as_good(scores),
        balanced_accuracy={ratio: float(np.mean(found)) for ratio, found in scores.items()},
        scores={ratio: tuple(found) for ratio, found in scores.items()},
    )


def smallest_as_good(scores: dict[float, list[float]]) -> float:
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


def _score(
    data: BenchmarkData,
    split: Split,
    sources: SplitSources,
    ratio: float,
    classifier: str,
    settings: BenchmarkConfig,
    features: CachedFeatures | None,
    seed: int,
    device: torch.device,
) -> float:
    from sklearn.metrics import balanced_accuracy_score

    parts = {name: data.part(indices) for name, indices in split.parts().items()}
    training: Any = parts["train"]
    if ratio:
        training = sources.augmenter.wrap(training, ratio, seed=rng.seed_for(seed, "arm"))
    own = rng.seed_for(seed, "classifier")
    made = make_classifier(
        classifier, classes=len(data.classes), settings=settings, features=features, device=device, seed=own
    )
    trained = train_classifier(made, ArmPlan(training), parts["validation"], settings=settings, device=device, seed=own)
    predicted = trained.predict(parts["test"].images).argmax(axis=1)
    return float(balanced_accuracy_score(parts["test"].targets, predicted))
