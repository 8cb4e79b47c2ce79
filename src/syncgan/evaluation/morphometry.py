"""Nuclei as a pathologist measures them: size, shape, staining and texture, as features of an image with its mask.

Unlike a network's features each of these has a name and a unit, needs no weights, and looks at nuclei alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as label_regions
from skimage.measure import regionprops
from torch import Tensor

from syncgan.errors import DataError

__all__ = ["MEASUREMENTS", "MORPHOMETRY", "nuclear_features", "standardised"]

MORPHOMETRY = "nuclear morphometry"
"""Name of this space of features."""

_OF_NUCLEUS = ("log area", "eccentricity", "solidity", "red", "green", "blue", "brightness deviation", "gradient")
MEASUREMENTS = (
    "log nuclei",
    "nuclear share",
    *(f"{name}, mean" for name in _OF_NUCLEUS),
    *(f"{name}, deviation" for name in _OF_NUCLEUS),
)
"""Names of the features: nuclei of the image; share of the image that is nucleus; mean and standard deviation over the
nuclei of each one's area (log of the share of the image), shape, mean colours, deviation of brightness and mean
gradient of brightness inside."""

_SMALLEST_NUCLEUS_PX = 16  # what is smaller has no shape, only steps of pixels
_CLIP = 5.0


def nuclear_features(images: Tensor, masks: NDArray[np.uint8], *, levels: int = 2) -> NDArray[np.float64]:
    """Measure the nuclei of images: (N, 18), see `MEASUREMENTS`.

    Where an image has no nucleus, what is measured on nuclei is 0; with one nucleus deviations are 0.

    Parameters
    ----------
    images : (N, 3, H, W) uint8.
    masks : (N, H, W) with values 0 .. levels-1; the highest is the nucleus, and touching nuclei count as one.
    """
    if images.ndim != 4 or images.shape[1] != 3 or len(images) != len(masks):
        raise DataError(f"expected images (N, 3, H, W) and N masks, got {tuple(images.shape)} and {len(masks)} masks")
    pixels = images.cpu().numpy().transpose(0, 2, 3, 1) / 255
    rows = [_measure(image, mask >= levels - 1) for image, mask in zip(pixels, np.asarray(masks), strict=True)]
    return np.array(rows).reshape(len(rows), len(MEASUREMENTS))


def standardised(features: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features in standard deviations from the mean of `reference`, cut off at five.

    The cubic kernel would otherwise see nothing but the one image in which something is a hundred deviations off.
    """
    deviation = np.maximum(reference.std(axis=0), 1e-6)
    return np.asarray(np.clip((features - reference.mean(axis=0)) / deviation, -_CLIP, _CLIP))


def _measure(image: NDArray[np.float64], nucleus: NDArray[np.bool_]) -> NDArray[np.float64]:
    brightness = image.mean(axis=2)
    gradient = np.hypot(*np.gradient(brightness))
    channels = np.dstack([image, brightness, brightness**2, gradient])
    regions = regionprops(label_regions(nucleus, connectivity=2), channels)  # type: ignore[no-untyped-call]
    nuclei = [_of_nucleus(region, nucleus.size) for region in regions if region.area >= _SMALLEST_NUCLEUS_PX]
    of_all = np.array(nuclei or [[0.0] * len(_OF_NUCLEUS)])
    return np.array([np.log1p(len(nuclei)), nucleus.mean(), *of_all.mean(axis=0), *of_all.std(axis=0)])


def _of_nucleus(region: Any, pixels: int) -> list[float]:
    *colours, brightness, squared, gradient = map(float, region.intensity_mean)
    deviation = float(np.sqrt(max(squared - brightness**2, 0.0)))
    return [float(np.log(region.area / pixels)), region.eccentricity, region.solidity, *colours, deviation, gradient]
