"""Stain classes: image parts divided by the colours that a set of images has in common.

Three levels do not tell a renderer whether it is a red cell or pink cytoplasm that it draws, and one image alone cannot
say how many stains there are. So optical densities of all images are clustered together, outside of the nuclei, and in
another clustering inside of them, where dense chromatin and lobes differ from what is paler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Pixels

__all__ = ["StainClasses"]

Density = tuple[float, float, float]

_PIXELS = 2000  # of an image that are clustered
_STARTS = 4
_GRAIN = 0.6  # standard deviation in pixels of the blur against noise and grains
_SMOOTH = 0.7  # likewise, of the distances to the classes
_MEDIAN_PX = 3
_DECIMALS = 3  # of a density; further ones may depend on the order in which threads add


@dataclass(frozen=True)
class StainClasses:
    """Classes of colour outside and inside of the nuclei, each from the palest to the densest.

    Attributes
    ----------
    densities : (K, 3) optical densities in red, green and blue of the middle of each class outside of the nuclei,
        against the white of the image.
    nuclear : (M, 3) the same inside of the nuclei; none where these are not divided.
    """

    densities: tuple[Density, ...]
    nuclear: tuple[Density, ...] = ()

    @classmethod
    def fit(
        cls, images: Sequence[Pixels], nuclei: Sequence[NDArray[np.bool_]], count: int, nuclear: int = 1
    ) -> StainClasses:
        """Cluster the colours of a set with k-means.

        Parameters
        ----------
        images : (H, W, 3) uint8 RGB each.
        nuclei : (H, W) bool each, where the nuclei are.
        count : K. Fewer are found where the set has fewer colours.
        nuclear : M, likewise; 1 does not divide nuclei.
        """
        outside, inside = [], []
        draws_outside, draws_inside = np.random.default_rng(0), np.random.default_rng(0)
        for image, nucleus in zip(images, nuclei, strict=True):
            seen = _densities(image)
            outside.append(_some_of(seen[~nucleus], draws_outside))
            inside.append(_some_of(seen[nucleus], draws_inside))
        within = _clusters(inside, nuclear) if nuclear > 1 else ()
        return cls(_clusters(outside, count) or ((0.0, 0.0, 0.0),), within if len(within) > 1 else ())

    @classmethod
    def of(cls, description: Mapping[str, Sequence[Sequence[float]]] | None) -> StainClasses | None:
        """Return the classes that `as_dict` described; None for None."""
        if description is None:
            return None
        outside, inside = (
            tuple((row[0], row[1], row[2]) for row in description[name]) for name in ("densities", "nuclear")
        )
        return cls(outside, inside)

    def as_dict(self) -> dict[str, tuple[Density, ...]]:
        """Return the densities, JSON-compatible."""
        return asdict(self)

    @property
    def levels(self) -> int:
        """Return the number L = K + 1 of levels of the maps."""
        return len(self.densities) + 1

    @property
    def nuclear_levels(self) -> int:
        """Return into how many levels nuclei are divided, at least 1."""
        return max(1, len(self.nuclear))

    def levels_of(self, image: Pixels, nucleus: NDArray[np.bool_]) -> Pixels:
        """Return the (H, W) uint8 map of an image: the class outside of the nuclei, K in them."""
        return np.where(nucleus, np.uint8(len(self.densities)), _nearest(_densities(image), self.densities))

    def divided(self, image: Pixels, levels_map: Pixels) -> Pixels:
        """Return a map of `levels_of` with K plus the class in the nuclei."""
        nucleus = levels_map == len(self.densities)
        if not self.nuclear or not nucleus.any():
            return levels_map
        return np.where(nucleus, levels_map + _nearest(_densities(image), self.nuclear), levels_map)


def _some_of(points: NDArray[np.float32], draws: np.random.Generator) -> NDArray[np.float32]:
    """Return as many of the points (n, 3) of an image as it may contribute."""
    return points[draws.permutation(len(points))[:_PIXELS]]


def _clusters(points: Sequence[NDArray[np.float32]], count: int) -> tuple[Density, ...]:
    """Return the middles of the clusters of what images contribute (n, 3) each, from the palest; none for no points."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    seen = np.concatenate(points)
    if not len(seen):
        return ()
    count = min(count, len(np.unique(seen.round(_DECIMALS), axis=0)))
    with threadpool_limits(1):
        found = KMeans(count, n_init=_STARTS, random_state=0).fit(seen).cluster_centers_
    ordered = found[np.argsort(found.sum(axis=1), kind="stable")].round(_DECIMALS)
    return tuple((float(red), float(green), float(blue)) for red, green, blue in ordered)


def _nearest(densities: NDArray[np.float32], middles: Sequence[Density]) -> Pixels:
    """Return the (H, W) uint8 class to which each pixel is nearest."""
    distances = [
        cv2.GaussianBlur(np.square(densities - np.array(middle, np.float32)).sum(axis=2), (0, 0), _SMOOTH)
        for middle in middles
    ]
    return np.asarray(cv2.medianBlur(np.argmin(distances, axis=0).astype(np.uint8), _MEDIAN_PX), dtype=np.uint8)


def _densities(image: Pixels) -> NDArray[np.float32]:
    """Return optical densities (H, W, 3) against the brightest part of the image, none below zero."""
    smooth = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), _GRAIN).astype(np.float32)
    white = np.maximum(np.percentile(smooth.reshape(-1, 3), 99, axis=0), 1).astype(np.float32)
    return np.asarray(-np.log10(np.clip(smooth, 1, white) / white), dtype=np.float32)
