"""The default segmenter: no stain, magnification or annotation is asked for; it looks for what a nucleus looks like.

Brightness in the light that nuclear dyes absorb -> evened out -> nested candidate masks at a few thresholds ->
the best region of each nest -> outlines at full resolution. Everything but the last step is done on an image reduced
until a typical nucleus is a few pixels wide: chromatin, grains and noise are gone, and it takes milliseconds.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from skimage.filters import threshold_multiotsu

from syncgan.arrays import Mask
from syncgan.config import ConfigSection
from syncgan.segmentation.borders import segmented_inside
from syncgan.segmentation.cleaning import area_px, clean_mask, remove_thin
from syncgan.segmentation.instances import regions_of
from syncgan.segmentation.regions import (
    Evidence,
    Regions,
    chosen_thresholds,
    compact_labels,
    cut_necks,
    parted_at_borders,
)
from syncgan.segmentation.stains import nuclear_brightness, optical_density

__all__ = ["AutoSegmenter"]


# The first look at an image, for contrast and the size of nuclei, needs no more than this shorter side.
_OVERVIEW_PX = 160

# An image is never reduced to less than this shorter side.
_MIN_SIDE_PX = 48

# Beyond so many pixels, speed counts more than the last bit of the outlines, as long as nuclei have such a radius.
_MANY_PX = 40_000
_LEAST_RADIUS_PX = 2.5

# Noise is blurred by so much on the reduced image, where a nucleus is a few pixels wide.
_BLUR_PX = 1.0
_EDGE_SIGMA_PX = 1.2

# Several thresholds are searched for on a histogram of so many bins: the time grows with a power of their number.
_OTSU_BINS = 64

# Local means need no finer grid than this many cells along the shorter side.
_MEAN_GRID = 64

# In units of a typical nucleus' radius: what is smaller or thinner is no nucleus, and no part of one is cut off.
_SMALLEST_AREA = 0.25
_THINNEST_RADIUS = 0.3

# Nuclei of at least this radius in pixels have outlines to smooth.
_SMOOTHED_FROM_PX = 5.0

# An outline with less than this many gray levels a pixel is shading.
_MIN_EDGE = 2.0

# A region must be darker than its surroundings by this share of what is typical: 0.15 if it is stained alike, and up to
# 0.6 if it absorbs a mixture of light that is only 0.8 as nuclear (red cells, folds of cytoplasm).
_LIKENESS = (0.8, 1.0)
_MIN_STEP = (0.6, 0.15)


class AutoSegmenter(ConfigSection):
    """Nuclei in any stain, by choosing for every nucleus the threshold at which it is most like a nucleus.

    Call it with an (H, W, 3) uint8 RGB image; it returns an (H, W) uint8 mask {0, 1}, in which touching nuclei are
    parted by a thin line of background. An image without contrast gives an empty mask.

    Notes
    -----
    1. *Brightness in nuclear light* (`syncgan.segmentation.stains.nuclear_brightness`): haematoxylin and azure absorb
       red and green; red cells, eosin, orange and brown let red pass, green cytoplasm lets green pass.
    2. *Scale.* The image is reduced until a typical nucleus has a radius of about `working_radius_px`, so every size
       below is a share of a nucleus, whatever the magnification.
    3. *Shading.* Half of the difference between the local mean and the mean is taken off.
    4. *Candidates.* Between the lower of two Otsu thresholds (nuclei against cytoplasm) and the single one (stained
       against empty) lie `candidates` nested masks; below them one at the lowest of three thresholds, for nuclei in
       cytoplasm of their own stain. Narrow necks between touching nuclei are cut.
    5. *Choice* (`syncgan.segmentation.regions`): region by region, the finer or the coarser candidate, by contrast and
       evenness, compactness, size, and whether the rim is of the core's stain.
    6. *What is left out:* pale regions of another stain, shading, specks, threads.
    7. *Outlines.* Each nucleus gets its own limit, halfway to the middle between its inside and its surroundings.

    Flat frames (letter-boxes) and black surrounds (round fields of view) take no part. No weights, no random numbers:
    one image, one mask.

    References
    ----------
    Otsu, IEEE Trans. Systems, Man and Cybernetics 9:62, 1979; Liao et al., J. Information Science and Engineering
    17:713, 2001 (several thresholds). Arteta et al., "Learning to detect cells using non-overlapping extremal regions",
    MICCAI 2012, for the choice among nested regions, here without learning.
    """

    version: ClassVar[int] = 1

    min_contrast: int = Field(
        20, ge=1, le=255, description="Gray levels of nuclear brightness; an image with less is empty."
    )
    working_radius_px: float = Field(
        6.0,
        ge=2.5,
        le=100,
        description="The image is halved while a typical nucleus keeps this radius; a large one down to 2.5.",
    )
    candidates: int = Field(
        3, ge=1, le=16, description="Nested masks among which each nucleus is chosen, besides the darkest."
    )
    evening: float = Field(
        0.5, ge=0, le=1, description="Share of the difference between local and global mean that is taken off."
    )
    window_share: float = Field(
        0.75, gt=0, le=4, description="Side of the local mean's window, as share of the shorter image side."
    )
    stain_similarity: float = Field(
        0.82,
        ge=0,
        le=1.5,
        description="A paler rim belongs to a nucleus if its share of light absorbed in red and green alike is about "
        "this many times the core's, or more.",
    )
    max_neck: float = Field(
        0.7, gt=0, le=1, description="Touching nuclei are parted where the neck is at most this share of their width."
    )
    min_relative_contrast: float = Field(
        0.15, ge=0, le=1, description="A region's outline contrast, at least, as share of the sharpest region's."
    )
    max_hole_share: float = Field(0.2, ge=0, le=1, description="Holes up to this share of their nucleus are filled.")
    min_nucleus_area: float | None = Field(
        None,
        ge=0,
        description="Smaller nuclei are removed; below 1 a share of the image area, from 1 on pixels. "
        "None: about a twelfth of a typical nucleus.",
    )

    def __call__(self, image: Mask) -> Mask:
        """Return the (H, W) uint8 nucleus mask {0, 1} of an (H, W, 3) uint8 RGB image."""
        return segmented_inside(image, self._segmented)

    def _segmented(self, image: Mask) -> Mask | None:
        radius_px = self._typical_radius_px(image)
        return None if radius_px is None else self._nuclei(image, radius_px)

    def _typical_radius_px(self, image: Mask) -> float | None:
        """Return the radius of a typical nucleus at first sight, or None where there is no contrast."""
        factor = max(1, min(image.shape[:2]) // _OVERVIEW_PX)
        brightness = _blurred(nuclear_brightness(_reduced(image, factor)))
        lowest, highest, _, _ = cv2.minMaxLoc(brightness)
        if highest - lowest < self.min_contrast:
            return None
        dark = _below(brightness, _lowest_threshold(brightness, classes=3))
        # Inside a disc of radius r the mean distance to the outline is r / 3.
        depth: float = cv2.mean(cv2.distanceTransform(dark, cv2.DIST_L2, 3), dark)[0]
        return float(3 * factor * depth)

    def _nuclei(self, image: Mask, radius_px: float) -> Mask:
        factor = self._reduction(image.shape, radius_px)
        # At first sight, cytoplasm may have counted as nucleus.
        work = _Work.of(_reduced(image, factor), min(radius_px / factor, self.working_radius_px), self)
        chosen = chosen_thresholds(
            [Regions.of(mask, work.evidence, threshold) for threshold, mask in work.candidates(self)],
            alike=self.stain_similarity,
        )
        mask = _outlined(self._limits(chosen, work), work, image, factor)
        # Parting leaves crumbs along the line.
        smallest_px = work.smallest_px * factor**2
        if self.min_nucleus_area is not None:
            smallest_px = area_px(self.min_nucleus_area, mask.shape)
        return clean_mask(mask, max_hole_share=self.max_hole_share, min_nucleus_area=smallest_px)

    def _reduction(self, shape: tuple[int, ...], radius_px: float) -> int:
        height, width = shape[:2]
        factor = 1
        while min(height, width) >= 2 * factor * _MIN_SIDE_PX:
            many = height * width > _MANY_PX * factor**2
            if radius_px < 2 * factor * (_LEAST_RADIUS_PX if many else self.working_radius_px):
                break
            factor *= 2
        return factor

    def _limits(self, chosen: Mask, work: _Work) -> Mask:
        """Return for each pixel the brightness up to which its nucleus reaches, 0 where there is none.

        Only regions that are sharp, dark and thick enough beside the others are nuclei; those that touch are parted.
        """
        regions = Regions.of(np.minimum(chosen, 1), work.evidence)
        strong = self._strong(regions).take(regions.labels).astype(np.uint8)
        thick = remove_thin(strong, radius_px=round(work.thinnest_px))
        parted = cut_necks(thick, min_radius_px=work.thinnest_px, max_neck=self.max_neck)
        return parted * _midway(regions, chosen).take(regions.labels)

    def _strong(self, regions: Regions) -> NDArray[np.bool_]:
        weight = regions.score * regions.area_px
        typical_step = np.average(regions.step, weights=weight) if weight.any() else 0.0
        core = (weight * regions.nuclear).sum() / max((weight * regions.total).sum(), 1e-6)
        likeness = regions.nuclear / np.maximum(regions.total, 1e-6) / max(core, 1e-6)
        strong = regions.contrast >= max(self.min_relative_contrast * regions.contrast.max(), _MIN_EDGE)
        strong &= regions.step >= np.interp(likeness, _LIKENESS, _MIN_STEP) * typical_step
        strong[0] = False
        return np.asarray(strong)


class _Work(NamedTuple):
    """The reduced image: what regions are judged by, the shading taken off, and the radius of a typical nucleus."""

    evidence: Evidence
    shading: NDArray[np.float32]
    radius_px: float

    @classmethod
    def of(cls, image: Mask, radius_px: float, settings: AutoSegmenter) -> _Work:
        smooth = _blurred(image)
        brightness = nuclear_brightness(smooth)
        shading = _shading(brightness, settings)
        brightness = np.clip(brightness - shading, 0, 255).astype(np.uint8)
        density = optical_density(smooth)
        red, green, blue = cv2.split(density)
        nuclear, total = np.asarray(cv2.min(red, green), np.float32), np.asarray(red + green + blue, np.float32)
        evidence = Evidence(brightness, _edges(brightness), nuclear, total)
        return cls(evidence, shading, radius_px)

    @property
    def smallest_px(self) -> float:
        return _SMALLEST_AREA * self.radius_px**2

    @property
    def thinnest_px(self) -> float:
        return _THINNEST_RADIUS * self.radius_px

    def candidates(self, settings: AutoSegmenter) -> list[tuple[int, Mask]]:
        """Return thresholds, rising, and their masks, each inside the next but for the cuts."""
        brightness = self.evidence.brightness
        stained = _single_threshold(brightness)
        nuclear, darkest = (min(_lowest_threshold(brightness, classes=classes), stained) for classes in (3, 4))
        between = np.linspace(nuclear, stained, settings.candidates)
        masks: list[tuple[int, Mask]] = []
        whole = np.zeros_like(brightness)
        for threshold in np.unique(np.append(between, min(darkest, nuclear)).round().astype(int)):
            whole |= clean_mask(
                _below(brightness, int(threshold)),
                smoothing_px=int(self.radius_px >= _SMOOTHED_FROM_PX),
                max_hole_share=settings.max_hole_share,
                min_nucleus_area=self.smallest_px,
            )
            parted = cut_necks(whole, min_radius_px=self.thinnest_px, max_neck=settings.max_neck)
            masks.append((int(threshold), parted))
        return masks


def _reduced(image: Mask, factor: int) -> Mask:
    height, width = image.shape[:2]
    if factor == 1:
        return image
    size = max(1, width // factor), max(1, height // factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _blurred(image: Mask) -> Mask:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), _BLUR_PX), dtype=np.uint8)


def _below(brightness: Mask, threshold: int) -> Mask:
    """Return {0, 1}: brightness up to the threshold."""
    return np.asarray(cv2.threshold(brightness, threshold, 1, cv2.THRESH_BINARY_INV)[1], dtype=np.uint8)


def _single_threshold(brightness: Mask) -> int:
    return int(cv2.threshold(brightness, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])


def _lowest_threshold(brightness: Mask, *, classes: int) -> int:
    """Return the lowest of the thresholds that part brightness into classes by Otsu's criterion.

    Where brightness has fewer values than that, it is the one that parts it into two.
    """
    counts = cv2.calcHist([brightness], [0], None, [_OTSU_BINS], [0, 256]).ravel()
    if np.count_nonzero(counts) < classes:
        return _single_threshold(brightness)
    last_of_bin = np.arange(1, _OTSU_BINS + 1) * (256 // _OTSU_BINS) - 1
    return int(threshold_multiotsu(hist=(counts, last_of_bin), classes=classes)[0])  # type: ignore[no-untyped-call]


def _shading(brightness: Mask, settings: AutoSegmenter) -> NDArray[np.float32]:
    """Return (H, W): the part of the difference between the local mean and the mean that is taken off."""
    height, width = brightness.shape
    small = _reduced(brightness, max(1, min(height, width) // _MEAN_GRID)).astype(np.float32)
    window = max(3, round(settings.window_share * min(small.shape))) | 1
    local_mean = cv2.blur(small, (window, window), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(settings.evening * (local_mean - local_mean.mean()), (width, height)))


def _edges(brightness: Mask) -> NDArray[np.float32]:
    """Return the (H, W) gradient magnitude in gray levels a pixel."""
    smooth = cv2.GaussianBlur(brightness, (0, 0), _EDGE_SIGMA_PX)
    # A 3 x 3 Sobel filter answers 8 to a slope of one gray level a pixel.
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
    return np.asarray(cv2.magnitude(across, down))


def _midway(regions: Regions, chosen: Mask) -> Mask:
    """Return (R,): the brightness up to which each region reaches.

    Halfway between the threshold at which it was chosen, which it shares with others, and its own: the middle between
    its inside and its surroundings.
    """
    shared = np.bincount(regions.labels.ravel(), weights=chosen.ravel(), minlength=len(regions.area_px))
    own = regions.inside + regions.step / 2
    return np.clip((shared / regions.area_px + own) / 2, 1, 255).round().astype(np.uint8)


def _outlined(limits: Mask, work: _Work, image: Mask, factor: int) -> Mask:
    """Return the mask at full resolution: brightness against the limit of the nucleus in which a pixel lies.

    A nucleus may grow by a pixel of the reduced image. Brightness is looked at again at twice the reduced resolution,
    and the line that parts two nuclei is one pixel wide whatever the reduction.
    """
    owners = _grown_labels(limits)
    grown = _of_owners(limits, owners)
    brightness = work.evidence.brightness
    if factor > 1:
        grown = np.where(grown > 0, np.clip(grown + work.shading, 1, 255), 0).astype(np.uint8)
        brightness = _blurred(nuclear_brightness(_reduced(image, factor // 2)))
    owners = _enlarged(owners, image.shape, cv2.INTER_NEAREST)
    brightness = _enlarged(brightness, image.shape, cv2.INTER_LINEAR)
    within = _within(brightness, _enlarged(grown, image.shape, cv2.INTER_NEAREST))
    return parted_at_borders(owners * within)


def _enlarged(plane: NDArray[Any], shape: tuple[int, ...], interpolation: int) -> NDArray[Any]:
    height, width = shape[:2]
    if plane.shape == (height, width):
        return plane
    return np.asarray(cv2.resize(plane, (width, height), interpolation=interpolation), dtype=plane.dtype)


def _within(brightness: Mask, limits: Mask) -> Mask:
    return np.asarray(cv2.compare(brightness, limits, cv2.CMP_LE) & np.minimum(limits, 1), dtype=np.uint8)


def _grown_labels(limits: Mask) -> NDArray[Any]:
    """Return (H, W) labels of the nuclei, each grown by one pixel; where two would meet, the higher one wins."""
    labels = compact_labels(regions_of(limits))
    grown = cv2.dilate(labels, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    return np.where(labels > 0, labels, grown)


def _of_owners(limits: Mask, owners: NDArray[Any]) -> Mask:
    """Return for each pixel the limit of the nucleus that owns it; 0 where there is none."""
    index = owners.astype(np.intp)
    of_label = np.zeros(int(index.max()) + 1, np.uint8)
    inside = limits > 0
    of_label[index[inside]] = limits[inside]
    return of_label.take(index)
