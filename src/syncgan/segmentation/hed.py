"""Nuclei by colour deconvolution: the part of the light that haematoxylin took."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from skimage.color import hed_from_rgb

from syncgan.arrays import Mask
from syncgan.segmentation.classic import ClassicSegmenter
from syncgan.segmentation.stains import optical_density

__all__ = ["HEDSegmenter"]


# Densities of haematoxylin up to 2 are told apart, in steps of 1/128.
_DENSITY_SCALE = 128.0


class HEDSegmenter(ClassicSegmenter):
    """Nuclei by colour deconvolution and Otsu's threshold on the haematoxylin channel.

    Call it with an (H, W, 3) uint8 RGB image; it returns an (H, W) uint8 mask {0, 1}. An image in which haematoxylin
    has no two populations gives an empty mask.

    Notes
    -----
    The stain vectors are those of haematoxylin, eosin and DAB. The method also serves Giemsa and Papanicolaou stains,
    whose nuclear dyes absorb red light like haematoxylin. Densities are measured against the brightest part of each
    channel, so a colour cast of the lamp does not matter.

    References
    ----------
    Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol.
    23:291, 2001 (vectors as in ``skimage.color.hed_from_rgb``); Otsu, IEEE Trans. Systems, Man and Cybernetics 9:62,
    1979.
    """

    min_density: float = Field(
        0.12,
        ge=0,
        le=2,
        description="Haematoxylin density by which nuclei must exceed the rest on average; otherwise there are none.",
    )

    def _nuclear(self, smooth: Mask) -> NDArray[np.generic]:
        haematoxylin = _haematoxylin(smooth)
        _, nuclear = cv2.threshold(haematoxylin, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        inside, outside = cv2.mean(haematoxylin, nuclear)[0], cv2.mean(haematoxylin, 1 - nuclear)[0]
        two_populations = inside - outside >= self.min_density * _DENSITY_SCALE
        return np.asarray(nuclear) if two_populations else np.zeros_like(haematoxylin)


def _haematoxylin(image: Mask) -> Mask:
    """Return (H, W) uint8: 128 x the density of haematoxylin, clipped."""
    row = (hed_from_rgb[:, :1].T * _DENSITY_SCALE).astype(np.float32)
    density = cv2.transform(optical_density(image), row)
    return np.asarray(cv2.convertScaleAbs(np.maximum(density, 0)))
