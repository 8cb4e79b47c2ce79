"""Physical clean-up of nucleus masks.

What is known of a nucleus without any annotation: it is not a speck, it has no hole, its outline is smooth, and it
does not fill the field of view.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Mask

__all__ = [
    "area_px",
    "clean_mask",
    "fill_holes",
    "outline_of",
    "remove_small",
    "remove_thin",
    "smooth_outline",
]


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


def _binary(mask: NDArray[np.generic]) -> Mask:
    return np.ascontiguousarray(np.asarray(mask) != 0, dtype=np.uint8)


def _disc(radius_px: int) -> Mask:
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
