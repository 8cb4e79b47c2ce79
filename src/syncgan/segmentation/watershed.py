"""Nuclei as instances: a foreground, cut by the watershed where nuclei touch."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from syncgan.config import ConfigSection
from syncgan.segmentation.gmm import GMMSegmenter
from syncgan.segmentation.hed import HEDSegmenter
from syncgan.segmentation.kmeans import KMeansSegmenter
from syncgan.segmentation.otsu import MultiOtsuSegmenter
from syncgan.segmentation.splitting import split_touching

__all__ = ["WatershedSegmenter"]

_FOREGROUNDS = {"gmm": GMMSegmenter, "hed": HEDSegmenter, "kmeans": KMeansSegmenter, "otsu": MultiOtsuSegmenter}


class WatershedSegmenter(ConfigSection):
    """Touching nuclei separated by the watershed of the distance to their outline.

    Call it with an (H, W, 3) uint8 RGB image; it returns (H, W) int32 instance labels: 0 background, 1..N nuclei. An
    image without contrast has no nucleus.

    References
    ----------
    Vincent and Soille, IEEE Trans. Pattern Analysis and Machine Intelligence 13:583, 1991; Malpica et al., "Applying
    watershed algorithms to the segmentation of clustered nuclei", Cytometry 28:289, 1997. The rule by which summits
    are merged is that of `syncgan.segmentation.splitting`.
    """

    version: ClassVar[int] = 1

    foreground: Literal["gmm", "hed", "kmeans", "otsu"] = Field(
        "kmeans", description="Segmenter, with its default parameters, whose mask is cut."
    )
    max_neck: float = Field(
        0.8, gt=0, lt=1, description="A neck is cut if it is at most this share of the narrower part's width."
    )
    min_radius_px: float = Field(
        3.0, ge=0, le=500, description="A part that holds no disc of this radius in pixels is not cut off."
    )

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the (H, W) int32 instance labels of an (H, W, 3) uint8 RGB image."""
        mask = _FOREGROUNDS[self.foreground]()(image)
        return split_touching(mask, min_radius_px=self.min_radius_px, max_neck=self.max_neck)
