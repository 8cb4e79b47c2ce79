"""Nuclei outlined on their image: the quickest check of a mask is to look at it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.errors import DataError

__all__ = ["overlay"]

# Pure green is rare in any cytological stain; orange marks the optional "stained, but not nucleus" level.
_NUCLEUS_RGB = (0, 255, 0)
_STAINED_RGB = (255, 160, 0)


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], *, levels: int | None = None, thickness_px: int = 1
) -> NDArray[np.uint8]:
    """Draw the outline of every nucleus, and of the levels below it, on a copy of the image.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    mask : (H, W) uint8 map 0..L-1 with the nucleus highest; {0, 255} is read as {0, 1}.
    levels : L; None takes the highest value in the mask as nucleus.
    thickness_px : width of the outline in pixels, at least 1.

    Returns
    -------
    (H, W, 3) uint8 RGB: nuclei outlined in green, other stained regions in orange.

    Raises
    ------
    DataError
        Image and mask differ in size or have the wrong number of axes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or mask.shape != image.shape[:2]:
        raise DataError(f"expected an (H, W, 3) image and its (H, W) mask, got {image.shape} and {mask.shape}")
    drawn = np.ascontiguousarray(image).copy()
    nucleus = max(int(mask.max(initial=0)), 1) if levels is None else levels - 1
    present = sorted({int(level) for level in np.unique(mask)} - {0})
    for level in present:
        colour = _NUCLEUS_RGB if level >= nucleus else _STAINED_RGB
        region = np.ascontiguousarray(mask >= level, dtype=np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, colour, max(int(thickness_px), 1))
    return drawn
