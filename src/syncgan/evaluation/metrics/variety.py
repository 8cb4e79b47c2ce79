"""How much the images of one set differ among themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_pairwise_distance", "vendi_score"]

Features = NDArray[np.float64]


def mean_pairwise_distance(features: Features) -> float:
    """Return the mean Euclidean distance between all pairs of rows of `features` (N, D); 0 for fewer than two."""
    from scipy.spatial.distance import pdist

    return float(pdist(features).mean()) if len(features) > 1 else 0.0


def vendi_score(features: Features) -> float:
    """Return the Vendi score: the effective number of different images, 1 when all are the same and N at most.

    The exponential of the entropy of the eigenvalues of the cosine similarities of `features` (N, D), divided by N.

    References
    ----------
    Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning", TMLR 2023.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    rows = features / np.maximum(lengths, np.finfo(np.float64).tiny) / np.sqrt(len(features))
    # Both products have the same eigenvalues other than 0: take the smaller.
    shares = np.linalg.eigvalsh(rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
