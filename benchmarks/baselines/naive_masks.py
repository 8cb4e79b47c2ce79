"""The paper's extractor (Sec. 3.2) as one writes it with scikit-image and scikit-learn: the baseline for `syncgan`.

Percentile stretching, gray values, adaptive threshold, a Gaussian mixture on the colours of every pixel, the darkest
component as nucleus, small objects and holes removed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.exposure import rescale_intensity
from skimage.filters import threshold_local
from skimage.morphology import closing, disk, opening, remove_small_holes, remove_small_objects
from sklearn.mixture import GaussianMixture

__all__ = ["naive_mask"]


def naive_mask(
    image: NDArray[np.uint8], *, components: int = 3, fit_pixels: int | None = None, seed: int = 0
) -> NDArray[np.uint8]:
    """Segment nuclei.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    components : Gaussians in the mixture: background, cytoplasm or red cells, nuclei.
    fit_pixels : fit the mixture to so many random pixels; None uses all.
    seed : of the mixture's start and of that draw.

    Returns
    -------
    (H, W) uint8 mask {0, 1}.
    """
    stretched = np.stack([_stretched(image[..., channel]) for channel in range(3)], axis=-1)
    gray = rgb2gray(stretched)
    window = int(0.75 * min(gray.shape)) // 2 * 2 + 1
    dark = gray < threshold_local(gray, window, method="mean")
    nuclear = dark & _darkest_component(stretched, components, fit_pixels, seed)
    smooth = closing(opening(nuclear, disk(1)), disk(1))
    solid = remove_small_objects(smooth, max_size=40)
    return np.asarray(remove_small_holes(solid, max_size=200), dtype=np.uint8)


def _stretched(channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    low, high = np.percentile(channel, (0.5, 99.5))
    return np.asarray(
        rescale_intensity(channel.astype(float), in_range=(low, max(high, low + 1)), out_range=(0.0, 1.0))
    )


def _darkest_component(
    stretched: NDArray[np.float64], components: int, fit_pixels: int | None, seed: int
) -> NDArray[np.bool_]:
    pixels = stretched.reshape(-1, 3)
    sample = pixels
    if fit_pixels is not None and fit_pixels < len(pixels):
        sample = pixels[np.random.default_rng(seed).choice(len(pixels), fit_pixels, replace=False)]
    mixture = GaussianMixture(components, random_state=seed, reg_covar=1e-5).fit(sample)
    nucleus = mixture.means_.sum(axis=1).argmin()
    return np.asarray(mixture.predict(pixels) == nucleus).reshape(stretched.shape[:2])
