"""Which masks to trust: what each holds, why one cannot be used, and which are worth a look.

A *problem* leaves an image out of training; only what is certainly wrong is one (`mask_problem` is the rule). A *doubt*
is for people to look at: it compares a mask with what nuclei are, and with the other masks of its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Floats, Labels, Mask
from syncgan.errors import warn_user
from syncgan.segmentation.instances import consecutive, nucleus_areas_px, regions_of
from syncgan.segmentation.levels import nucleus_of

__all__ = [
    "MANY_FAILED",
    "MAX_NUCLEUS_SHARE",
    "NO_NUCLEUS",
    "ClassDiagnosis",
    "MaskDiagnoses",
    "MaskDiagnosis",
    "diagnose_mask",
    "mask_problem",
]


MAX_NUCLEUS_SHARE = 0.8
"""A field with more than this share of nucleus has no outline to learn from."""

NO_NUCLEUS = "no nucleus found"
"""Why an empty mask fails."""

MANY_FAILED = 0.2
"""Share of a class's masks above which a warning is due."""

# Mean gray levels by which a nucleus differs from what surrounds it. Noise and JPEG give one or two; the palest nucleus
# that a person would outline gives more than ten.
_MIN_CONTRAST = 3.0

# A disc holds a disc of its own area, an ellipse of 4 : 1 one of a quarter, a frame or a stripe of 16 : 1 one of 1/20.
_MIN_COMPACTNESS = 0.05
_MOST = 0.5

# Outliers: further from the class's median than 5 robust standard deviations (1.4826 x the median absolute deviation
# of the logarithm), and by more than a factor of two. Fewer images than ten have no distribution.
_MIN_IMAGES = 10
_DEVIATIONS = 5 * 1.4826
_MIN_FACTOR = 2.0


@dataclass(frozen=True)
class MaskDiagnosis:
    """What one mask holds.

    Attributes
    ----------
    name : the image's name.
    nuclei : number of nuclei.
    areas_px : their areas in pixels, largest first.
    nucleus_share : share of the image covered by nuclei, in [0, 1].
    problem : why the mask cannot be used for training (`mask_problem`), or None.
    class_name : the image's class, "" where there are no classes.
    doubts : why it is worth a look.
    """

    name: str
    nuclei: int
    areas_px: tuple[int, ...]
    nucleus_share: float
    problem: str | None
    class_name: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassDiagnosis:
    """The masks of one class together.

    Attributes
    ----------
    images, failed : number of masks, and of those that cannot be used.
    nuclei : quartiles (25, 50 and 75 %) of the number of nuclei in an image.
    area_px : quartiles of the area of one nucleus, in pixels; None without a nucleus.
    """

    images: int
    failed: int
    nuclei: tuple[float, float, float]
    area_px: tuple[float, float, float] | None

    @property
    def failed_share(self) -> float:
        """Share of the masks that cannot be used, in [0, 1]."""
        return self.failed / self.images

    @classmethod
    def of(cls, rows: Sequence[MaskDiagnosis]) -> ClassDiagnosis:
        """Summarise the masks of a class, at least one."""
        areas = [area for row in rows for area in row.areas_px]
        failed = sum(row.problem is not None for row in rows)
        return cls(len(rows), failed, _quartiles([row.nuclei for row in rows]), _quartiles(areas) if areas else None)


@dataclass(frozen=True)
class MaskDiagnoses(Sequence[MaskDiagnosis]):
    """The diagnoses of many masks, in order; masks unlike the others of their class have a doubt that says so."""

    rows: tuple[MaskDiagnosis, ...]

    @classmethod
    def of(cls, rows: Iterable[MaskDiagnosis]) -> MaskDiagnoses:
        """Compare each mask with the others of its class."""
        rows = list(rows)
        unlike = _outliers(rows)
        return cls(tuple(replace(row, doubts=row.doubts + unlike.get(at, ())) for at, row in enumerate(rows)))

    @overload
    def __getitem__(self, index: int) -> MaskDiagnosis: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[MaskDiagnosis, ...]: ...

    def __getitem__(self, index: int | slice) -> MaskDiagnosis | tuple[MaskDiagnosis, ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def classes(self) -> dict[str, ClassDiagnosis]:
        """Class name -> summary, in the order in which classes appear."""
        return {name: ClassDiagnosis.of(own) for name, own in _by_class(self.rows).items()}

    @property
    def problems(self) -> dict[str, str]:
        """Image name -> why its mask cannot be used for training."""
        return {row.name: row.problem for row in self.rows if row.problem is not None}

    @property
    def doubts(self) -> dict[str, str]:
        """Image name -> why its mask, which can be used, is worth a look."""
        return {row.name: "; ".join(row.doubts) for row in self.rows if row.doubts and row.problem is None}

    def warn(self) -> None:
        """Warn of each class in which more than a fifth of the masks cannot be used."""
        for name, summary in self.classes.items():
            if summary.failed_share > MANY_FAILED:
                of = f"class {name!r}: " if name else ""
                warn_user(
                    f"{of}{summary.failed} of {summary.images} masks cannot be used for training; "
                    "look at them with `syncgan masks DATA --report`, and choose another segmenter or its parameters",
                )


def mask_problem(
    mask: NDArray[np.generic],
    levels: int = 2,
    *,
    image: Mask | None = None,
    max_nucleus_share: float = MAX_NUCLEUS_SHARE,
) -> str | None:
    """Say why a mask cannot be used for training, or None if it can.

    The rule: a mask fails if it holds no nucleus, if nuclei cover more than `max_nucleus_share` of the image, or if no
    nucleus differs from its surroundings in the image by 3 gray levels in any channel.

    Parameters
    ----------
    mask : (H, W) uint8 map 0..L-1, nucleus = L-1.
    levels : L.
    image : (H, W, 3) uint8 RGB; None leaves the surroundings out of the rule.
    """
    nucleus = nucleus_of(mask, levels=levels)
    return _problem(nucleus, None if image is None else _contrasts(image, regions_of(nucleus)), max_nucleus_share)


def diagnose_mask(
    image: Mask, mask: Mask, *, name: str, levels: int = 2, instances: Labels | None = None, class_name: str = ""
) -> MaskDiagnosis:
    """Describe one mask.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    mask : (H, W) uint8 map 0..L-1, nucleus = L-1.
    instances : (H, W) integer labels of the nuclei; None takes 8-connected regions.
    """
    nucleus = nucleus_of(mask, levels=levels)
    # Tables below are as long as the highest label, and float32 holds labels up to 2**24 only.
    labels = regions_of(nucleus) if instances is None else consecutive(np.asarray(instances))
    areas = nucleus_areas_px(labels)
    contrasts = _contrasts(image, labels)
    return MaskDiagnosis(
        name=name,
        nuclei=len(areas),
        areas_px=tuple(areas.tolist()),
        nucleus_share=float(nucleus.mean()) if nucleus.size else 0.0,
        problem=_problem(nucleus, contrasts, MAX_NUCLEUS_SHARE),
        class_name=class_name,
        doubts=tuple(_doubts(nucleus, labels, contrasts)),
    )


def _problem(nucleus: Mask, contrasts: Floats | None, max_nucleus_share: float) -> str | None:
    share = float(nucleus.mean()) if nucleus.size else 0.0
    if share == 0.0:
        return NO_NUCLEUS
    if share > max_nucleus_share:
        return f"nuclei cover {share:.0%} of the image, more than {max_nucleus_share:.0%}"
    if contrasts is not None and np.isfinite(contrasts).any() and np.nanmax(contrasts) < _MIN_CONTRAST:
        return "no nucleus differs from its surroundings"
    return None


# --- what nuclei are -----------------------------------------------------------------------------------------------


def _doubts(nucleus: Mask, labels: Labels, contrasts: Floats) -> list[str]:
    if not labels.any():
        return []
    doubts = []
    faint = int((contrasts < _MIN_CONTRAST).sum())
    if faint >= _MOST * len(contrasts):
        doubts.append(f"{faint} of {len(contrasts)} nuclei do not differ from their surroundings")
    at_border = float(np.concatenate([nucleus[[0, -1]].ravel(), nucleus[:, [0, -1]].ravel()]).mean())
    if at_border > _MOST:
        doubts.append(f"nuclei cover {at_border:.0%} of the image border")
    if (thin := _thin_share(nucleus, labels)) > _MOST:
        doubts.append(f"{thin:.0%} of the nucleus area lies in shapes that are not compact (a frame, a stripe)")
    return doubts


def _contrasts(image: Mask, labels: Labels) -> Floats:
    """Return for each label the mean difference to its surroundings, in gray levels of the channel that differs most.

    NaN where nothing but other nuclei surrounds it.
    """
    radius_px = max(3, round(min(labels.shape) / 100))
    # OpenCV dilates no 32-bit integers; float32 holds the number of every nucleus exactly.
    grown = cv2.dilate(labels.astype(np.float32), np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8))
    # The pixel next to the outline is partly nucleus.
    apart = cv2.dilate((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    around = np.where(apart, grown, 0).astype(np.int32)
    count = int(labels.max(initial=0))
    difference = np.abs(_means(image, labels, count=count) - _means(image, around, count=count))
    return np.asarray(difference.max(axis=1))


def _means(image: Mask, labels: Labels, *, count: int) -> Floats:
    """Return the (N, 3) mean colour of each label 1..N; NaN for a label without a pixel."""
    inside = np.flatnonzero(labels)
    owners = labels.ravel()[inside]
    pixels = np.bincount(owners, minlength=count + 1)[1:].astype(np.float64)
    pixels[pixels == 0] = np.nan
    colours = image.reshape(-1, 3)[inside]
    sums = [np.bincount(owners, weights=colours[:, channel], minlength=count + 1)[1:] for channel in range(3)]
    return np.stack(sums, axis=1) / pixels[:, None]


def _thin_share(nucleus: Mask, labels: Labels) -> float:
    """Return the share of the nucleus area that lies in nuclei without room for a disc of 1/20 of their area."""
    # What lies outside the image is no nucleus: a frame along the border is thin.
    depth = cv2.distanceTransform(np.pad(nucleus, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    inside = np.flatnonzero(labels)
    owners = labels.ravel()[inside]
    areas = np.bincount(owners)
    deepest = np.zeros(len(areas))
    np.maximum.at(deepest, owners, depth.ravel()[inside])
    # Depth is measured to the centre of the nearest pixel outside, half a pixel beyond the outline.
    thin = np.pi * (deepest - 0.5) ** 2 < _MIN_COMPACTNESS * areas
    return float(areas[thin].sum() / areas.sum())


# --- the other masks of the class ------------------------------------------------------------------------------------


def _by_class(rows: Iterable[MaskDiagnosis]) -> dict[str, list[MaskDiagnosis]]:
    classes: dict[str, list[MaskDiagnosis]] = {}
    for row in rows:
        classes.setdefault(row.class_name, []).append(row)
    return classes


def _outliers(rows: Sequence[MaskDiagnosis]) -> dict[int, tuple[str, ...]]:
    """Return position -> doubts of the usable masks that are unlike the others of their class."""
    found: dict[int, tuple[str, ...]] = {}
    for name in _by_class(rows):
        own = [at for at, row in enumerate(rows) if row.class_name == name and row.problem is None]
        measures = (
            ("nuclei cover {} of the image, {} in the median image of the class", "{:.1%}", "nucleus_share"),
            ("{} nuclei, {} in the median image of the class", "{:g}", "nuclei"),
        )
        for sentence, unit, attribute in measures:
            values = np.array([getattr(rows[at], attribute) for at in own], dtype=np.float64)
            for position in _far(values):
                text = sentence.format(unit.format(values[position]), unit.format(np.median(values)))
                found[own[position]] = (*found.get(own[position], ()), text)
    return found


def _far(values: Floats) -> list[int]:
    """Return the positions of positive values that lie far from the median on a logarithmic scale."""
    if len(values) < _MIN_IMAGES:
        return []
    logs = np.log(values)
    distance = np.abs(logs - np.median(logs))
    return np.flatnonzero(distance > max(_DEVIATIONS * float(np.median(distance)), np.log(_MIN_FACTOR))).tolist()


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return low, middle, high
