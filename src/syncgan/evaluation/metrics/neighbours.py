"""Precision and recall, density and coverage, label agreement: what the nearest neighbours of images tell.

All functions take distances, so that those of many images are computed once and cut for every draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syncgan.errors import DataError

__all__ = ["Distances", "coverage", "density", "label_agreement", "precision", "recall"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """Euclidean distances among N real images, among M synthetic images, and between both.

    Attributes
    ----------
    real : (N, N).
    synthetic : (M, M).
    between : (M, N), synthetic to real.
    """

    real: Matrix
    synthetic: Matrix
    between: Matrix

    @classmethod
    def of(cls, synthetic: Matrix, real: Matrix) -> Distances:
        """Measure them between features `synthetic` (M, D) and `real` (N, D)."""
        from scipy.spatial.distance import cdist

        return cls(cdist(real, real), cdist(synthetic, synthetic), cdist(synthetic, real))


def precision(distances: Distances, *, neighbours: int = 3) -> float:
    """Return the share of synthetic images that lie within a real image's distance to its k-th nearest real one.

    Parameters
    ----------
    distances : see `Distances`.
    neighbours : k.

    Raises
    ------
    DataError
        No more than k images.

    References
    ----------
    Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019.
    """
    return float((distances.between <= _radii(distances.real, neighbours)).any(axis=1).mean())


def recall(distances: Distances, *, neighbours: int = 3) -> float:
    """Return the share of real images within the distance of a synthetic image to its k-th nearest synthetic one.

    Parameters
    ----------
    distances : see `Distances`.
    neighbours : k.

    Raises
    ------
    DataError
        No more than k images.

    References
    ----------
    Kynkaanniemi et al., as for `precision`.
    """
    within = distances.between <= _radii(distances.synthetic, neighbours)[:, None]
    return float(within.any(axis=0).mean())


def density(distances: Distances, *, neighbours: int = 5) -> float:
    """Return how many real neighbourhoods a synthetic image lies in, in units of k; 1 is expected for real images.

    Parameters
    ----------
    distances : see `Distances`.
    neighbours : k.

    Raises
    ------
    DataError
        No more than k images.

    References
    ----------
    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020.
    """
    within = distances.between <= _radii(distances.real, neighbours)
    return float(within.sum(axis=1).mean() / neighbours)


def coverage(distances: Distances, *, neighbours: int = 5) -> float:
    """Return the share of real images with a synthetic image nearer than their k-th nearest real one.

    Parameters
    ----------
    distances : see `Distances`.
    neighbours : k.

    Raises
    ------
    DataError
        No more than k images.

    References
    ----------
    Naeem et al., as for `density`.
    """
    return float((distances.between.min(axis=0) <= _radii(distances.real, neighbours)).mean())


def label_agreement(
    distances: Distances, synthetic_labels: NDArray[Any], real_labels: NDArray[Any], *, neighbours: int = 5
) -> float:
    """Return the mean share of an image's k nearest real images that bear its own label.

    Parameters
    ----------
    distances : see `Distances`.
    neighbours : k.
    synthetic_labels, real_labels : (M,) and (N,).

    Raises
    ------
    DataError
        No more than k images.
    """
    _enough(len(real_labels), neighbours - 1)
    nearest = np.argpartition(distances.between, neighbours - 1, axis=1)[:, :neighbours]
    return float((real_labels[nearest] == synthetic_labels[:, None]).mean())


def _radii(distances: Matrix, neighbours: int) -> Matrix:
    """Return the distance of each image to its k-th nearest other one."""
    _enough(len(distances), neighbours)
    # An image's distance to itself stands first.
    return np.asarray(np.partition(distances, neighbours, axis=1)[:, neighbours])


def _enough(images: int, neighbours: int) -> None:
    if images <= neighbours:
        raise DataError(f"expected more than {neighbours} images for their nearest neighbours, got {images}")
