"""Training of one classifier on one arm: steps, schedule, seeds and validation set are the same for all arms.

A network is trained by AdamW with a step size that falls along a cosine, and the state that is best on the validation
set is kept. A classifier that fits itself gets all images of the arm at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan import rng
from syncgan.data.items import label_of, rgb_pixels, split_item
from syncgan.data.tensors import fit_image
from syncgan.errors import ContractError, TrainingError
from syncgan.evaluation.arms import ArmPlan
from syncgan.evaluation.benchmark.data import ImageSet
from syncgan.evaluation.benchmark.settings import BenchmarkConfig
from syncgan.evaluation.classifiers import initial_weights
from syncgan.evaluation.features import Features
from syncgan.registry import CLASSIFIERS, make
from syncgan.training.batches import batch_indices
from syncgan.training.precision import Precision

__all__ = ["Trained", "make_classifier", "train_classifier"]

Shares = Tensor
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHUNK = 64


@dataclass(frozen=True)
class Trained:
    """A trained classifier.

    Attributes
    ----------
    predict : uint8 images (N, 3, S, S) -> class probabilities (N, classes).
    steps : optimiser steps that were taken, None for a classifier that fits itself.
    kept_step : the step whose state was kept, None likewise.
    validation : ``loss`` and ``balanced_accuracy`` of what was kept.
    """

    predict: Callable[[Tensor], NDArray[np.float64]]
    steps: int | None
    kept_step: int | None
    validation: dict[str, float]


def make_classifier(
    name: str, *, classes: int, settings: BenchmarkConfig, features: Features | None, device: torch.device, seed: int
) -> Any:
    """Make the classifier of a name, with the initial weights that the seed names.

    Raises
    ------
    ContractError
        The factory returns neither a network nor an object with ``fit`` and ``predict_proba``.
    """
    made = rng.build(
        lambda: make(
            CLASSIFIERS.get(name), classes=classes, weights=settings.weights, features=features, device=device
        ),
        seed,
        "classifier",
        name,
    )
    if isinstance(made, nn.Module):
        return made
    for method in ("fit", "predict_proba"):
        if not callable(getattr(made, method, None)):
            raise ContractError(
                f"classifier {name!r}: expected an nn.Module or an object with fit and predict_proba, "
                f"got {type(made).__name__} without {method}"
            )
    return made


def train_classifier(
    classifier: Any,
    plan: ArmPlan,
    validation: ImageSet,
    *,
    settings: BenchmarkConfig,
    device: torch.device,
    seed: int,
) -> Trained:
    """Train a classifier on an arm.

    Parameters
    ----------
    classifier : what `make_classifier` returned; changed in place.
    plan : the arm's.
    validation : what the best state is chosen by.
    settings, device, seed : how, where, and the name of everything random.

    Raises
    ------
    ContractError
        A network whose output is not one logit a class; a plan with a first stage for a classifier that fits itself,
        or probabilities of one that are not finite.
    TrainingError
        A network's outputs were not finite whenever they were looked at.
    """
    if isinstance(classifier, nn.Module):
        return _train_network(classifier, plan, validation, settings, device, seed)
    return _fit_at_once(classifier, plan, validation, settings, seed)


def _fit_at_once(classifier: Any, plan: ArmPlan, validation: ImageSet, settings: BenchmarkConfig, seed: int) -> Trained:
    if plan.pretrain is not None:
        raise ContractError("a classifier that fits itself has no first stage (ArmPlan.pretrain); use a network")
    reader = _Reader(plan.dataset, plan, validation, torch.device("cpu"))
    passes = settings.passes if reader.changes else 1
    parts = []
    for number in range(passes):
        with rng.seeded(torch.device("cpu"), seed, "pass", number):
            # In batches, because what mixes images mixes those of a batch.
            order = torch.split(torch.randperm(len(reader)), settings.batch_size)
            reader.begin_pass(number)
            for indices in order:
                pixels, shares = reader.batch(indices)
                parts.append(((pixels * 255).round().to(torch.uint8), shares))
    images = torch.cat([pixels for pixels, _ in parts])
    shares = torch.cat([shares for _, shares in parts]) / passes
    targets = torch.tensor(validation.targets)
    classifier.fit(images, shares, validation.images, targets)
    scores = _scores(classifier.predict_proba(validation.images), validation.targets)
    if scores["loss"] == math.inf:
        raise ContractError(
            f"{type(classifier).__name__}: expected class probabilities, got some that are not finite from "
            "predict_proba"
        )
    return Trained(classifier.predict_proba, None, None, scores)


def _train_network(
    network: nn.Module, plan: ArmPlan, validation: ImageSet, settings: BenchmarkConfig, device: torch.device, seed: int
) -> Trained:
    network.to(device)
    precision = Precision("auto", device)
    first = settings.steps // 2 if plan.pretrain is not None else 0
    keeper = _Keeper(network, validation, settings.selection, device, precision)
    if first:
        reader = _Reader(plan.pretrain, plan, validation, device)
        _stage(network, reader, first, settings, precision, seed, "first", lambda step: None)
    last = settings.steps - first
    looks = set(np.linspace(0, last, settings.validations + 1).round().astype(int)[1:].tolist())

    def after(step: int) -> None:
        if step in looks:
            keeper.look(first + step)

    _stage(network, _Reader(plan.dataset, plan, validation, device), last, settings, precision, seed, "last", after)
    kept, scores = keeper.restore()
    return Trained(lambda images: _probabilities(network, images, device, precision), first + last, kept, scores)


def _stage(
    network: nn.Module,
    reader: _Reader,
    steps: int,
    settings: BenchmarkConfig,
    precision: Precision,
    seed: int,
    name: str,
    after: Callable[[int], None],
) -> None:
    """Take some optimiser steps; `after` is called with how many have been taken."""
    rate = settings.learning_rate if initial_weights(network) == "random" else settings.fine_tuning_rate
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        indices = batch_indices(
            step, items=len(reader), batch_size=settings.batch_size, seed=seed, address=("classifier", name)
        )
        reader.begin_pass(step * settings.batch_size // len(reader))
        network.train()
        # Transforms and dropout can draw from the global generators only.
        with rng.seeded(reader.device, seed, "classifier", name, step):
            x, shares = reader.batch(indices)
            optimiser.zero_grad(set_to_none=True)
            with precision.autocast():
                logits = network(_network_input(network, x))
            _require_logits(logits, shares)
            F.cross_entropy(logits.float(), shares).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
        after(step + 1)


class _Reader:
    """Reads batches of a dataset as a plan says."""

    def __init__(self, dataset: Any, plan: ArmPlan, like: ImageSet, device: torch.device) -> None:
        self.device = device
        self._dataset, self._plan = dataset, plan
        self._set_epoch: Callable[[int], None] | None = getattr(dataset, "set_epoch", None)
        self._classes, self._side = len(like.classes), like.images.shape[-1]

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def changes(self) -> bool:
        """Whether items differ from pass to pass."""
        return self._plan.transform is not None or self._plan.batch_transform is not None or self._set_epoch is not None

    def begin_pass(self, number: int) -> None:
        """Tell a dataset whose items depend on it the number of the pass, from 0."""
        if self._set_epoch is not None:
            self._set_epoch(number)

    def batch(self, indices: Tensor) -> tuple[Tensor, Shares]:
        """Return images (N, 3, S, S) in [0, 1] and the shares (N, classes) of their classes, on the device."""
        items = [split_item(self._dataset[index]) for index in indices.tolist()]
        images = rng.moved(torch.stack([self._pixels(image) for image, _ in items]), self.device)
        labels = rng.moved(torch.tensor([label_of(label) for _, label in items]), self.device)
        if self._plan.transform is not None:
            images = torch.stack([self._plan.transform(image) for image in images])
        x = images.float() / 255
        if self._plan.batch_transform is not None:
            x, labels = self._plan.batch_transform(x, labels)
        shares = labels.float() if labels.ndim == 2 else F.one_hot(labels, self._classes).float()
        return x, shares

    def _pixels(self, image: Any) -> Tensor:
        side = self._side
        if isinstance(image, Tensor) and image.dtype == torch.uint8 and tuple(image.shape) == (3, side, side):
            return image
        fitted = fit_image(rgb_pixels(image), side, "resize")
        return torch.from_numpy(fitted).permute(2, 0, 1)


class _Keeper:
    """Keeps the state of a network that was best on the validation set."""

    def __init__(
        self, network: nn.Module, validation: ImageSet, selection: str, device: torch.device, precision: Precision
    ) -> None:
        self._network, self._validation, self._selection = network, validation, selection
        self._device, self._precision = device, precision
        self._best: tuple[tuple[float, float], int, dict[str, float], dict[str, Tensor]] | None = None

    def look(self, step: int) -> None:
        """Keep the present state if it is better than all before."""
        found = _probabilities(self._network, self._validation.images, self._device, self._precision)
        scores = _scores(found, self._validation.targets)
        worse = 0.0 if self._selection == "loss" else -scores["balanced_accuracy"]
        rank = (worse, scores["loss"])
        if self._best is None or rank < self._best[0]:
            state = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
            self._best = (rank, step, scores, state)

    def restore(self) -> tuple[int, dict[str, float]]:
        """Put the best state back; return its step and scores."""
        if self._best is None:
            raise ContractError("the validation set was never looked at")
        _, step, scores, state = self._best
        if scores["loss"] == math.inf:
            raise TrainingError(
                "a classifier's outputs were not finite at any look at the validation set; lower its step size "
                "(--train learning_rate=, or fine_tuning_rate= from pretrained weights)"
            )
        self._network.load_state_dict(state)
        return step, scores


@torch.inference_mode()
def _probabilities(
    network: nn.Module, images: Tensor, device: torch.device, precision: Precision
) -> NDArray[np.float64]:
    network.eval()
    parts = []
    for some in torch.split(images, _CHUNK):
        with precision.autocast():
            logits = network(_network_input(network, rng.moved(some, device).float() / 255))
        parts.append(logits.cpu().double().softmax(dim=1))
    return torch.cat(parts).numpy()


def _network_input(network: nn.Module, x: Tensor) -> Tensor:
    """Return images in [0, 1] as networks expect them, enlarged where they would be too small."""
    least = int(getattr(network, "smallest_side", 0))
    if x.shape[-1] < least:
        x = F.interpolate(x, size=(least, least), mode="bilinear")
    mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (_IMAGENET_MEAN, _IMAGENET_STD))
    return (x - mean) / std


def _require_logits(logits: Any, shares: Shares) -> None:
    if not isinstance(logits, Tensor) or logits.shape != shares.shape:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ContractError(f"a classifier's network: expected logits {tuple(shares.shape)}, got {got}")


def _scores(probabilities: NDArray[np.float64], targets: Sequence[int]) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, log_loss

    if not np.isfinite(probabilities).all():
        return {"loss": math.inf, "balanced_accuracy": 0.0}
    classes = np.arange(probabilities.shape[1])
    return {
        "loss": float(log_loss(targets, probabilities, labels=classes)),
        "balanced_accuracy": float(balanced_accuracy_score(targets, probabilities.argmax(axis=1))),
    }
