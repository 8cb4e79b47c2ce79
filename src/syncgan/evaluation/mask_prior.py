"""Does a mask prior draw masks like the real ones? Compared in what the eye would count and measure.

The yardstick is the real masks themselves: random halves of them differ by chance, and synthetic masks should differ
from a half by no more. Everything is measured on the connected regions of the nucleus level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import wasserstein_distance
from skimage.measure import label as label_regions
from skimage.measure import regionprops

from syncgan import rng
from syncgan.errors import DataError

__all__ = [
    "DIAGNOSTICS",
    "FEWEST_MASKS",
    "MaskStatistics",
    "PriorComparison",
    "PriorRow",
    "compare_masks",
    "measure_masks",
]

Values = NDArray[np.float64]

DIAGNOSTICS = ("nuclei", "area", "eccentricity", "solidity", "nearest neighbour", "overlap")
"""Nuclei of a mask; area of a nucleus as share of the image; its eccentricity and solidity; distance between the
centres of nearest neighbours in sides of the image; mean overlap (intersection over union) of two masks."""

FEWEST_MASKS = 4
"""Masks of either side that a comparison needs: halves of fewer have no two masks."""

_SMALLEST_SHAPE_PX = 16  # what is smaller has no shape, only steps of pixels


@dataclass(frozen=True)
class MaskStatistics:
    """What was measured on N masks.

    Attributes
    ----------
    by_mask : diagnostic -> one array of values a mask, empty where there is nothing to measure.
    overlaps : (N, N) intersection over union of the nuclei of every two masks.
    """

    by_mask: dict[str, tuple[Values, ...]]
    overlaps: Values

    def __len__(self) -> int:
        return len(self.overlaps)

    def pooled(self, diagnostic: str, masks: Sequence[int] | NDArray[np.int64] | None = None) -> Values:
        """Return the values of some masks, or of all, in one array."""
        chosen = range(len(self)) if masks is None else masks
        return np.concatenate([np.zeros(0), *(self.by_mask[diagnostic][index] for index in chosen)])

    def mean_overlap(self, masks: Sequence[int] | NDArray[np.int64] | None = None) -> float:
        """Return the mean intersection over union of every two of some masks, or of all: high when they collapse."""
        chosen = np.arange(len(self)) if masks is None else np.asarray(masks, dtype=np.int64)
        part = self.overlaps[np.ix_(chosen, chosen)]
        pairs = len(part) * (len(part) - 1)
        return float((part.sum() - np.trace(part)) / pairs) if pairs else float("nan")


@dataclass(frozen=True)
class PriorRow:
    """One diagnostic of synthetic masks against real ones.

    Attributes
    ----------
    diagnostic : a name in `DIAGNOSTICS`.
    distance : between a random half of the real masks and as many synthetic ones, mean over the draws: 1-Wasserstein,
        or the difference of the means for the overlap. Infinite when no synthetic mask has anything to measure.
    real_mean, real_95 : mean and 95th percentile of that between two random halves of the real masks.
    """

    diagnostic: str
    distance: float
    real_mean: float
    real_95: float

    @property
    def alike(self) -> bool:
        """Whether synthetic masks differ from real ones, on average over the draws, by no more than chance (95 %)."""
        return self.distance <= self.real_95

    @property
    def verdict(self) -> str:
        """The same in words."""
        return "like real" if self.alike else "differs"


@dataclass(frozen=True)
class PriorComparison:
    """All diagnostics of one class.

    Attributes
    ----------
    rows : those that could be measured, in the order of `DIAGNOSTICS`.
    size : masks on either side of each comparison.
    real_overlap, synthetic_overlap : mean overlap of every two of all real and of all synthetic masks.
    """

    rows: tuple[PriorRow, ...]
    size: int
    real_overlap: float
    synthetic_overlap: float

    @property
    def share_alike(self) -> float:
        """Share of the diagnostics in which synthetic masks are like real ones."""
        return float(np.mean([row.alike for row in self.rows])) if self.rows else float("nan")

    @property
    def excess_overlap(self) -> float:
        """By how much synthetic masks overlap more than real ones; well above 0 they are too much alike: collapse."""
        return self.synthetic_overlap - self.real_overlap


def measure_masks(maps: NDArray[np.uint8], *, levels: int) -> MaskStatistics:
    """Measure the nuclei of maps (N, H, W) uint8 with values 0 .. levels-1."""
    nuclei = np.asarray(maps) >= levels - 1
    measured = [_measure(nucleus) for nucleus in nuclei]
    by_mask = {name: tuple(row[name] for row in measured) for name in DIAGNOSTICS if name != "overlap"}
    return MaskStatistics(by_mask, _overlaps(nuclei))


def compare_masks(
    real: NDArray[np.uint8] | MaskStatistics,
    synthetic: NDArray[np.uint8] | MaskStatistics,
    *,
    levels: int,
    draws: int = 200,
    seed: int = 0,
) -> PriorComparison:
    """Compare synthetic masks of one class with real ones, and random halves of the real ones with each other.

    Parameters
    ----------
    real, synthetic : maps (N, H, W) uint8 of one size, or what `measure_masks` made of them; at least 4 of each. Fewer
        synthetic than half of the real masks make all comparisons as small as that.
    levels : L of the maps; the nucleus is L-1.
    draws : random halves.
    seed : of the draws.

    Raises
    ------
    DataError
        Fewer than 4 masks on either side.
    """
    real, synthetic = (
        part if isinstance(part, MaskStatistics) else measure_masks(part, levels=levels) for part in (real, synthetic)
    )
    if min(len(real), len(synthetic)) < FEWEST_MASKS:
        raise DataError(
            f"expected at least {FEWEST_MASKS} real and synthetic masks to compare, "
            f"got {len(real)} and {len(synthetic)}"
        )
    size = min(len(real) // 2, len(synthetic))
    generator = rng.numpy_generator(seed, "mask prior halves")
    chosen = [
        (generator.permutation(len(real))[: 2 * size], generator.permutation(len(synthetic))[:size])
        for _ in range(draws)
    ]
    rows = []
    for name in DIAGNOSTICS:
        # A draw in which one side has nothing to measure tells nothing.
        chance = _measured(_distance(name, real, half[:size], real, half[size:]) for half, _ in chosen)
        if len(chance):
            distances = _measured(_distance(name, real, half[:size], synthetic, others) for half, others in chosen)
            mean = float(distances.mean()) if len(distances) else float("inf")
            rows.append(PriorRow(name, mean, float(chance.mean()), float(np.quantile(chance, 0.95))))
    return PriorComparison(tuple(rows), size, real.mean_overlap(), synthetic.mean_overlap())


def _measure(nucleus: NDArray[np.bool_]) -> dict[str, Values]:
    regions = regionprops(label_regions(nucleus, connectivity=2))  # type: ignore[no-untyped-call]
    shaped = [region for region in regions if region.area >= _SMALLEST_SHAPE_PX]
    centres = np.array([region.centroid for region in regions]).reshape(-1, 2) / max(nucleus.shape)
    return {
        "nuclei": np.array([float(len(regions))]),
        "area": np.array([region.area / nucleus.size for region in regions], dtype=np.float64),
        "eccentricity": np.array([region.eccentricity for region in shaped], dtype=np.float64),
        "solidity": np.array([region.solidity for region in shaped], dtype=np.float64),
        "nearest neighbour": cKDTree(centres).query(centres, k=2)[0][:, 1] if len(centres) > 1 else np.zeros(0),
    }


def _overlaps(nuclei: NDArray[np.bool_]) -> Values:
    flat = nuclei.reshape(len(nuclei), -1).astype(np.float32)
    both = (flat @ flat.T).astype(np.float64)
    areas = flat.sum(axis=1, dtype=np.float64)
    either = areas[:, None] + areas[None, :] - both
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1), 1.0))  # two empty masks are the same


def _distance(
    name: str,
    left: MaskStatistics,
    left_masks: NDArray[np.int64],
    right: MaskStatistics,
    right_masks: NDArray[np.int64],
) -> float:
    if name == "overlap":
        return abs(left.mean_overlap(left_masks) - right.mean_overlap(right_masks))
    values = left.pooled(name, left_masks), right.pooled(name, right_masks)
    return float(wasserstein_distance(*values)) if all(map(len, values)) else float("nan")


def _measured(distances: Iterable[float]) -> Values:
    array = np.array(list(distances), dtype=np.float64)
    return array[np.isfinite(array)]
