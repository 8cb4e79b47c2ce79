"""Sample filter ``confidence``: a classifier of real images takes the sample for its class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, validate_call
from scipy.special import softmax
from torch import Tensor

from syncgan import rng
from syncgan.errors import warn_user
from syncgan.evaluation.filters.item_features import ItemFeatures
from syncgan.evaluation.filters.reference import CHECKED, Percentile, Reference, group_numbers

__all__ = ["Confidence"]

_ITERATIONS = 2000


class Confidence:
    """Confidence for the sample's class, of classifiers that are trained on real images by cross-validation.

    Each fold's logistic regression learns from the other folds' images. A real image gets the confidence of the one
    classifier that has not seen it, a synthetic one the mean of all.

    Parameters
    ----------
    seed : of the folds.
    device : where the network of the features runs.
    shared : see `syncgan.data.sample_filters.FittedFilter`.
    percentile, folds, regularisation, floor : see the annotations.
    """

    @validate_call(config=CHECKED)
    def __init__(
        self,
        *,
        seed: int = 0,
        device: Any = "cpu",
        shared: Any = None,
        percentile: Percentile = 5.0,
        folds: Annotated[
            int, Field(ge=2, le=50, description="Folds; fewer where a class has fewer images or groups.")
        ] = 5,
        regularisation: Annotated[
            float, Field(gt=0, description="Strength of the L2 penalty on the classifiers' coefficients.")
        ] = 0.1,
        floor: Annotated[
            float, Field(ge=0, le=1, description="Confidence that is asked for even where real images get less.")
        ] = 0.0,
    ) -> None:
        self._seed, self._device = seed, device
        self._shared: MutableMapping[Any, Any] = {} if shared is None else shared
        self._percentile, self._floor = percentile, floor
        self._folds, self._regularisation = folds, regularisation

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """Train the folds' classifiers, and ask each about the images that it has not seen."""
        self._features = ItemFeatures.default(self._shared, self._device)
        x, y = self._features(images), labels.cpu().numpy()
        confidences = np.zeros(len(y))
        models = []
        for seen, unseen in self._splits(y, groups):
            models.append(_classifier(x[seen], y[seen], self._regularisation))
            own = [_probabilities(models[-1], item) for item in x[unseen]]
            confidences[unseen] = [row[label] for row, label in zip(own, y[unseen], strict=True)]
        self._models = {name: np.stack([model[name] for model in models]) for name in models[0]}
        self._reference = Reference.of(confidences, labels)
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return the mean confidence for the sample's class, in [0, 1]."""
        rows = [_probabilities(self._models, item).mean(axis=0) for item in self._features(images)]
        return torch.tensor([row[label] for row, label in zip(rows, labels.tolist(), strict=True)], dtype=torch.float64)

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which reach the percentile of the real images of their class, and `floor`."""
        return self._reference.keep(scores, labels, self._percentile, bounds=(self._floor, 1.0))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the classifiers, the real images' confidences, and the features' name."""
        tensors = {name: torch.from_numpy(values) for name, values in self._models.items()}
        return tensors | self._reference.tensors(), self._features.description()

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned."""
        self._features = ItemFeatures.described(description, self._shared, self._device)
        self._models = {name: tensors[name].cpu().numpy() for name in ("mean", "scale", "coefficients", "intercepts")}
        self._reference = Reference.restored(tensors)
        return self

    def _splits(
        self, labels: NDArray[np.int64], groups: Sequence[Any] | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the folds: positions to learn from, and positions left out."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        state = rng.seed_for(self._seed, "confidence") % 2**32
        numbers = group_numbers(groups, len(labels))
        by_class = [np.unique(numbers[labels == label]) for label in np.unique(labels)]
        folds = min(self._folds, *(len(own) for own in by_class))
        if groups is not None and folds >= 2:
            with warnings.catch_warnings():
                # A class may have fewer groups than there are folds; the folds are then only roughly stratified.
                warnings.simplefilter("ignore", UserWarning)
                by_group = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
                splits = list(by_group.split(labels, labels, numbers))
            if all(set(labels[seen]) == set(labels) for seen, _ in splits):
                return iter(splits)
        if groups is not None:
            warn_user(
                "sample filter 'confidence': a class lies in too few groups to leave groups out, so images are left "
                "out one by one; its thresholds will be high where images of a group are alike",
            )
        folds = min(self._folds, int(np.unique(labels, return_counts=True)[1].min()))
        return iter(list(StratifiedKFold(folds, shuffle=True, random_state=state).split(labels, labels)))


def _classifier(x: NDArray[np.float64], y: NDArray[np.int64], regularisation: float) -> dict[str, NDArray[np.float32]]:
    """Fit one logistic regression; return what scales its input, and its coefficients, one row a class."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(axis=0), x.std(axis=0)
    # Points of length about one whatever the number of features: the penalty then means the same for all.
    scale = np.where(scale > 1e-9, scale, 1.0) * np.sqrt(x.shape[1])
    model = LogisticRegression(C=1 / regularisation, class_weight="balanced", max_iter=_ITERATIONS)
    model.fit((x - mean) / scale, y)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two classes have one row of logits between them
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    parts = {"mean": mean, "scale": scale, "coefficients": coefficients, "intercepts": intercepts}
    return {name: values.astype(np.float32) for name, values in parts.items()}


def _probabilities(models: Mapping[str, NDArray[np.float32]], item: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return class probabilities (..., C) of one image's features (D,), for each of the models."""
    scaled = (item - models["mean"]) / models["scale"]
    logits = (models["coefficients"] * scaled[..., None, :]).sum(axis=-1) + models["intercepts"]
    probabilities: NDArray[np.float64] = softmax(logits, axis=-1)
    return probabilities
