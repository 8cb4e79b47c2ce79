"""Sample filter ``not_a_copy``: a sample lies no nearer to a training image than these lie to each other."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import validate_call
from torch import Tensor

from syncgan import rng
from syncgan.evaluation.filters.item_features import ItemFeatures
from syncgan.evaluation.filters.reference import CHECKED, Percentile, Reference, group_numbers
from syncgan.evaluation.nearest_images import euclidean, nearest
from syncgan.evaluation.utility import thumbnails, turns

__all__ = ["NotACopy"]

_DIMENSIONS = 64  # random projections keep distances to about 1 / sqrt(2 * 64)
_KINDS = ("pixels", "features")
Points = dict[str, NDArray[np.float32]]


class NotACopy:
    """Distance to the nearest training image under all flips and quarter turns, in pixels and in features.

    The smaller of the two counts, each in units of the typical distance from a real image to its nearest neighbour of
    another group. What is kept of a training image are random projections, from which it cannot be seen.

    Parameters
    ----------
    seed : of the projections.
    device : where the network of the features runs.
    shared : see `syncgan.data.sample_filters.FittedFilter`.
    percentile : see the annotation.

    References
    ----------
    Projections: Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984.
    """

    @validate_call(config=CHECKED)
    def __init__(self, *, seed: int = 0, device: Any = "cpu", shared: Any = None, percentile: Percentile = 1.0) -> None:
        self._seed, self._device = seed, device
        self._shared: MutableMapping[Any, Any] = {} if shared is None else shared
        self._percentile = percentile

    def fit(self, images: Tensor, masks: Tensor, labels: Tensor, *, groups: Sequence[Any] | None = None) -> Self:
        """Keep projections of every turn of the images, and see how near real images of different groups are."""
        self._features = ItemFeatures.default(self._shared, self._device)
        own, count = self._points(images), len(images)
        # The network sees turned images, so that it need see a sample only once.
        parts = [self._points(turned) for turned in turns(images.cpu())]
        turned = {kind: np.stack([part[kind] for part in parts]) for kind in _KINDS}
        numbers = group_numbers(groups, count)
        alone = len(np.unique(numbers)) < 2
        numbers = np.arange(count) if alone else numbers
        found = {
            kind: nearest(own[kind], turned[kind], euclidean, numbers, own=numbers).distance.astype(np.float64)
            for kind in _KINDS
        }
        self._known = turned
        self._units = {kind: float(max(np.median(found[kind]), 1e-6)) for kind in _KINDS}
        scores = np.min([found[kind] / self._units[kind] for kind in _KINDS], axis=0)
        self._reference = Reference.of(scores, labels)
        return self

    def score(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return the distance to the nearest training image; 1 is typical of real images, 0 is a copy."""
        own = self._points(images)
        found = [self._distances(own[kind], kind) for kind in _KINDS]
        return torch.from_numpy(np.minimum.reduce(found))

    def keep(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Tell which are farther than the percentile of the real images of their class."""
        return self._reference.keep(scores, labels, self._percentile)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the projections and the real images' scores, with units and the features' name."""
        tensors = {kind: torch.from_numpy(points).flatten(0, 1) for kind, points in self._known.items()}
        return tensors | self._reference.tensors(), {**self._features.description(), "units": self._units}

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Take what `state` returned."""
        self._features = ItemFeatures.described(description, self._shared, self._device)
        self._known = {kind: tensors[kind].cpu().reshape(8, -1, _DIMENSIONS).numpy() for kind in _KINDS}
        self._units = dict(description["units"])
        self._reference = Reference.restored(tensors)
        return self

    def _distances(self, points: NDArray[np.float32], kind: str) -> NDArray[np.float64]:
        known = self._known[kind]
        found = nearest(points, known, euclidean, np.arange(known.shape[1]))
        return found.distance.astype(np.float64) / self._units[kind]

    def _points(self, images: Tensor) -> Points:
        """Project thumbnails and features of images (n, 3, S, S), each by itself: kind -> (n, 64)."""
        pixels = np.stack([thumbnails(images[i : i + 1]).flatten().numpy() for i in range(len(images))])
        return {
            "pixels": self._projected(pixels, "pixels"),
            "features": self._projected(self._features(images), "features"),
        }

    def _projected(self, rows: NDArray[np.floating[Any]], kind: str) -> NDArray[np.float32]:
        shape = (rows.shape[1], _DIMENSIONS)
        matrix = rng.numpy_generator(self._seed, "not_a_copy", kind).standard_normal(shape) / np.sqrt(_DIMENSIONS)
        return np.stack([row.astype(np.float64) @ matrix for row in rows]).astype(np.float32)
