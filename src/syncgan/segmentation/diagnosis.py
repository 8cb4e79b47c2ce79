"""Which masks to trust: what each holds, why one cannot be used, and which are worth a look.

A *problem* leaves an image out of training; only what is certainly wrong is one (`mask_problem` is the rule). A *doubt*
is for people to look at: it compares a mask with what nuclei are, and with the other masks of its class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Floats, Labels, Mask
from syncgan.errors import warn_user
from syncgan.segmentation.borders import border_of, is_black, is_bright_on_dark
from syncgan.segmentation.instances import consecutive, nucleus_areas_px, regions_of
from syncgan.segmentation.levels import nucleus_of

__all__ = [
    "DOUBTFUL",
    "MANY_FAILED",
    "MAX_NUCLEUS_SHARE",
    "ClassDiagnosis",
    "MaskDiagnoses",
    "MaskDiagnosis",
    "SharedDoubt",
    "diagnose_mask",
    "mask_problem",
    "remedy_for",
]


MAX_NUCLEUS_SHARE = 0.8
"""A field with more than this share of nucleus has no outline to learn from."""

NO_NUCLEUS = "no nucleus found"
"""Why an empty mask fails."""

MANY_FAILED = 0.2
"""Share of a class's masks above which a warning is due."""

DOUBTFUL = "masks are doubtful"
"""What every warning of doubts that many masks share says."""

_BRIGHT_ON_DARK = "the image is bright on dark (fluorescence?)"
_FILES_SHOWN = 3

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
class SharedDoubt:
    """A doubt that many usable masks of a class have in common.

    Attributes
    ----------
    class_name : the class, "" where there are no classes.
    doubt : in words, without the figures of one mask.
    names : the images.
    images : number of images of the class.
    """

    class_name: str
    doubt: str
    names: tuple[str, ...]
    images: int

    @property
    def share(self) -> float:
        """Share of the class, in [0, 1]."""
        return len(self.names) / self.images

    def __str__(self) -> str:
        of = f"class {self.class_name!r}: " if self.class_name else ""
        more = ", ..." if len(self.names) > _FILES_SHOWN else ""
        files = ", ".join(self.names[:_FILES_SHOWN]) + more
        return f"{of}{len(self.names)} of {self.images} {DOUBTFUL}: {self.doubt} ({files})"


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

    @cached_property
    def shared_doubts(self) -> tuple[SharedDoubt, ...]:
        """Each doubt that more than a fifth of a class's masks have in common."""
        shared = []
        for class_name, own in _by_class(self.rows).items():
            alike: dict[str, list[str]] = {}
            for row in own:
                for kind in dict.fromkeys(map(_without_figures, row.doubts if row.problem is None else ())):
                    alike.setdefault(kind, []).append(row.name)
            shared += [SharedDoubt(class_name, kind, tuple(names), len(own)) for kind, names in alike.items()]
        return tuple(found for found in shared if found.share > MANY_FAILED)

    def warn(self) -> None:
        """Warn of each class in which more than a fifth of the masks cannot be used, and of shared doubts."""
        for name, summary in self.classes.items():
            if summary.failed_share > MANY_FAILED:
                of = f"class {name!r}: " if name else ""
                problems = [row.problem for row in self.rows if row.class_name == name and row.problem is not None]
                warn_user(
                    f"{of}{summary.failed} of {summary.images} masks cannot be used for training; "
                    f"look at them with `syncgan masks DATA --report`, and {remedy_for(problems)}",
                )
        self.warn_of_doubts()

    def warn_of_doubts(self) -> None:
        """Warn, once for all classes, of the doubts that more than a fifth of a class's masks have in common."""
        if self.shared_doubts:
            warn_user(
                f"{'; '.join(map(str, self.shared_doubts))}; look at them with `syncgan masks DATA --report`, and "
                + remedy_for(found.doubt for found in self.shared_doubts),
            )


def remedy_for(reasons: Iterable[str], images: int | None = None) -> str:
    """Say what to do about masks with these problems or doubts, of a class of so many images."""
    reasons = list(reasons)
    if any(_BRIGHT_ON_DARK in reason for reason in reasons):
        return "since syncgan expects bright field, invert the images, or give your own masks or segmenter"
    usual = "choose another segmenter (extractor.segmenter) or its parameters, or give your own masks"
    if images is not None and reasons.count(NO_NUCLEUS) > images / 2:
        return (
            "where images of this class have no nucleus, learn them with empty masks (--set "
            f"extractor.exclude_failed=false), or leave the class out; where they have, {usual}"
        )
    return usual


def _without_figures(doubt: str) -> str:
    return re.sub(r" \(\d[^()]*\)$", "", doubt)


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
    contrasts = None if image is None else _contrasts(image, regions_of(nucleus))
    return _problem(nucleus, contrasts, max_nucleus_share, image)


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
        problem=_problem(nucleus, contrasts, MAX_NUCLEUS_SHARE, image),
        class_name=class_name,
        doubts=tuple(_doubts(image, nucleus, labels, contrasts)),
    )


def _problem(nucleus: Mask, contrasts: Floats | None, max_nucleus_share: float, image: Mask | None) -> str | None:
    share = float(nucleus.mean()) if nucleus.size else 0.0
    problem = None
    if share == 0.0:
        problem = NO_NUCLEUS
    elif share > max_nucleus_share:
        problem = f"nuclei cover {share:.0%} of the image, more than {max_nucleus_share:.0%}"
    elif contrasts is not None and np.isfinite(contrasts).any() and np.nanmax(contrasts) < _MIN_CONTRAST:
        problem = "no nucleus differs from its surroundings"
    if problem is None or image is None or not is_bright_on_dark(image):
        return problem
    return f"{problem}; {_BRIGHT_ON_DARK}"


# --- what nuclei are -----------------------------------------------------------------------------------------------


def _doubts(image: Mask, nucleus: Mask, labels: Labels, contrasts: Floats) -> list[str]:
    if not labels.any():
        return []
    if _is_darker(image, nucleus) and is_bright_on_dark(image):
        return [f"{_BRIGHT_ON_DARK}, and the nuclei are what is dark"]
    doubts = []
    faint = int((contrasts < _MIN_CONTRAST).sum())
    if faint >= _MOST * len(contrasts):
        doubts.append(f"half of the nuclei or more do not differ from their surroundings ({faint} of {len(contrasts)})")
    at_border = border_of(nucleus) == 1
    if at_border.mean() > _MOST:
        black = border_of(is_black(image))[at_border].mean() > _MOST
        cause = ", which is black: a surround, not nuclei" if black else ""
        doubts.append(f"nuclei cover most of the image border{cause} ({at_border.mean():.0%})")
    if (thin := _thin_share(nucleus, labels)) > _MOST:
        doubts.append(f"most of the nucleus area lies in shapes that are not compact, a frame or a stripe ({thin:.0%})")
    return doubts


def _is_darker(image: Mask, nucleus: Mask) -> bool:
    """Say whether the nuclei are darker on average than the rest."""
    inside, outside = (cv2.mean(image, where)[:3] for where in (nucleus, 1 - nucleus))
    return sum(inside) < sum(outside)


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
        for attribute in ("nucleus_share", "nuclei"):
            values = np.array([getattr(rows[at], attribute) for at in own], dtype=np.float64)
            for position in _far(values):
                text = _unlike(attribute, values[position], float(np.median(values)))
                found[own[position]] = (*found.get(own[position], ()), text)
    return found


def _unlike(attribute: str, value: float, median: float) -> str:
    if attribute == "nucleus_share":
        return f"nuclei cover {value:.1%} of the image, {median:.1%} in the median image of the class"
    return f"{value:g} {'nucleus' if value == 1 else 'nuclei'}, {median:g} in the median image of the class"


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
