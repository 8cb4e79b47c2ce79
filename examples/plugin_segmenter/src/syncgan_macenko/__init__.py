"""Nuclei by haematoxylin, with the colours of the stains estimated from each image (Macenko et al. 2009)."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

__all__ = ["MacenkoSegmenter", "stain_vectors"]

Floats = NDArray[np.float32]

# Fewer stained pixels than this say nothing about the stains.
_MIN_STAINED_PIXELS = 50

# Vectors that are closer than this are one stain, measured twice.
_MIN_ANGLE_DEGREES = 5.0


class MacenkoSegmenter(BaseModel):
    """Threshold the density of haematoxylin, whose colour is estimated for each image.

    An image with one stain only has no second vector to tell haematoxylin from. So the density of all stain is
    thresholded too, and the one with the clearer two populations decides.

    References
    ----------
    Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009, p. 1107; Otsu,
    IEEE Trans. Systems, Man and Cybernetics 9:62, 1979.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Raise it when the masks change: masks are cached by it.
    version: ClassVar[int] = 1

    white_level: int = Field(240, ge=1, le=255, description="Gray level of empty glass.")
    min_density: float = Field(0.1, gt=0, lt=2, description="Mean optical density from which a pixel is stained.")
    extreme_percent: float = Field(1.0, ge=0, lt=50, description="Percentile of the angles that is a pure stain.")
    min_contrast: float = Field(
        0.15, ge=0, le=3, description="Density by which nuclei exceed the rest on average; else there are none."
    )
    min_area_px: int = Field(30, ge=1, description="Smaller regions are no nuclei.")

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the (H, W) bool nucleus mask of an (H, W, 3) uint8 RGB image."""
        density = -np.log10((image.astype(np.float32) + 1) / (self.white_level + 1))
        stained = density[density.mean(axis=2) >= self.min_density]
        if len(stained) < _MIN_STAINED_PIXELS:
            return np.zeros(image.shape[:2], bool)
        candidates = []
        all_stain, _ = _plane(stained)
        for stains in (stain_vectors(stained, extreme_percent=self.extreme_percent), all_stain[None]):
            haematoxylin = density @ np.linalg.pinv(stains).astype(np.float32)[:, 0]  # by least squares
            candidates.append(self._split(cv2.GaussianBlur(haematoxylin, (0, 0), 1.0)))
        _, mask = max(candidates, key=lambda candidate: candidate[0])
        return _large(mask, min_area_px=self.min_area_px)

    def _split(self, values: Floats) -> tuple[float, NDArray[np.bool_]]:
        """Return how clearly Otsu's threshold splits (H, W) densities, from 0 to 1, and what lies above it."""
        scaled = np.clip(values * (255 / max(float(values.max()), 1e-6)), 0, 255).astype(np.uint8)
        _, above = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        inside = above > 0
        if inside.all() or not inside.any():
            return 0.0, np.zeros(values.shape, bool)
        difference = float(values[inside].mean() - values[~inside].mean())
        if difference < self.min_contrast:
            return 0.0, np.zeros(values.shape, bool)
        share = float(inside.mean())
        return share * (1 - share) * difference**2 / float(values.var()), inside


def stain_vectors(stained: Floats, *, extreme_percent: float = 1.0) -> Floats:
    """Estimate the colours of the two stains of an image.

    Parameters
    ----------
    stained : (N, 3) optical densities of the stained pixels.
    extreme_percent : in the plane of the two stains, the angles at this percentile and its mirror are the pure stains.

    Returns
    -------
    (2, 3) unit vectors: haematoxylin, which takes the larger share of red light, and the counterstain. Only one,
    (1, 3), if the angle between them is too small to tell them apart.
    """
    main, second = _plane(stained)
    angles = np.arctan2(stained @ second, stained @ main)
    extremes = np.percentile(angles, (extreme_percent, 100 - extreme_percent))
    if np.degrees(extremes[1] - extremes[0]) < _MIN_ANGLE_DEGREES:
        return main[None]
    vectors = np.array([np.cos(angle) * main + np.sin(angle) * second for angle in extremes])
    return vectors[vectors[:, 0].argsort()[::-1]].astype(np.float32)


def _plane(stained: Floats) -> tuple[Floats, Floats]:
    """Return two orthogonal unit vectors, (3,) each: along which (N, 3) densities extend most, and second most."""
    _, axes = np.linalg.eigh(stained.T.astype(np.float64) @ stained)
    main = axes[:, 2] * np.sign(axes[:, 2].sum())
    return main.astype(np.float32), axes[:, 1].astype(np.float32)


def _large(mask: NDArray[np.bool_], *, min_area_px: int) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(ndimage.binary_fill_holes(mask))
    keep = np.bincount(labels.ravel()) >= min_area_px
    keep[0] = False
    return keep[labels]
