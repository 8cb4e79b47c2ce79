"""What the classical segmenters share: frames left out, a slight blur, a test of contrast, and the clean-up after.

A subclass says which pixels look nuclear; the base class makes nuclei of them. The clean-up is `gmm`'s too.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from syncgan.arrays import Mask
from syncgan.config import ConfigSection
from syncgan.segmentation.borders import segmented_inside
from syncgan.segmentation.cleaning import clean_mask, remove_thin
from syncgan.segmentation.scale import blurred, small_radius_px, speck_area_px

__all__ = ["ClassicSegmenter", "CleanedSegmenter"]


class CleanedSegmenter(ConfigSection):
    """Base of segmenters whose masks are smoothed, filled and freed of specks."""

    smoothing_px: int = Field(
        1,
        ge=0,
        le=50,
        description="Radius in pixels of the outline smoothing; at most 1/64 of the shorter side is used.",
    )
    max_hole_share: float = Field(0.5, ge=0, le=1, description="Holes up to this share of their nucleus are filled.")
    min_nucleus_area: float | None = Field(
        None,
        ge=0,
        description="Smaller nuclei are removed; below 1 a share of the image area, from 1 on pixels. "
        "None: 40 pixels, but at most 0.2 % of the image.",
    )

    def _cleaned(self, nuclear: NDArray[np.generic]) -> Mask:
        return clean_mask(
            nuclear,
            smoothing_px=small_radius_px(self.smoothing_px, nuclear.shape),
            max_hole_share=self.max_hole_share,
            min_nucleus_area=speck_area_px(self.min_nucleus_area, nuclear.shape),
        )


class ClassicSegmenter(CleanedSegmenter):
    """Base of segmenters that classify the pixels of a slightly blurred image and then clean up."""

    version: ClassVar[int] = 1

    blur_px: float = Field(
        1.5,
        ge=0,
        le=20,
        description="Standard deviation in pixels of the blur before; at most 1/64 of the shorter side is used.",
    )
    min_contrast: int = Field(
        20, ge=1, le=255, description="Gray levels; after the blur, an image with less in every channel is empty."
    )
    min_radius_px: int = Field(
        3,
        ge=0,
        le=500,
        description="A nucleus holds a disc of this radius in pixels, so threads and folds are not nuclei; at most "
        "1/64 of the shorter side is used.",
    )

    def __call__(self, image: Mask) -> Mask:
        """Return the (H, W) uint8 nucleus mask {0, 1} of an (H, W, 3) uint8 RGB image."""
        return segmented_inside(image, self._segmented)

    def _segmented(self, image: Mask) -> Mask | None:
        smooth = blurred(image, sigma_px=self.blur_px)
        return None if _contrast(smooth) < self.min_contrast else self._refined(self._nuclear(smooth))

    @abstractmethod
    def _nuclear(self, smooth: Mask) -> NDArray[np.generic]:
        """Return an (H, W) mask, nonzero where the blurred (H, W, 3) image looks nuclear; it has some contrast."""

    def _refined(self, nuclear: NDArray[np.generic]) -> Mask:
        nuclei = self._cleaned(nuclear)
        nuclei = remove_thin(nuclei, radius_px=small_radius_px(self.min_radius_px, nuclei.shape))
        # Filling holes may have closed the last one: a field without an outline holds no nucleus that can be told.
        return np.zeros_like(nuclei) if nuclei.all() else nuclei


def _contrast(image: Mask) -> float:
    """Return the range of gray levels of the channel with the widest one."""
    ranges = [cv2.minMaxLoc(plane)[:2] for plane in cv2.split(image)]
    return max(highest - lowest for lowest, highest in ranges)
