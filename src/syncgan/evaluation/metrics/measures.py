"""The metrics of a comparison: their names, what they say in a sentence, and their values for one draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syncgan.evaluation.metrics import neighbours
from syncgan.evaluation.metrics.frechet import frechet_distance
from syncgan.evaluation.metrics.kernel import cubic, unbiased
from syncgan.evaluation.metrics.variety import vendi_score

__all__ = ["FEWEST_IMAGES", "MEASURES", "Better", "Space"]

Better = Literal["lower", "higher", "like real"]
Matrix = NDArray[np.float64]
Positions = NDArray[np.int64]

_PRECISION_NEIGHBOURS, _DENSITY_NEIGHBOURS = 3, 5  # the published ones
_ROUNDING = 1e-12
FEWEST_IMAGES = _DENSITY_NEIGHBOURS + 1
"""Images that each side of a draw needs: fewer have no fifth neighbour."""


class _Measure(NamedTuple):
    better: Better
    explanation: str


MEASURES: dict[str, _Measure] = {
    "kernel distance": _Measure(
        "lower", "Distance between the two sets as a whole (KID's formula), the only one that is unbiased at any size."
    ),
    "kernel distance within classes": _Measure(
        "lower", "The same for each class by itself, then averaged; high when images do not look like their own class."
    ),
    "Fréchet distance": _Measure(
        "lower",
        "Distance between Gaussians fitted to the two sets; far above 0 even for real images when these are few, "
        "so read it only beside the real baseline.",
    ),
    "precision": _Measure("higher", "Share of the images that look real: that lie near some real image."),
    "recall": _Measure("higher", "Share of the real images that lie near some image of the set: variety."),
    "density": _Measure(
        "higher",
        "How closely the images crowd around real ones; about 1 for real images, above 1 when in typical places.",
    ),
    "coverage": _Measure(
        "higher", "Share of the real images that have an image of the set in their nearest neighbourhood."
    ),
    "diversity": _Measure(
        "like real", "Mean distance between two images of a class, divided by that of real images; below 1 too uniform."
    ),
    "Vendi score": _Measure("like real", "Effective number of different images in the set."),
    "label agreement": _Measure(
        "higher",
        "Share of an image's five nearest real images that bear its label; low when labels are wrong, "
        "above real when classes are drawn further apart than they are.",
    ),
}


@dataclass(frozen=True)
class Space:
    """Real and then synthetic images in one feature space, with everything that draws share computed once.

    Attributes
    ----------
    points : (N, D) features.
    labels : (N,) classes, or None where none are known.
    kernel, distances : (N, N) of every image with every image.
    """

    points: Matrix
    labels: NDArray[Any] | None
    kernel: Matrix
    distances: Matrix

    @classmethod
    def of(cls, points: Matrix, labels: NDArray[Any] | None) -> Space:
        """Compute what draws share."""
        products = points @ points.T
        return cls(points, labels, cubic(products, points.shape[1]), _distances(products))

    def measure(self, candidate: Positions, reference: Positions) -> dict[str, float]:
        """Return the value of every metric for some images against as many others of the same classes."""
        between = neighbours.Distances(
            self.distances[np.ix_(reference, reference)],
            self.distances[np.ix_(candidate, candidate)],
            self.distances[np.ix_(candidate, reference)],
        )
        values = {
            "kernel distance": self._kernel_distance(candidate, reference),
            "Fréchet distance": frechet_distance(self.points[candidate], self.points[reference]),
            "precision": neighbours.precision(between, neighbours=_PRECISION_NEIGHBOURS),
            "recall": neighbours.recall(between, neighbours=_PRECISION_NEIGHBOURS),
            "density": neighbours.density(between, neighbours=_DENSITY_NEIGHBOURS),
            "coverage": neighbours.coverage(between, neighbours=_DENSITY_NEIGHBOURS),
            "diversity": _ratio(self._spread(candidate), self._spread(reference)),
            "Vendi score": vendi_score(self.points[candidate]),
        }
        if self.labels is not None:
            own, other = self.labels[candidate], self.labels[reference]
            values["kernel distance within classes"] = self._within_classes(candidate, reference, self.labels)
            values["label agreement"] = neighbours.label_agreement(between, own, other, neighbours=_DENSITY_NEIGHBOURS)
        return values

    def _kernel_distance(self, candidate: Positions, reference: Positions) -> float:
        pairs = ((candidate, candidate), (reference, reference), (candidate, reference))
        return unbiased(*(self.kernel[np.ix_(*pair)] for pair in pairs))

    def _within_classes(self, candidate: Positions, reference: Positions, labels: NDArray[Any]) -> float:
        found = []
        for label in np.unique(labels[reference]):
            mine, theirs = (side[labels[side] == label] for side in (candidate, reference))
            if len(mine) > 1:
                found.append(self._kernel_distance(mine, theirs))
        return float(np.mean(found)) if found else float("nan")

    def _spread(self, chosen: Positions) -> float:
        """Return the mean distance between two of the images, of one class where classes are known."""
        kinds = np.zeros(len(chosen)) if self.labels is None else self.labels[chosen]
        pairs = np.triu(kinds[:, None] == kinds[None, :], 1)
        return float(self.distances[np.ix_(chosen, chosen)][pairs].mean()) if pairs.any() else float("nan")


def _distances(products: Matrix) -> Matrix:
    """Return Euclidean distances from scalar products, many times faster than `cdist` with many features."""
    squares = np.diag(products)
    sums = squares[:, None] + squares[None, :]
    found = sums - 2 * products
    # What is left of equal rows by rounding must be 0: the neighbourhood of an image with copies has no size.
    found[found < _ROUNDING * sums] = 0
    return np.sqrt(found)


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit else float("nan")
