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
    """Distance to the mean of the class in the main directions of feature space, negative: higher is nearer.

    Few images do not say how each of a thousand features varies. They do say in which few directions real images
    differ most, and how much they differ there within a class, which is the unit of the distance.

    Parameters
    ----------
    device : where the network of the features runs.
    shared : see `syncgan.data.sample_filters.FittedFilter`.
    percentile, components : see the annotations.
    """

    @validate_call(config=CHECKED)
    def __init__(
        self,
        *,
        device: Any = "cpu",
        shared: Any = None,
        percentile: Percentile = 5.0,
        components: Annotated[
            int, Field(ge=1, description="Principal components of the real images in which distances are measured.")
        ] = 10,
    ) -> None:
        self._device = device
        self._shared: MutableMapping[Any, Any] = {} if shared is None else shared
        self._percentile, self._components = percentile, components

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """Learn means and scale; a real image is compared with the mean of the other groups of its class."""
        self._features = ItemFeatures.default(self._shared, self._device)
        x, y = self._features(images), labels.cpu().numpy()
        self._axes = _axes(x, y, self._components).astype(np.float32)
        points = np.stack([self._axes @ item for item in x])
        self._means = np.stack([points[y == label].mean(axis=0) for label in range(y.max() + 1)]).astype(np.float32)
        numbers = group_numbers(groups, len(y))
        without = [points[_others(position, y, numbers)].mean(axis=0) for position in range(len(y))]
        scores = [_closeness(point, mean) for point, mean in zip(points, without, strict=True)]
        self._reference = Reference.of(np.array(scores), labels)
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return minus the root mean square of the differences from the class's mean, in standard deviations."""
        pairs = zip(self._features(images), labels.tolist(), strict=True)
        scores = [_closeness(self._axes @ item, self._means[label]) for item, label in pairs]
        return torch.tensor(scores, dtype=torch.float64)

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which reach the percentile of the real images of their class."""
        return self._reference.keep(scores, labels, self._percentile)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return axes, means and the real images' scores, and the features' name."""
        tensors = {"means": torch.from_numpy(self._means), "axes": torch.from_numpy(self._axes)}
        return tensors | self._reference.tensors(), self._features.description()

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned."""
        self._features = ItemFeatures.described(description, self._shared, self._device)
        self._means, self._axes = tensors["means"].cpu().numpy(), tensors["axes"].cpu().numpy()
        self._reference = Reference.restored(tensors)
        return self


def _axes(x: NDArray[np.float64], labels: NDArray[np.int64], components: int) -> NDArray[np.float64]:
    """Return (K, D): the first principal components, each divided by its standard deviation within classes."""
    classes = np.unique(labels)
    left = max(1, min(components, len(x) - len(classes), x.shape[1]))
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:left]
    points = x @ axes.T
    inner = np.concatenate([points[labels == label] - points[labels == label].mean(axis=0) for label in classes])
    deviations = np.sqrt(np.square(inner).sum(axis=0) / max(1, len(x) - len(classes)))
    scaled: NDArray[np.float64] = axes / np.maximum(deviations, 1e-6)[:, None]
    return scaled


def _closeness(point: NDArray[np.floating[Any]], mean: NDArray[np.floating[Any]]) -> float:
    return -float(np.sqrt(np.square(point - mean).mean()))


def _others(position: int, labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images of the class are of another group; where there are none, all but the image itself."""
    same_class = labels == labels[position]
    others: NDArray[np.bool_] = same_class & (groups != groups[position])
    return others if others.any() else same_class & (np.arange(len(labels)) != position)
