"""The whole table: synthetic images against real ones, and real ones against each other, by every metric.

In every draw one random half of the real images (by whole groups) is the reference. As many synthetic images are
measured against it, and so is the other half: the real baseline. All sets of a draw have the same size and the same
classes, so that a metric's dependence on size, which most have, is the same on both sides. See `resampling` for why
halves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syncgan.errors import DataError
from syncgan.evaluation.metrics.measures import FEWEST_IMAGES, MEASURES, Better, Space
from syncgan.evaluation.metrics.resampling import Draw, draw_alike, group_of_each

if TYPE_CHECKING:
    from torch import Tensor

    from syncgan.evaluation.features import Features
    from syncgan.evaluation.mask_prior import PriorComparison

__all__ = ["ImageComparison", "MetricRow", "compare_features", "compare_images"]

Points = NDArray[np.float64]
Labels = tuple[ArrayLike, ArrayLike]
Verdict = Literal["like real", "worse than real", "better than real", "below real", "above real", "not measured"]


@dataclass(frozen=True)
class MetricRow:
    """One metric in one feature space.

    Attributes
    ----------
    metric, features : names.
    value, interval : of synthetic images against real ones: mean and 95 % interval over the draws.
    real_baseline, real_interval : the same of other real images in their place.
    difference, difference_interval : the value less the baseline of the same draw: what is left when the bias of few
        images, which both have, is gone.
    better : which values are better; "like real" where neither less nor more is.
    explanation : one sentence.
    """

    metric: str
    features: str
    value: float
    interval: tuple[float, float]
    real_baseline: float
    real_interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    better: Better
    explanation: str

    @property
    def verdict(self) -> Verdict:
        """Whether synthetic images differ from other real images by more than chance (95 %).

        "better than real" is no praise: hardly any real set lies so near to another, so look for copies.
        """
        low, high = self._beyond
        if math.isnan(low):
            return "not measured"
        if low <= 0 <= high:
            return "like real"
        if self.better == "like real":
            return "above real" if low > 0 else "below real"
        return "worse than real" if (low > 0) == (self.better == "lower") else "better than real"

    @property
    def _beyond(self) -> tuple[float, float]:
        """Return an interval that holds 0 when nothing but chance is at work.

        A distance between real halves is noise around its least value, which bounds what chance can do, so its mean for
        synthetic images is compared with single real draws; the paired difference would see less. Other metrics
        measure the images themselves, where the real images at hand are a sample too: only the difference knows that.
        """
        if self.better != "lower":
            return self.difference_interval
        low, high = self.real_interval
        return self.value - high, self.value - low


@dataclass(frozen=True)
class ImageComparison:
    """What `compare_images` found.

    Attributes
    ----------
    rows : one a metric and feature space.
    size : images on each side of a draw (median).
    draws : random draws.
    mask_priors : class -> comparison of the masks' shapes and layout, where masks were given.
    """

    rows: tuple[MetricRow, ...]
    size: int
    draws: int
    mask_priors: Mapping[Any, PriorComparison] = field(default_factory=dict)

    def row(self, metric: str, features: str | None = None) -> MetricRow:
        """Return the row of a metric in the space `features`, or in the first that has it.

        Raises
        ------
        DataError
            There is no such row; the message lists those there are.
        """
        for row in self.rows:
            if row.metric == metric and features in (None, row.features):
                return row
        known = sorted({f"{row.metric} in {row.features}" for row in self.rows})
        raise DataError(f"no row {metric!r} in {features or 'any features'!r}; there are {', '.join(known)}")

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, for JSON."""
        return [asdict(row) | {"verdict": row.verdict} for row in self.rows]

    def markdown(self) -> str:
        """Return the rows as a Markdown table."""
        head = "| features | metric | synthetic (95 %) | real (95 %) | better | verdict |"
        lines = [
            f"| {row.features} | {row.metric} | {_figure(row.value, row.interval)} "
            f"| {_figure(row.real_baseline, row.real_interval)} | {row.better} | {row.verdict} |"
            for row in self.rows
        ]
        return "\n".join([head, "|---" * 6 + "|", *lines])


def compare_images(
    synthetic: Tensor,
    real: Tensor,
    *,
    labels: Labels | None = None,
    groups: Sequence[Any] | None = None,
    features: Features | Sequence[Features] | None = None,
    masks: tuple[ArrayLike, ArrayLike] | None = None,
    levels: int = 2,
    repeats: int = 100,
    seed: int = 0,
) -> ImageComparison:
    """Compare synthetic with real images by every metric, each with an interval and its real-against-real baseline.

    Parameters
    ----------
    synthetic, real : (N, 3, H, W) and (M, 3, H, W) uint8. Give real images that the model has not seen where there are
        enough: near to training images lies also a copy of one.
    labels : classes of the synthetic and of the real images. All sets then hold the same classes, and the metrics that
        look at classes are there.
    groups : the group (slide, patient) of each real image; no group lies on both sides of a comparison.
    features : one or several spaces; None for `features.available_features`.
    masks : of the synthetic and of the real images, (N, H, W) or (N, 1, H, W) with values 0 .. levels-1; adds the
        space of nuclear morphometry and the comparison of masks.
    levels : of the masks.
    repeats : random draws.
    seed : of the draws.

    Raises
    ------
    DataError
        Fewer than 12 images on a side (6 in each half), or labels, groups or masks that do not fit the images.
    """
    from syncgan.evaluation.features import available_features

    given = available_features() if features is None else features
    spaces = given if isinstance(given, Sequence) else (given,)
    points = [(space.name, space(synthetic), space(real)) for space in spaces]
    priors: Mapping[Any, PriorComparison] = {}
    if masks is not None:
        maps = _maps(masks[0], synthetic, levels), _maps(masks[1], real, levels)
        points.append(_morphometry((synthetic, real), maps, levels))
        priors = _priors(maps, labels, levels, seed)
    found = [
        compare_features(first, second, name=name, labels=labels, groups=groups, repeats=repeats, seed=seed)
        for name, first, second in points
    ]
    rows = tuple(row for part in found for row in part.rows)
    return ImageComparison(rows, found[0].size, found[0].draws, priors)


def compare_features(
    synthetic: Points,
    real: Points,
    *,
    name: str,
    labels: Labels | None = None,
    groups: Sequence[Any] | None = None,
    repeats: int = 100,
    seed: int = 0,
) -> ImageComparison:
    """Compare images by features that are already computed, in one space; see `compare_images`.

    Parameters
    ----------
    synthetic, real : (N, D) and (M, D).
    name : of the features. "FID" and "KID" are said only where it is `features.INCEPTION`.
    labels, groups, repeats, seed : see `compare_images`.

    Returns
    -------
    `ImageComparison`, without rows on masks.

    Raises
    ------
    DataError
        As for `compare_images`, or features that are not finite.
    """
    kinds = _labels(labels, len(synthetic), len(real))
    draws = _usable(draw_alike(kinds[1], kinds[0], group_of_each(real, groups), repeats=repeats, seed=seed))
    points = np.concatenate([real, synthetic]).astype(np.float64)
    if not np.isfinite(points).all():
        raise DataError(f"expected finite features, got NaN or infinity in {name!r}")
    space = Space.of(points, None if labels is None else np.concatenate(kinds[::-1]))
    own = [space.measure(draw.synthetic + len(real), draw.reference) for draw in draws]
    chance = [space.measure(draw.held_out, draw.reference) for draw in draws]
    rows = []
    for metric in (metric for metric in MEASURES if metric in own[0]):
        values, baseline = (np.array([found[metric] for found in part]) for part in (own, chance))
        rows.append(_row(metric, name, values, baseline))
    return ImageComparison(tuple(rows), int(np.median([len(draw.reference) for draw in draws])), len(draws))


def _row(metric: str, features: str, values: Points, baseline: Points) -> MetricRow:
    value, interval = _summary(values)
    real_baseline, real_interval = _summary(baseline)
    difference, difference_interval = _summary(values - baseline)
    return MetricRow(
        metric=_named(metric, features),
        features=features,
        value=value,
        interval=interval,
        real_baseline=real_baseline,
        real_interval=real_interval,
        difference=difference,
        difference_interval=difference_interval,
        better=MEASURES[metric].better,
        explanation=MEASURES[metric].explanation,
    )


def _summary(values: Points) -> tuple[float, tuple[float, float]]:
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, (math.nan, math.nan)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(values.mean()), (float(low), float(high))


def _named(metric: str, features: str) -> str:
    from syncgan.evaluation.features import INCEPTION

    usual = {"Fréchet distance": "FID", "kernel distance": "KID"} if features == INCEPTION else {}
    return usual.get(metric, metric)


def _labels(labels: Labels | None, synthetic: int, real: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if labels is None:
        return np.zeros(synthetic), np.zeros(real)
    own, other = (np.asarray(part) for part in labels)
    if (len(own), len(other)) != (synthetic, real):
        raise DataError(
            f"expected one label an image, {synthetic} synthetic and {real} real, got {len(own)} and {len(other)}; "
            "pass labels=(labels of the synthetic, labels of the real images)"
        )
    if set(own.tolist()) != set(other.tolist()):
        raise DataError(
            f"expected the same classes on both sides, got {sorted(set(own.tolist()))} in the synthetic "
            f"and {sorted(set(other.tolist()))} in the real images"
        )
    return own, other


def _usable(draws: Any) -> list[Draw]:
    kept = [draw for draw in draws if len(draw.reference) >= FEWEST_IMAGES]
    if not kept:
        raise DataError(
            f"expected halves with at least {FEWEST_IMAGES} images, of the same classes and of different groups; "
            "give more images, or leave labels or groups out"
        )
    return kept


def _maps(masks: ArrayLike, images: Tensor, levels: int) -> NDArray[np.uint8]:
    maps = np.asarray(masks)
    maps = maps[:, 0] if maps.ndim == 4 and maps.shape[1] == 1 else maps
    expected = (len(images), *images.shape[-2:])
    if maps.shape != expected or (maps.size and int(maps.max()) >= levels):
        raise DataError(
            f"expected masks {expected} with values 0 .. {levels - 1}, got {maps.shape} with values up to "
            f"{maps.max() if maps.size else 0}; pass masks=(of the synthetic, of the real images) and levels"
        )
    return maps.astype(np.uint8)


def _morphometry(
    images: tuple[Tensor, Tensor], maps: tuple[NDArray[np.uint8], NDArray[np.uint8]], levels: int
) -> tuple[str, Points, Points]:
    from syncgan.evaluation.morphometry import MORPHOMETRY, nuclear_features, standardised

    own, other = (nuclear_features(some, masks, levels=levels) for some, masks in zip(images, maps, strict=True))
    return MORPHOMETRY, standardised(own, other), standardised(other, other)


def _priors(
    maps: tuple[NDArray[np.uint8], NDArray[np.uint8]], labels: Labels | None, levels: int, seed: int
) -> dict[Any, PriorComparison]:
    from syncgan.evaluation.mask_prior import FEWEST_MASKS, compare_masks

    kinds = _labels(labels, *map(len, maps))
    found = {}
    for label in np.unique(kinds[1]).tolist():
        own, other = (part[kind == label] for part, kind in zip(maps, kinds, strict=True))
        if min(len(own), len(other)) >= FEWEST_MASKS:
            found[label] = compare_masks(other, own, levels=levels, seed=seed)
    return found


def _figure(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3g} ({interval[0]:.3g} to {interval[1]:.3g})"
