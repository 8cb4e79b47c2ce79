"""Sample filter ``centroid``: a sample lies as near to the middle of its class as real images do."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, validate_call
from torch import Tensor

from syncgan.evaluation.filters.item_features import ItemFeatures
from syncgan.evaluation.filters.reference import CHECKED, Percentile, Reference, group_numbers

__all__ = ["Centroid"]


class Centroid:
    """Distance in feature space to the mean of the class, negative: higher is nearer.

    Each feature is divided by its standard deviation within classes, pulled towards that of all features by
    `shrinkage`, since few images say little about a single one.

    Parameters
    ----------
    device : where the network of the features runs.
    shared : see `syncgan.data.sample_filters.FittedFilter`.
    percentile, shrinkage : see the annotations.
    """

    @validate_call(config=CHECKED)
    def __init__(
        self,
        *,
        device: Any = "cpu",
        shared: Any = None,
        percentile: Percentile = 5.0,
        shrinkage: Annotated[
            float, Field(ge=0, le=1, description="0: each feature has its own scale; 1: all have one.")
        ] = 0.5,
    ) -> None:
        self._device = device
        self._shared: MutableMapping[Any, Any] = {} if shared is None else shared
        self._percentile, self._shrinkage = percentile, shrinkage

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """Learn means and scale; a real image is compared with the mean of the other groups of its class."""
        self._features = ItemFeatures.default(self._shared, self._device)
        x, y = self._features(images), labels.cpu().numpy()
        means = np.stack([x[y == label].mean(axis=0) for label in range(y.max() + 1)])
        variance = np.square(x - means[y]).sum(axis=0) / max(1, len(x) - len(means))
        pulled = (1 - self._shrinkage) * variance + self._shrinkage * variance.mean()
        self._scale = np.sqrt(np.maximum(pulled, 1e-12)).astype(np.float32)
        self._means = means.astype(np.float32)
        numbers = group_numbers(groups, len(y))
        without = [x[_others(position, y, numbers)].mean(axis=0) for position in range(len(y))]
        self._reference = Reference.of(
            np.array([self._score(item, mean) for item, mean in zip(x, without, strict=True)]), labels
        )
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return minus the root mean square of the scaled differences from the class's mean."""
        pairs = zip(self._features(images), labels.tolist(), strict=True)
        return torch.tensor([self._score(item, self._means[label]) for item, label in pairs], dtype=torch.float64)

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which reach the percentile of the real images of their class."""
        return self._reference.keep(scores, labels, self._percentile)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return means, scale and the real images' scores, and the features' name."""
        tensors = {"means": torch.from_numpy(self._means), "scale": torch.from_numpy(self._scale)}
        return tensors | self._reference.tensors(), self._features.description()

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned."""
        self._features = ItemFeatures.described(description, self._shared, self._device)
        self._means, self._scale = tensors["means"].cpu().numpy(), tensors["scale"].cpu().numpy()
        self._reference = Reference.restored(tensors)
        return self

    def _score(self, item: NDArray[np.float64], mean: NDArray[np.floating[Any]]) -> float:
        return -float(np.sqrt(np.square((item - mean) / self._scale).mean()))


def _others(position: int, labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images of the class are of another group; where there are none, all but the image itself."""
    same_class = labels == labels[position]
    others: NDArray[np.bool_] = same_class & (groups != groups[position])
    return others if others.any() else same_class & (np.arange(len(labels)) != position)
