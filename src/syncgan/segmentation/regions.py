"""Which of several nested candidate regions are nuclei, judged without annotations.

A threshold on nuclear darkness is right for one nucleus and wrong for its neighbour: what is one region at the palest
threshold falls apart into darker ones below it. Every region of every threshold is a candidate, and a region is
replaced by the candidates inside it where those are the better nuclei. Better means: a sharp outline, a clear step in
darkness across it, an even inside, a compact shape, and a rim that absorbs the same mixture of light as the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Floats, Mask
from syncgan.segmentation.cleaning import outline_of
from syncgan.segmentation.splitting import split_touching

__all__ = ["Evidence", "Regions", "chosen_thresholds", "compact_labels", "cut_necks", "parted_at_borders"]


# A step in darkness counts in units of the inside's own spread, which is never taken to be below this (noise).
_NOISE_GRAY_LEVELS = 10.0

# A disc scores 1 at any size if its outline of n pixels is taken to be this long.
_OUTLINE_SCALE, _OUTLINE_OFFSET = 1.05, 3.0
_COMPACTNESS_EXPONENT = 0.4

# A region larger than this share of the field is hardly one nucleus.
_LARGE_SHARE, _LARGE_PENALTY = 0.35, 0.3

# Grown by less than this share of what it absorbs, a region has no rim to judge.
_THIN_RIM = 0.02

# A rim is no part of a nucleus if its share of nuclear absorption is this much below `alike`; from `alike` on it speaks
# for the larger region, the more the more alike.
_UNLIKE_MARGIN = 0.12
_ALIKE_BONUS = 1.6

_RING_SIDE_PX = 7


@dataclass(frozen=True)
class Evidence:
    """What regions are judged by, each (H, W).

    Attributes
    ----------
    brightness : uint8, low where nuclear dye absorbs.
    edges : float32, gray levels a pixel.
    nuclear_density, total_density : float32, light absorbed in red and green alike, and in all channels.
    """

    brightness: Mask
    edges: NDArray[np.float32]
    nuclear_density: NDArray[np.float32]
    total_density: NDArray[np.float32]


@dataclass(frozen=True)
class Regions:
    """The 8-connected regions of one candidate mask; entry 0 of every array stands for the background.

    Attributes
    ----------
    threshold : brightness up to which a pixel is in the mask.
    labels : (H, W) int32.
    rim : flat indices of outline pixels.
    area_px, contrast, inside, step, nuclear, total, score : (R,) area; mean edge strength along the outline; mean
        brightness; that of the surroundings minus that; sums of the two densities; quality as a nucleus.
    """

    threshold: int
    labels: NDArray[np.int32]
    rim: NDArray[np.intp]
    area_px: Floats
    contrast: Floats
    inside: Floats
    step: Floats
    nuclear: Floats
    total: Floats
    score: Floats = field(repr=False)

    @classmethod
    def of(cls, mask: Mask, evidence: Evidence, threshold: int = 0) -> Regions:
        """Measure the regions of an (H, W) uint8 mask {0, 1}."""
        count, found, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
        labels = np.asarray(found, dtype=np.int32)
        inside, rim = np.flatnonzero(mask), np.flatnonzero(outline_of(mask))

        def sums(pixels: NDArray[np.intp], values: NDArray[np.generic]) -> Floats:
            return np.bincount(labels.take(pixels), weights=values, minlength=count).astype(np.float64, copy=False)

        area_px = np.maximum(stats[:, cv2.CC_STAT_AREA].astype(np.float64), 1.0)
        rim_px = np.bincount(labels.take(rim), minlength=count)
        brightness = evidence.brightness.take(inside).astype(np.float64)
        mean = sums(inside, brightness) / area_px
        variance = sums(inside, brightness * brightness) / area_px - mean * mean
        contrast = sums(rim, evidence.edges.take(rim)) / np.maximum(rim_px, 1)
        step = np.maximum(_surroundings(mask, labels, evidence.brightness, count) - mean, 0.0)
        compact = np.minimum(1.0, 4 * np.pi * area_px / (_OUTLINE_SCALE * rim_px + _OUTLINE_OFFSET) ** 2)
        score = contrast * np.sqrt(step / (np.sqrt(np.maximum(variance, 0)) + _NOISE_GRAY_LEVELS))
        score *= compact**_COMPACTNESS_EXPONENT
        score[area_px > _LARGE_SHARE * mask.size] *= _LARGE_PENALTY
        score[0] = 0.0
        nuclear = sums(inside, evidence.nuclear_density.take(inside))
        total = sums(inside, evidence.total_density.take(inside))
        return cls(threshold, labels, rim, area_px, contrast, mean, step, nuclear, total, score)


def chosen_thresholds(levels: Sequence[Regions], *, alike: float) -> Mask:
    """Choose nuclei among the regions of nested masks, from fine to coarse.

    Parameters
    ----------
    levels : regions at rising thresholds, each region inside one of the next level.
    alike : a rim may be up to this much less nuclear in colour than its core, as a ratio.

    Returns
    -------
    (H, W) uint8: the threshold at which each pixel was chosen, 0 where there is no nucleus.
    """
    finest = levels[0]
    chosen = np.where(finest.labels > 0, finest.threshold, 0).astype(np.uint8)
    score, area_px, nuclear, total = finest.score, finest.area_px, finest.nuclear, finest.total
    for fine, coarse in pairwise(levels):
        parent = np.zeros(len(fine.score), np.intp)
        parent[fine.labels.take(fine.rim)] = coarse.labels.take(fine.rim)

        def gathered(values: Floats, parent: NDArray[np.intp] = parent, coarse: Regions = coarse) -> Floats:
            inside = np.bincount(parent, weights=np.append(0.0, values[1:]), minlength=len(coarse.score))
            return inside.astype(np.float64, copy=False)

        inner_px, inner_nuclear, inner_total = gathered(area_px), gathered(nuclear), gathered(total)
        inner_score = gathered(area_px * score) / np.maximum(inner_px, 1)
        favour = _favour(coarse, inner_nuclear, inner_total, alike)
        kept = (coarse.score * favour >= inner_score) & (favour > 0)
        kept[0] = False
        chosen[kept.take(coarse.labels)] = coarse.threshold
        # What a region was preferred to stays the bar for the next: many small losses would add up to a large one.
        score = np.where(kept, np.maximum(coarse.score, inner_score), inner_score)
        area_px = np.where(kept, coarse.area_px, inner_px)
        nuclear, total = np.where(kept, coarse.nuclear, inner_nuclear), np.where(kept, coarse.total, inner_total)
    return chosen


def cut_necks(mask: Mask, *, min_radius_px: float, max_neck: float) -> Mask:
    """Return an (H, W) uint8 mask {0, 1} in which touching nuclei are parted by a line of background."""
    return parted_at_borders(compact_labels(split_touching(mask, min_radius_px=min_radius_px, max_neck=max_neck)))


def compact_labels(labels: NDArray[np.integer]) -> NDArray[Any]:
    """Return labels in the narrowest type that holds them and that OpenCV dilates: uint8, uint16 or float32."""
    highest = int(labels.max(initial=0))
    return labels.astype(np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.float32)


def parted_at_borders(labels: NDArray[Any]) -> Mask:
    """Return the (H, W) uint8 mask {0, 1} of (H, W) labels, 0 also where one of eight neighbours has a higher label."""
    highest = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    return np.asarray((labels > 0) & (highest == labels)).view(np.uint8)


def _surroundings(mask: Mask, labels: NDArray[np.int32], brightness: Mask, count: int) -> Floats:
    """Return the mean brightness of the background around each region; 0 where there is none."""
    grown = cv2.dilate(compact_labels(labels), np.ones((_RING_SIDE_PX, _RING_SIDE_PX), np.uint8))
    around = np.flatnonzero((grown > 0) & (mask == 0))
    owners = grown.take(around).astype(np.intp)
    pixels = np.bincount(owners, minlength=count)
    return np.bincount(owners, weights=brightness.take(around), minlength=count) / np.maximum(pixels, 1)


def _favour(coarse: Regions, inner_nuclear: Floats, inner_total: Floats, alike: float) -> Floats:
    """Return by how much the rim of each coarse region speaks for it: 0 rules it out, above 1 it is preferred."""
    typical = inner_nuclear.sum() / max(inner_total.sum(), 1e-6)
    core = np.where(inner_total > 0, inner_nuclear / np.maximum(inner_total, 1e-6), typical)
    rim_total = coarse.total - inner_total
    rim = (coarse.nuclear - inner_nuclear) / np.maximum(rim_total, 1e-6)
    likeness = np.where(rim_total < _THIN_RIM * coarse.total, 1.0, rim / np.maximum(core, 1e-6))
    return np.interp(likeness, [alike - _UNLIKE_MARGIN, alike, 1.0], [0.0, 1.0, _ALIKE_BONUS])
