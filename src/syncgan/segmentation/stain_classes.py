"""Stain classes: what is not nucleus, divided by the colours that a set of images has in common.

Three levels do not tell a renderer whether it is a red cell or pink cytoplasm that it draws, and one image alone cannot
say how many stains there are. So optical densities of all images are clustered together, outside of the nuclei.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["StainClasses"]

Pixels = NDArray[np.uint8]

_PIXELS = 2000  # of an image that are clustered
_STARTS = 4
_GRAIN = 0.6  # standard deviation in pixels of the blur against noise and grains
_SMOOTH = 0.7  # likewise, of the distances to the classes
_MEDIAN_PX = 3
_DECIMALS = 3  # of a density; further ones may depend on the order in which threads add


@dataclass(frozen=True)
class StainClasses:
    """Classes of colour outside of the nuclei, from the palest to the densest.

    Attributes
    ----------
    densities : (K, 3) optical densities in red, green and blue of the middle of each class, against the white of the
        image.
    """

    densities: tuple[tuple[float, float, float], ...]

    @classmethod
    def fit(cls, images: Sequence[Pixels], nuclei: Sequence[NDArray[np.bool_]], count: int) -> StainClasses:
        """Cluster the colours of a set with k-means.

        Parameters
        ----------
        images : (H, W, 3) uint8 RGB each.
        nuclei : (H, W) bool each, where the nuclei are.
        count : K. Fewer are found where the set has fewer colours.
        """
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        draws = np.random.default_rng(0)
        seen = []
        for image, nucleus in zip(images, nuclei, strict=True):
            outside = _densities(image)[~nucleus]
            seen.append(outside[draws.permutation(len(outside))[:_PIXELS]])
        points = np.concatenate(seen)
        if not len(points):  # nothing but nuclei
            return cls(((0.0, 0.0, 0.0),))
        count = min(count, len(np.unique(points.round(_DECIMALS), axis=0)))
        with threadpool_limits(1):
            found = KMeans(count, n_init=_STARTS, random_state=0).fit(points).cluster_centers_
        ordered = found[np.argsort(found.sum(axis=1), kind="stable")].round(_DECIMALS)
        return cls(tuple((float(red), float(green), float(blue)) for red, green, blue in ordered))

    @classmethod
    def of(cls, densities: Sequence[Sequence[float]] | None) -> StainClasses | None:
        """Return the classes with the `densities` that JSON holds; None for None."""
        return None if densities is None else cls(tuple((row[0], row[1], row[2]) for row in densities))

    @property
    def levels(self) -> int:
        """Return the number L = K + 1 of levels of the maps."""
        return len(self.densities) + 1

    def levels_of(self, image: Pixels, nucleus: NDArray[np.bool_]) -> Pixels:
        """Return the (H, W) uint8 map of an image: the class outside of the nuclei, K in them."""
        densities = _densities(image)
        distances = [
            cv2.GaussianBlur(np.square(densities - np.array(middle, np.float32)).sum(axis=2), (0, 0), _SMOOTH)
            for middle in self.densities
        ]
        nearest = cv2.medianBlur(np.argmin(distances, axis=0).astype(np.uint8), _MEDIAN_PX)
        return np.where(nucleus, np.uint8(len(self.densities)), nearest).astype(np.uint8)


def _densities(image: Pixels) -> NDArray[np.float32]:
    """Return optical densities (H, W, 3) against the brightest part of the image, none below zero."""
    smooth = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), _GRAIN).astype(np.float32)
    white = np.maximum(np.percentile(smooth.reshape(-1, 3), 99, axis=0), 1).astype(np.float32)
    return np.asarray(-np.log10(np.clip(smooth, 1, white) / white), dtype=np.float32)
