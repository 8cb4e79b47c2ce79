"""Semantic maps: which level is the nucleus, and the third level, which is derived from stain density."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Mask
from syncgan.errors import ConfigError, DataError
from syncgan.segmentation.cleaning import remove_small, smooth_outline

__all__ = ["nucleus_of", "stain_levels"]


# Optical density = -log10(intensity / background). Below 0.06 the light lost (13 %) is within the noise and shading of
# the empty background; a stained region must stand out by at least this much.
_MIN_STAIN_DENSITY = 0.06
_DENSITY_SCALE = 255.0


def nucleus_of(mask: NDArray[np.generic], *, levels: int = 2) -> Mask:
    """Return the nucleus level (L-1) of an (H, W) map as a uint8 mask {0, 1}; a {0, 255} mask is read as {0, 1}."""
    array = np.asarray(mask)
    return np.ascontiguousarray(array >= levels - 1 if array.dtype != np.bool_ else array, dtype=np.uint8)


def stain_levels(image: Mask, nucleus: NDArray[np.generic], *, levels: int = 3) -> Mask:
    """Derive the semantic map of an image from its nucleus mask.

    Level 0 is background, level L-1 the nucleus. With ``levels=3``, level 1 is what is stained but not nucleus
    (cytoplasm, red cells, debris): Otsu's threshold on the optical density outside the nuclei, refused where the two
    sides are not clearly apart (an image without cytoplasm has no level 1).

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    nucleus : (H, W) nucleus mask, nonzero = nucleus.
    levels : 2 or 3.

    Returns
    -------
    (H, W) uint8 map 0..levels-1.

    References
    ----------
    Otsu, IEEE Trans. Systems, Man and Cybernetics 9:62, 1979 (threshold); Ruifrok and Johnston, Anal. Quant. Cytol.
    Histol. 23:291, 2001 (optical density).
    """
    if levels not in (2, 3):
        raise ConfigError(
            f"expected levels 2 or 3, got {levels}: more levels must come from a segmenter that declares them"
        )
    if nucleus.shape != image.shape[:2]:
        raise DataError(f"expected an image and its nucleus mask, got {image.shape} and {nucleus.shape}")
    binary = np.ascontiguousarray(nucleus != 0, dtype=np.uint8)
    if levels == 2 or binary.size == 0:
        return binary
    stained = _stained(image, binary)
    return np.where(binary == 1, np.uint8(2), stained)


def _stained(image: Mask, nucleus: Mask) -> Mask:
    density = _optical_density(image)
    threshold = _stain_threshold(density, outside=1 - nucleus)
    if threshold is None:
        return np.zeros_like(nucleus)
    radius_px = max(1, round(min(nucleus.shape) / 128))
    stained = smooth_outline((density > threshold) | (nucleus == 1), radius_px=radius_px)
    speck_px = 0.001 * nucleus.size
    solid = remove_small(stained, min_area_px=speck_px)
    return 1 - remove_small(1 - solid, min_area_px=speck_px)


def _optical_density(image: Mask) -> Mask:
    """Return (H, W) uint8: 255 x density, clipped, of the channel that absorbs most against the brightest part."""
    planes = []
    for plane in cv2.split(image):
        # A blur of a few pixels: sensor noise and grains are no second population.
        blurred = cv2.GaussianBlur(plane, (0, 0), max(1.0, min(plane.shape) / 256))
        counts = cv2.calcHist([blurred], [0], None, [256], [0, 256]).ravel()
        white = max(int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum())), 1)
        density = -np.log10(np.clip(np.arange(256), 1, white) / white)
        planes.append(cv2.LUT(blurred, np.clip(density * _DENSITY_SCALE, 0, 255).round().astype(np.uint8)))
    return np.asarray(cv2.max(cv2.max(planes[0], planes[1]), planes[2]))


def _stain_threshold(density: Mask, *, outside: Mask) -> float | None:
    """Return Otsu's threshold on the scaled densities where `outside` is 1, or None without a second population."""
    counts = cv2.calcHist([density], [0], outside, [256], [0, 256]).ravel().astype(np.float64)
    values = np.arange(256)
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    mass = np.cumsum(counts * values)
    mean_below = mass[:-1] / np.maximum(below, 1)
    mean_above = (mass[-1] - mass[:-1]) / np.maximum(above, 1)
    separation = below * above * (mean_above - mean_below) ** 2
    best = int(separation.argmax())
    if separation[best] == 0 or mean_above[best] - mean_below[best] < _MIN_STAIN_DENSITY * _DENSITY_SCALE:
        return None
    return float(best)
