"""Nuclei by clustering colours with k-means in CIE Lab."""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from syncgan.arrays import Floats32, Mask
from syncgan.segmentation.classic import ClassicSegmenter
from syncgan.segmentation.stains import nuclear_classes, white_levels

__all__ = ["KMeansSegmenter"]


# So many pixels, on a regular grid, tell the colours of a field; the other pixels go to the nearest centre.
_FIT_PIXELS = 10_000

# Centres that move by less than half a gray level do not change the mask.
_STOP = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.5)


class KMeansSegmenter(ClassicSegmenter):
    """Nuclei by k-means clustering of colours in CIE Lab.

    Call it with an (H, W, 3) uint8 RGB image; it returns an (H, W) uint8 mask {0, 1}. An image without contrast gives
    an empty mask.

    Notes
    -----
    The darkest cluster is nuclear. Paler ones are joined to it if they are the same stain, only less of it
    (`stain_similarity`, `min_density_share`): cytoplasm and red cells are another stain or much paler. k-means starts
    from clusters that slice the range of lightness evenly: nothing is drawn at random, and rare dark nuclei have a
    centre from the first step on.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28:129, 1982. Ruifrok and Johnston, Anal.
    Quant. Cytol. Histol. 23:291, 2001, for optical densities of stains.
    """

    clusters: int = Field(3, ge=2, le=8, description="Clusters of colours (k).")
    stain_similarity: float = Field(
        0.9,
        ge=0,
        le=2,
        description="A paler cluster is nuclear only if its share of light absorbed in red and green alike is at "
        "least this many times the darkest cluster's.",
    )
    min_density_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="A paler cluster is nuclear only if it absorbs red and green light at least this share as "
        "strongly as the darkest; 1: the darkest cluster alone.",
    )

    def _nuclear(self, smooth: Mask) -> NDArray[np.generic]:
        lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
        clusters = _clusters(lab, count=self.clusters)
        count = nuclear_classes(
            _rgb(clusters.centres),
            white_levels(smooth),
            similarity=self.stain_similarity,
            min_density=self.min_density_share,
        )
        return _nearest_is_the_first(lab, _first_in_one(clusters, count))


class _Clusters(NamedTuple):
    """(K, 3) float32 Lab centres, darkest first, and the number of fitted pixels of each, (K,)."""

    centres: Floats32
    pixels: NDArray[np.intp]


def _clusters(lab: Floats32, *, count: int) -> _Clusters:
    """Cluster the colours of an (H, W, 3) float32 Lab image."""
    height, width, _ = lab.shape
    step = max(1, int((height * width / _FIT_PIXELS) ** 0.5))
    sample = np.ascontiguousarray(lab[::step, ::step].reshape(-1, 3))
    count = min(count, len(sample))
    low, high = np.percentile(sample[:, 0], (1, 99))
    slices = (sample[:, :1] - low) / max(high - low, 1.0) * count
    start = np.clip(slices, 0, count - 1).astype(np.int32)
    _, members, centres = cv2.kmeans(sample, count, start, _STOP, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    order = centres[:, 0].argsort(kind="stable")
    return _Clusters(np.asarray(centres[order]), np.bincount(members.ravel(), minlength=count)[order])


def _rgb(lab_centres: Floats32) -> NDArray[np.float64]:
    rounded = np.clip(lab_centres.round(), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(rounded[None], cv2.COLOR_LAB2RGB)[0], dtype=np.float64)


def _first_in_one(clusters: _Clusters, count: int) -> Floats32:
    """Return the centres with the first `count` replaced by the mean of all their pixels.

    So a cluster that is only the blurred rim of dark nuclei leaves the outline where it would be without it.
    """
    weights = np.maximum(clusters.pixels[:count], 1)
    mean = np.average(clusters.centres[:count], axis=0, weights=weights)
    return np.vstack([mean, clusters.centres[count:]]).astype(np.float32)


def _nearest_is_the_first(lab: Floats32, centres: Floats32) -> NDArray[np.bool_]:
    """Return (H, W) bool: the nearest of the (K, 3) centres is the first."""
    # |x - c|^2 is smallest where 2 c x - |c|^2 is greatest, and that is linear in x.
    linear = np.hstack([2 * centres, -(centres**2).sum(axis=1, keepdims=True)])
    first, *others = cv2.split(cv2.transform(lab, linear))
    return np.asarray(first >= functools.reduce(cv2.max, others))
