"""Which of several nested candidate regions are nuclei: those with the sharpest outline.

Colour says how likely a pixel is nuclear, but where to draw the line differs from stain to stain. A right mask can be
told without annotations: its outline runs along edges of the image. So the mean edge strength along an outline (its
*contrast*) decides, first for the whole image, then for each region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["edge_strength", "select_regions"]

Mask = NDArray[np.uint8]
Floats = NDArray[np.float64]

# A 3 x 3 Sobel filter answers 8 to a slope of one gray level a pixel.
_SOBEL_GAIN = 8.0

# An outline counts for a candidate mask by what its contrast exceeds this share of the best candidate's mean contrast:
# pale nuclei beside dark ones add to it, cytoplasm around nuclei takes from it. Dice against ground truth is the same
# from 0.6 to 0.8; below that, bacteria and folds come in on Pap smears.
_REFERENCE_SHARE = 0.75

# Shading across the field rises by less than this many gray levels a pixel; the palest nucleus' outline by more.
_MIN_CONTRAST = 2.0


@dataclass(frozen=True)
class _Regions:
    """The connected regions of one candidate mask; entry 0 of every array is the background.

    Attributes
    ----------
    mask : (H, W) uint8 {0, 1}.
    labels : (H, W) int32.
    outline : flat indices of outline pixels. The image border is no outline.
    outline_px : (R,) number of outline pixels of each region.
    contrast : (R,) mean edge strength along each outline, gray levels a pixel.
    """

    mask: Mask
    labels: NDArray[np.int32]
    outline: NDArray[np.intp]
    outline_px: Floats
    contrast: Floats

    @classmethod
    def of(cls, mask: Mask, edges: NDArray[np.float32]) -> _Regions:
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        outline = _outline(mask)
        owners = labels.ravel()[outline]
        outline_px = np.bincount(owners, minlength=count).astype(np.float64)
        total = np.bincount(owners, weights=edges.ravel()[outline], minlength=count)
        return cls(mask, np.asarray(labels, dtype=np.int32), outline, outline_px, total / np.maximum(outline_px, 1))


def edge_strength(gray: Mask, *, sigma_px: float) -> NDArray[np.float32]:
    """Return the (H, W) float32 gradient magnitude of an (H, W) uint8 image, in gray levels a pixel, at a scale."""
    blurred = cv2.GaussianBlur(gray, (0, 0), sigma_px)
    across = cv2.Sobel(blurred, cv2.CV_32F, 1, 0, scale=1 / _SOBEL_GAIN)
    down = cv2.Sobel(blurred, cv2.CV_32F, 0, 1, scale=1 / _SOBEL_GAIN)
    return np.asarray(cv2.magnitude(across, down))


def select_regions(candidates: Sequence[Mask], edges: NDArray[np.float32], *, min_relative_contrast: float) -> Mask:
    """Choose nuclei among the regions of nested candidate masks.

    1. The candidate whose outlines exceed a reference contrast by most, in sum, is the coarsest that is used.
    2. Where the regions of a finer candidate inside one of its regions have the higher contrast, they replace it.
    3. Regions whose contrast is below `min_relative_contrast` of the sharpest region's are dropped.

    Parameters
    ----------
    candidates : (H, W) uint8 masks {0, 1}, from fine to coarse, each inside the next up to smoothing.
    edges : (H, W) float32 from `edge_strength`.
    min_relative_contrast : share in [0, 1].

    Returns
    -------
    (H, W) uint8 mask {0, 1}.
    """
    masks = _nested(candidates)
    # Labelling costs most, so only the candidates that are used are labelled.
    levels = [_Regions.of(mask, edges) for mask in masks[: _coarsest(masks, edges) + 1]]
    if len(levels) == 1:
        return _without_weak(levels[0], min_relative_contrast)
    chosen = levels[0].mask
    best, best_px = levels[0].contrast, levels[0].outline_px
    for fine, coarse in pairwise(levels):
        inner, inner_px = _inside(fine, coarse, best, best_px)
        keep_coarse = coarse.contrast >= inner
        keep_coarse[0] = False
        chosen = np.maximum(chosen, keep_coarse.astype(np.uint8)[coarse.labels])
        best, best_px = np.where(keep_coarse, (coarse.contrast, coarse.outline_px), (inner, inner_px))
    return _without_weak(_Regions.of(chosen, edges), min_relative_contrast)


def _outline(mask: Mask) -> NDArray[np.intp]:
    """Return flat indices of the pixels that have background among their eight neighbours."""
    rim = cv2.subtract(mask, cv2.erode(mask, np.ones((3, 3), np.uint8)))
    # None where there is no such pixel, which OpenCV's type stubs do not say.
    points: Any = cv2.findNonZero(rim)
    if points is None:
        return np.empty(0, dtype=np.intp)
    x, y = points.reshape(-1, 2).T.astype(np.intp)
    return np.asarray(y * mask.shape[1] + x)


def _nested(candidates: Sequence[Mask]) -> list[Mask]:
    nested = [candidates[0]]
    for mask in candidates[1:]:
        nested.append(np.maximum(nested[-1], mask))
    return nested


def _coarsest(masks: Sequence[Mask], edges: NDArray[np.float32]) -> int:
    """Return the index of the mask whose outline pixels exceed the reference edge strength by most, in sum."""
    strengths = [edges.ravel()[_outline(mask)].astype(np.float64) for mask in masks]
    reference = _REFERENCE_SHARE * max(float(strength.mean()) if strength.size else 0.0 for strength in strengths)
    return int(np.argmax([(strength - reference).sum() for strength in strengths]))


def _inside(fine: _Regions, coarse: _Regions, contrast: Floats, outline_px: Floats) -> tuple[Floats, Floats]:
    """Return for each coarse region the mean contrast and the outline length of the fine regions inside it."""
    parent = np.zeros(len(contrast), dtype=np.intp)
    parent[fine.labels.ravel()[fine.outline]] = coarse.labels.ravel()[fine.outline]
    count = len(coarse.contrast)
    length = np.bincount(parent, weights=outline_px, minlength=count).astype(np.float64)
    total = np.bincount(parent, weights=outline_px * contrast, minlength=count)
    return total / np.maximum(length, 1), length


def _without_weak(regions: _Regions, min_relative_contrast: float) -> Mask:
    keep = regions.contrast >= max(min_relative_contrast * regions.contrast.max(), _MIN_CONTRAST)
    return np.asarray(keep.astype(np.uint8)[regions.labels])
