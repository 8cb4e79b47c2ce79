"""Nuclei by multi-level Otsu thresholds on the channel with most nuclear contrast."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from skimage.filters import threshold_multiotsu

from syncgan.arrays import Mask
from syncgan.segmentation.classic import ClassicSegmenter
from syncgan.segmentation.stains import nuclear_classes, white_levels

__all__ = ["MultiOtsuSegmenter"]


class MultiOtsuSegmenter(ClassicSegmenter):
    """Nuclei by multi-level Otsu thresholds.

    Call it with an (H, W, 3) uint8 RGB image; it returns an (H, W) uint8 mask {0, 1}. An image without contrast, or
    whose darkest class does not stand out by it, gives an empty mask.

    Notes
    -----
    Nuclear dyes absorb red and green light, while eosin, orange G and haemoglobin let red pass and light green lets
    green pass; so in the larger of red and green (`channel`) nuclei are dark and nearly all else is bright. The darkest
    class is nuclear, and paler ones of the same stain are joined to it.

    References
    ----------
    Liao, Chen and Chung, "A fast algorithm for multilevel thresholding", J. Information Science and Engineering 17:713,
    2001, after Otsu, IEEE Trans. Systems, Man and Cybernetics 9:62, 1979.
    """

    channel: Literal["max_red_green", "red", "green", "gray"] = Field(
        "max_red_green", description="What is thresholded: the larger of red and green, one of them, or gray."
    )
    classes: int = Field(3, ge=2, le=4, description="Classes that the thresholds separate; 2 is the plain Otsu.")
    stain_similarity: float = Field(
        0.9,
        ge=0,
        le=2,
        description="A paler class is nuclear only if its share of light absorbed in red and green alike is at least "
        "this many times the darkest class's.",
    )
    min_density_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="A paler class is nuclear only if it absorbs red and green light at least this share as strongly "
        "as the darkest; 1: the darkest class alone.",
    )

    def _nuclear(self, smooth: Mask) -> NDArray[np.generic]:
        gray = _channel(smooth, self.channel)
        limits = _class_limits(gray, self.classes)
        if len(limits) < 3:
            return np.zeros_like(gray)
        colours = np.array([cv2.mean(smooth, cv2.inRange(gray, low + 1, high))[:3] for low, high in pairwise(limits)])
        count = nuclear_classes(
            colours, white_levels(smooth), similarity=self.stain_similarity, min_density=self.min_density_share
        )
        nuclear = (gray <= _between(gray, limits, count)).astype(np.uint8)
        stands_out = cv2.mean(gray, 1 - nuclear)[0] - cv2.mean(gray, nuclear)[0] >= self.min_contrast
        return nuclear if stands_out else np.zeros_like(gray)


def _between(gray: Mask, limits: list[int], count: int) -> float:
    """Return the gray level halfway between the mean of the first `count` classes and that of the next class.

    That is where Otsu's threshold lies between two classes. So a class that is only the blurred rim of dark nuclei
    leaves the outline where it would be without it.
    """
    nuclear = cv2.mean(gray, cv2.inRange(gray, 0, limits[count]))[0]
    rest = cv2.mean(gray, cv2.inRange(gray, limits[count] + 1, limits[count + 1]))[0]
    return (nuclear + rest) / 2


def _channel(image: Mask, name: str) -> Mask:
    if name == "gray":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    red, green, _ = cv2.split(image)
    choice = {"red": red, "green": green, "max_red_green": cv2.max(red, green)}
    return np.asarray(choice[name], dtype=np.uint8)


def _class_limits(gray: Mask, classes: int) -> list[int]:
    """Return -1, the highest gray level of each class but the last, and 255; one class where there is one level."""
    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    classes = min(classes, int(np.count_nonzero(counts)))
    if classes < 2:
        return [-1, 255]
    multi_otsu: Any = threshold_multiotsu  # untyped
    thresholds = multi_otsu(hist=(counts, np.arange(256)), classes=classes)
    return [-1, *(int(threshold) for threshold in thresholds), 255]
