"""Sizes that shrink with the image: on small images nuclei are a few pixels wide."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.segmentation.cleaning import area_px

__all__ = ["blurred", "small_radius_px", "speck_area_px"]

# Radii and blurs in pixels are meant for images from this shorter side times their value on.
_SIDES_PER_PX = 64

# 40 pixels is half a neutrophil's lobe at 40x; on small images a share of the image, so that nuclei survive.
_SPECK_PX = 40.0
_SPECK_SHARE = 0.002

# A Gaussian narrower than this puts more than 99 % of its weight on the middle pixel.
_MIN_SIGMA_PX = 0.3


def small_radius_px(radius_px: int, shape: tuple[int, ...]) -> int:
    """Return a radius in pixels, at most 1/64 of the shorter side of an image of that shape."""
    return min(radius_px, min(shape[:2]) // _SIDES_PER_PX)


def speck_area_px(min_nucleus_area: float | None, shape: tuple[int, ...]) -> float:
    """Return the area in pixels below which a region is no nucleus.

    Parameters
    ----------
    min_nucleus_area : below 1 a share of the image area, from 1 on pixels; None: 40 pixels, but at most 0.2 % of the
        image.
    shape : of the image, (H, W) or (H, W, 3).
    """
    if min_nucleus_area is not None:
        return area_px(min_nucleus_area, shape)
    return max(1.0, min(_SPECK_PX, area_px(_SPECK_SHARE, shape)))


def blurred(image: NDArray[np.uint8], *, sigma_px: float) -> NDArray[np.uint8]:
    """Return an image after a Gaussian blur of that standard deviation, at most 1/64 of the shorter side."""
    sigma_px = min(sigma_px, min(image.shape[:2]) / _SIDES_PER_PX)
    return image if sigma_px < _MIN_SIGMA_PX else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.uint8)
