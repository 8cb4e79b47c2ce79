"""The paper's segmenter (Sec. 3.2), computed on a colour histogram.

Stretch -> gray -> adaptive threshold -> Gaussian mixture on colour -> refined mask. The adaptive threshold finds what
is darker than its surroundings; so are red cells and the edges of cytoplasm, which the mixture tells from nuclei.

The one idea that makes it fast: pixels of one colour share one posterior, so after one pass that gives each pixel a
15-bit colour index, the mixture is fitted to a histogram and applied as a table.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from syncgan.config import ConfigSection
from syncgan.segmentation.cleaning import area_px, clean_mask, remove_thin
from syncgan.segmentation.mixture import Mixture, fit_mixture
from syncgan.segmentation.regions import edge_strength, select_regions

__all__ = ["GMMSegmenter"]

Mask = NDArray[np.uint8]
Floats = NDArray[np.float64]

# 16 bins a channel to find the optimum, 32 to polish it.
_COARSE_BITS = 4
_FINE_BITS = 5
_FINE_ITERATIONS = 2

# A local mean needs no fine grid: it is computed on an image reduced by up to this factor.
_MEAN_REDUCTION = 8

# Specks: 40 pixels is half a neutrophil's lobe at 40x; on small images a share of the image, so that nuclei survive.
_SPECK_PX = 40.0
_SPECK_SHARE = 0.002


class GMMSegmenter(ConfigSection):
    """Nuclei by contrast stretching, adaptive threshold and Gaussian-mixture clustering on colour.

    Call it with an (H, W, 3) uint8 RGB image; it returns an (H, W) uint8 mask {0, 1}. An image without contrast gives
    an empty mask.

    Notes
    -----
    The paper names the steps but no parameter. What is open there is a field here, and this is how it was settled:

    * *Which components are nuclei.* Nuclear dyes (haematoxylin, azure) absorb red **and** green light, while eosin,
      orange G and haemoglobin let red pass and light green lets green pass. Components are ranked by the larger of
      their mean red and green; the darkest is nuclear. Paler ones join it, up to `nuclear_components`, if their stain
      is alike (`stain_similarity`; by Beer and Lambert a paler nucleus absorbs the same mixture of light) and if the
      outlines of all of them together follow sharper edges (`syncgan.segmentation.regions`).
    * *Rare colours.* The mixture is fitted to the histogram's counts raised to `tempering`: at 0.5 a nucleus that
      fills 2 % of a field is not drowned by the background. Posterior weights are those of the tempered counts.
    * *Cytoplasm that shares the nucleus' component.* A region is replaced by the darker regions inside it where their
      outline has the higher contrast. A region with a weak outline, or a thin one, is dropped (folds, cell borders).
    * *Large nuclei.* An adaptive threshold hollows out what is larger than its window, so the window grows with the
      image and holes inside nuclei are filled.

    References
    ----------
    Kowal et al., "Computer-aided diagnosis of breast cancer based on fine needle biopsy microscopic images", Computers
    in Biology and Medicine 43:1563, 2013, for adaptive thresholding of cytology, which the paper cites in the authors'
    form of 2011. Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23:291, 2001, for optical densities of stains.
    """

    version: ClassVar[int] = 1

    low_percentile: float = Field(0.5, ge=0, le=20, description="Percentile of a channel that becomes 0.")
    high_percentile: float = Field(99.5, ge=80, le=100, description="Percentile of a channel that becomes 255.")
    min_contrast: int = Field(
        20,
        ge=1,
        le=255,
        description="Gray levels; an image with less in every channel is empty, and none is spread more.",
    )
    window_share: float = Field(
        0.75, gt=0, le=4, description="Side of the adaptive threshold's window, as share of the shorter image side."
    )
    offset: float = Field(
        0.0, ge=-128, le=128, description="Gray levels by which a nucleus must be darker than its surroundings."
    )
    components: int = Field(4, ge=2, le=12, description="Gaussians in the colour mixture.")
    nuclear_components: int = Field(3, ge=1, le=6, description="At most so many of them are nuclei.")
    stain_similarity: float = Field(
        0.85,
        ge=0,
        le=2,
        description="A paler component is nuclear only if its share of light absorbed in red and green alike is at "
        "least this many times the darkest component's.",
    )
    tempering: float = Field(0.5, gt=0, le=1, description="Exponent of the histogram's counts; 1: every pixel counts.")
    iterations: int = Field(
        20, ge=1, le=500, description="EM steps on the coarse histogram. Few keep the components compact in colour."
    )
    edge_sigma_px: float = Field(1.2, gt=0, le=20, description="Scale in pixels at which outlines are measured.")
    min_relative_contrast: float = Field(
        0.25, ge=0, le=1, description="A region's outline contrast, at least, as share of the sharpest region's."
    )
    smoothing_px: int = Field(
        1,
        ge=0,
        le=50,
        description="Radius in pixels of the outline smoothing; at most 1/64 of the shorter side is used.",
    )
    min_radius_px: int = Field(
        3,
        ge=0,
        le=500,
        description="A nucleus holds a disc of this radius in pixels, so threads and folds are not nuclei; at most "
        "1/64 of the shorter side is used.",
    )
    max_hole_share: float = Field(0.5, ge=0, le=1, description="Holes up to this share of their nucleus are filled.")
    min_nucleus_area: float | None = Field(
        None,
        ge=0,
        description="Smaller nuclei are removed; below 1 a share of the image area, from 1 on pixels. "
        "None: 40 pixels, but at most 0.2 % of the image.",
    )

    def __call__(self, image: Mask) -> Mask:
        """Return the (H, W) uint8 nucleus mask {0, 1} of an (H, W, 3) uint8 RGB image."""
        stretched = _stretch(image, self)
        if stretched is None:
            return np.zeros(image.shape[:2], np.uint8)
        dark = _darker_than_surroundings(stretched.planes, self)
        candidates = [self._refined(dark & _likely(p)) for p in _nuclear_posteriors(stretched, self)]
        red, green, _ = stretched.planes
        edges = edge_strength(np.maximum(red, green), sigma_px=self.edge_sigma_px)
        nuclei = select_regions(candidates, edges, min_relative_contrast=self.min_relative_contrast)
        return remove_thin(nuclei, radius_px=_small_radius_px(self.min_radius_px, nuclei))

    def _refined(self, candidate: Mask) -> Mask:
        return clean_mask(
            candidate,
            smoothing_px=_small_radius_px(self.smoothing_px, candidate),
            max_hole_share=self.max_hole_share,
            min_nucleus_area=self._min_area_px(candidate.shape),
        )

    def _min_area_px(self, shape: tuple[int, ...]) -> float:
        if self.min_nucleus_area is not None:
            return area_px(self.min_nucleus_area, shape)
        return max(1.0, min(_SPECK_PX, area_px(_SPECK_SHARE, shape)))


def _small_radius_px(radius_px: int, mask: Mask) -> int:
    # On small images nuclei are a few pixels wide.
    shorter_side: int = min(mask.shape)
    return min(radius_px, shorter_side // 64)


class _Stretched(NamedTuple):
    """Three stretched (H, W) planes, and per channel the gray levels that became 0 and 255."""

    planes: list[Mask]
    black: Floats
    white: Floats


def _stretch(image: Mask, settings: GMMSegmenter) -> _Stretched | None:
    """Stretch each channel between its percentiles, or return None where there is no contrast to stretch."""
    planes = [np.asarray(plane, dtype=np.uint8) for plane in cv2.split(image)]
    limits = np.array([_percentiles(plane, settings) for plane in planes], dtype=np.float64)
    black, white = limits.T
    if (white - black).max() < settings.min_contrast:
        return None
    white = np.maximum(white, black + settings.min_contrast)
    spread = [_spread(plane, low, high - low) for plane, low, high in zip(planes, black, white, strict=True)]
    return _Stretched(spread, black, white)


def _percentiles(plane: Mask, settings: GMMSegmenter) -> tuple[int, int]:
    """Return the gray levels of the nearest rank, so that both occur in the plane."""
    counts = cv2.calcHist([plane], [0], None, [256], [0, 256])
    cumulated = np.cumsum(counts.ravel(), dtype=np.float64)
    ranks = np.array([settings.low_percentile, settings.high_percentile]) / 100 * cumulated[-1]
    low, high = np.searchsorted(cumulated, np.maximum(ranks, 1))
    return int(low), int(high)


def _spread(plane: Mask, low: float, span: float) -> Mask:
    table = np.clip((np.arange(256) - low) * (255 / span), 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(plane, table))


def _darker_than_surroundings(planes: list[Mask], settings: GMMSegmenter) -> Mask:
    """Return {0, 1}: gray value below the local mean minus the offset (adaptive threshold)."""
    gray = cv2.cvtColor(cv2.merge(planes), cv2.COLOR_RGB2GRAY)
    height, width = gray.shape
    factor = max(1, min(_MEAN_REDUCTION, min(height, width) // 16))
    small = cv2.resize(gray, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    # A replicated border keeps the window's size at the edge of the image.
    window = max(1, round(settings.window_share * min(height, width) / factor)) | 1
    local_mean = cv2.blur(small.astype(np.float32), (window, window), borderType=cv2.BORDER_REPLICATE)
    threshold = np.clip(np.ceil(local_mean - settings.offset), 0, 255).astype(np.uint8)
    threshold = cv2.resize(threshold, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(gray < threshold).view(np.uint8)


def _nuclear_posteriors(stretched: _Stretched, settings: GMMSegmenter) -> list[Mask]:
    """Return for n = 1, 2, ... the posterior (0..255) of the n most nuclear components, each (H, W) uint8."""
    index = _colour_index(stretched.planes)
    counts = np.bincount(index.ravel(), minlength=1 << 3 * _FINE_BITS)
    occupied = np.flatnonzero(counts)
    mixture = _fit_coarse_to_fine(counts, settings)
    nuclear = _nuclear_components(mixture, stretched, settings)
    cumulated = np.cumsum(mixture.posteriors(_bin_centres(occupied, _FINE_BITS))[nuclear], axis=0)
    return [_looked_up(index, occupied, share) for share in cumulated]


def _nuclear_components(mixture: Mixture, stretched: _Stretched, settings: GMMSegmenter) -> NDArray[np.intp]:
    """Return the components that may be nuclear, darkest first; at least one, and never all of several."""
    order = mixture.means[:, :2].max(axis=1).argsort(kind="stable")
    order = order[: max(1, min(settings.nuclear_components, len(order) - 1))]
    gray = stretched.black + mixture.means[order] / 255 * (stretched.white - stretched.black)
    density = np.maximum(-np.log10((gray + 1) / (stretched.white + 1)), 1e-3)
    nuclear_share = density[:, :2].min(axis=1) / density.sum(axis=1)
    alike = nuclear_share >= settings.stain_similarity * nuclear_share[0]
    return np.asarray(order[np.logical_and.accumulate(alike)])


def _colour_index(planes: list[Mask]) -> NDArray[np.uint16]:
    """Return (H, W) uint16: the 32 x 32 x 32 colour bin of each pixel, red in the highest bits."""
    index = np.zeros(planes[0].shape, np.uint16)
    for plane in planes:
        index <<= _FINE_BITS
        index |= plane >> 8 - _FINE_BITS
    return index


def _fit_coarse_to_fine(counts: NDArray[np.int64], settings: GMMSegmenter) -> Mixture:
    half = 1 << _COARSE_BITS
    coarse = counts.reshape(half, 2, half, 2, half, 2).sum(axis=(1, 3, 5)).ravel()
    start = _fit(coarse, _COARSE_BITS, settings, iterations=settings.iterations, start=None)
    return _fit(counts, _FINE_BITS, settings, iterations=_FINE_ITERATIONS, start=start)


def _fit(
    counts: NDArray[np.int64], bits: int, settings: GMMSegmenter, *, iterations: int, start: Mixture | None
) -> Mixture:
    occupied = np.flatnonzero(counts)
    return fit_mixture(
        _bin_centres(occupied, bits),
        counts[occupied].astype(np.float64) ** settings.tempering,
        components=settings.components,
        bin_width=256 / (1 << bits),
        iterations=iterations,
        start=start,
    )


def _bin_centres(bins: NDArray[np.intp], bits: int) -> NDArray[np.float64]:
    last, width = (1 << bits) - 1, 256 / (1 << bits)
    steps = np.stack([bins >> 2 * bits, bins >> bits & last, bins & last])
    return steps * width + (width - 1) / 2


def _looked_up(index: NDArray[np.uint16], occupied: NDArray[np.intp], share: NDArray[np.float64]) -> Mask:
    table = np.zeros(1 << 3 * _FINE_BITS, np.uint8)
    table[occupied] = np.round(255 * np.minimum(share, 1.0))
    return np.asarray(table.take(index))


def _likely(posterior: Mask) -> Mask:
    """Return {0, 1}: posterior above one half after a 3 x 3 mean, which takes pixel noise off the outline."""
    _, likely = cv2.threshold(cv2.blur(posterior, (3, 3)), 127, 1, cv2.THRESH_BINARY)
    return np.asarray(likely, dtype=np.uint8)
