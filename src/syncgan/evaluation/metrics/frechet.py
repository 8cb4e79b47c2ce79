"""Frechet distance: how far apart two Gaussians are that have the sets' means and covariances.

With few images it is far above 0 even between sets of one distribution, and the more features there are the farther;
only figures from equally many images can be compared. `comparison` therefore always sets it beside that of real images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svdvals

from syncgan.errors import DataError

__all__ = ["frechet_distance"]

Features = NDArray[np.float64]


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Frechet distance, the squared 2-Wasserstein distance of fitted Gaussians; FID of Inception features.

    ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))`` with unbiased covariances. The last trace is computed as the
    sum of the singular values of ``X1 X2^T`` (X centred), which needs no root of a matrix, is exact where there are
    fewer images than features, and costs no more than the smaller of both numbers asks.

    Parameters
    ----------
    first, second : (N, D) and (M, D), at least two images each.

    Raises
    ------
    DataError
        Fewer than two images on a side.

    References
    ----------
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017.
    """
    if min(len(first), len(second)) < 2:
        raise DataError(f"expected at least two images on each side, got {len(first)} and {len(second)}")
    means = first.mean(axis=0), second.mean(axis=0)
    factors = [
        _short((part - mean) / np.sqrt(len(part) - 1)) for part, mean in zip((first, second), means, strict=True)
    ]
    spread = sum(float(np.square(factor).sum()) for factor in factors)
    shared = float(svdvals(factors[0] @ factors[1].T).sum())
    return float(np.square(means[0] - means[1]).sum()) + spread - 2 * shared


def _short(factor: Features) -> Features:
    """Return a factor of the same covariance with no more rows than columns."""
    rows, columns = factor.shape
    return np.asarray(qr(factor, mode="r")[0][:columns]) if rows > columns else factor
