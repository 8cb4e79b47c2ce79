"""Physical clean-up of masks, the three-level map, and the rule by which a mask is left out.

What is known of a nucleus without any annotation: it is not a speck, it has no hole, its outline is smooth, and it
does not fill the field of view.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.errors import ConfigError, DataError

__all__ = [
    "MAX_NUCLEUS_SHARE",
    "clean_mask",
    "fill_holes",
    "mask_problem",
    "nucleus_areas_px",
    "outline_of",
    "remove_small",
    "remove_thin",
    "smooth_outline",
    "stain_levels",
]

Mask = NDArray[np.uint8]

MAX_NUCLEUS_SHARE = 0.8
"""A field with more than this share of nucleus has no outline to learn from."""

# Optical density = -log10(intensity / background). Below 0.06 the light lost (13 %) is within the noise and shading of
# the empty background; a stained region must stand out by at least this much.
_MIN_STAIN_DENSITY = 0.06
_DENSITY_SCALE = 255.0


def clean_mask(
    mask: NDArray[np.generic],
    *,
    min_nucleus_area: float = 0.0,
    max_hole_share: float = 1.0,
    smoothing_px: int = 0,
) -> Mask:
    """Smooth outlines, fill holes and remove specks, in this order.

    Parameters
    ----------
    mask : (H, W) bool or integer nucleus mask, nonzero = nucleus.
    min_nucleus_area : regions that enclose less are removed; below 1 a share of the image area, from 1 on pixels.
    max_hole_share : holes up to this share of the area that encloses them are filled; 0 fills none.
    smoothing_px : radius of the outline smoothing in pixels; 0 leaves outlines alone.

    Returns
    -------
    (H, W) uint8 mask {0, 1}.
    """
    cleaned = smooth_outline(mask, radius_px=smoothing_px)
    return _tidied(cleaned, max_hole_share=max_hole_share, min_area_px=area_px(min_nucleus_area, cleaned.shape))


def area_px(area: float, shape: tuple[int, ...]) -> float:
    """Return an area in pixels from a share of the image area (below 1) or from pixels (1 and above)."""
    return area * shape[0] * shape[1] if area < 1 else area


def outline_of(mask: Mask) -> Mask:
    """Return the pixels of an (H, W) uint8 mask {0, 1} with background among their eight neighbours, as such a mask.

    The image border is no outline.
    """
    return np.asarray(cv2.subtract(mask, cv2.erode(mask, np.ones((3, 3), np.uint8))))


def remove_small(mask: NDArray[np.generic], *, min_area_px: float) -> Mask:
    """Remove 8-connected regions of an (H, W) mask that enclose fewer than `min_area_px` pixels, holes included."""
    return _tidied(_binary(mask), max_hole_share=0.0, min_area_px=min_area_px)


def remove_thin(mask: NDArray[np.generic], *, radius_px: int) -> Mask:
    """Remove 8-connected regions of an (H, W) mask into which no disc of that radius fits; returns uint8 {0, 1}."""
    binary = _binary(mask)
    if radius_px < 1:
        return binary
    count, labels = cv2.connectedComponents(binary, connectivity=8)
    keep = np.zeros(count, np.uint8)
    keep[labels[cv2.erode(binary, _disc(radius_px)) > 0]] = 1
    return np.asarray(keep[labels])


def fill_holes(mask: NDArray[np.generic], *, max_hole_share: float = 1.0) -> Mask:
    """Fill holes of an (H, W) mask; returns uint8 {0, 1}.

    A hole is a background region that does not touch the image border. It is filled if it is at most `max_hole_share`
    of the area inside the outline that encloses it, so that a ring of touching nuclei around empty glass stays a ring.
    """
    return _tidied(_binary(mask), max_hole_share=max_hole_share, min_area_px=0.0)


def _tidied(binary: Mask, *, max_hole_share: float, min_area_px: float) -> Mask:
    """Fill holes and remove specks in place. Working on outlines costs a tenth of labelling every pixel."""
    # The hierarchy is None where there are no contours, which OpenCV's type stubs do not say.
    found: Any = cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours, hierarchy = found
    if hierarchy is None:
        return binary
    parents = hierarchy.reshape(-1, 4)[:, 3]
    areas = [_enclosed_px(contour) for contour in contours]
    rows = list(zip(contours, areas, parents, strict=True))
    # The outline of a hole runs over nucleus pixels, so filling it closes the hole and changes nothing else.
    holes = [contour for contour, area, parent in rows if parent >= 0 and area <= max_hole_share * areas[parent]]
    specks = [contour for contour, area, parent in rows if parent < 0 and area < min_area_px]
    cv2.drawContours(binary, holes, -1, 1, cv2.FILLED)
    return np.asarray(cv2.drawContours(binary, specks, -1, 0, cv2.FILLED))


def _enclosed_px(contour: NDArray[np.int32]) -> float:
    """Return the number of pixels on and inside a chain of neighbouring pixels (Pick's theorem)."""
    return float(cv2.contourArea(contour)) + len(contour) / 2 + 1


def smooth_outline(mask: NDArray[np.generic], *, radius_px: int) -> Mask:
    """Open, then close an (H, W) mask with a disc: narrower spurs and notches go. Returns uint8 {0, 1}."""
    if radius_px < 1:
        return _binary(mask)
    disc = _disc(radius_px)
    opened = cv2.morphologyEx(_binary(mask), cv2.MORPH_OPEN, disc)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disc))


def nucleus_areas_px(mask: NDArray[np.generic], *, levels: int = 2) -> NDArray[np.int64]:
    """Return the areas of the 8-connected nucleus regions (level L-1) in pixels, largest first."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(nucleus_of(mask, levels=levels), connectivity=8)
    return np.sort(stats[1:, cv2.CC_STAT_AREA].astype(np.int64))[::-1]


def nucleus_of(mask: NDArray[np.generic], *, levels: int = 2) -> Mask:
    """Return the nucleus level (L-1) of an (H, W) map as a uint8 mask {0, 1}; a {0, 255} mask is read as {0, 1}."""
    array = np.asarray(mask)
    return np.ascontiguousarray(array >= levels - 1 if array.dtype != np.bool_ else array, dtype=np.uint8)


def mask_problem(
    mask: NDArray[np.generic], levels: int = 2, *, max_nucleus_share: float = MAX_NUCLEUS_SHARE
) -> str | None:
    """Say why a mask cannot be used for training, or None if it can.

    The rule: a mask fails if it holds no nucleus, or if nuclei cover more than `max_nucleus_share` of the image.

    Parameters
    ----------
    mask : (H, W) uint8 map 0..L-1, nucleus = L-1.
    levels : L.
    """
    nucleus = nucleus_of(mask, levels=levels)
    share = float(nucleus.mean()) if nucleus.size else 0.0
    if share == 0.0:
        return "no nucleus found"
    if share > max_nucleus_share:
        return f"nuclei cover {share:.0%} of the image, more than {max_nucleus_share:.0%}"
    return None


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
    binary = _binary(nucleus)
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


def _binary(mask: NDArray[np.generic]) -> Mask:
    return np.ascontiguousarray(np.asarray(mask) != 0, dtype=np.uint8)


def _disc(radius_px: int) -> Mask:
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
