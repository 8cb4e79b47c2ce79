"""A Gaussian mixture fitted to a colour histogram instead of to pixels.

Every pixel of one colour bin has the same posterior, so EM needs one column a bin: some hundred columns whatever the
image size. Two points keep it honest: the variance of the colours inside a bin, ``width**2 / 12`` a channel, is added
to every covariance (without it, saturated pixels collapse a component), and the start is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mixture", "fit_mixture", "quadratic_features"]

Floats = NDArray[np.float64]
Features = NDArray[np.floating[Any]]

# The upper triangle of x x^T: the logarithm of a Gaussian is linear in (1, x, these products).
_ROW, _COLUMN = np.triu_indices(3)
_PRODUCT_FACTORS = np.where(_ROW == _COLUMN, -0.5, -1.0)

_KMEANS_STEPS = 3


@dataclass(frozen=True)
class Mixture:
    """K Gaussians over RGB.

    Attributes
    ----------
    weights : (K,) float64, sums to 1.
    means : (K, 3) float64, gray levels 0..255.
    covariances : (K, 3, 3) float64, symmetric positive definite.
    """

    weights: Floats
    means: Floats
    covariances: Floats

    def log_joint(self, features: Features) -> Features:
        """Return (K, N): log of weight times density, up to one constant, of the `quadratic_features` of N colours."""
        precisions = np.linalg.inv(self.covariances)
        linear = (precisions @ self.means[:, :, None])[..., 0]
        _, log_determinants = np.linalg.slogdet(self.covariances)
        constant = np.log(self.weights) - 0.5 * (log_determinants + (linear * self.means).sum(axis=1))
        products = precisions[:, _ROW, _COLUMN] * _PRODUCT_FACTORS
        coefficients = np.concatenate([constant[:, None], linear, products], axis=1)
        return np.asarray(np.matmul(coefficients.astype(features.dtype), features))

    def posteriors(self, features: Features) -> Floats:
        """Return (K, N) posterior probabilities, given the `quadratic_features` of N colours."""
        joint = self.log_joint(features).astype(np.float64, copy=False)
        joint -= joint.max(axis=0)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=0)
        return joint


def quadratic_features(colours: Floats) -> Floats:
    """Return (10, N) for (3, N) colours: 1, x, and the six products of x. Their weighted sums are all that EM needs."""
    return np.concatenate([np.ones_like(colours[:1]), colours, colours[_ROW] * colours[_COLUMN]])


def fit_mixture(
    colours: Floats,
    counts: Floats,
    *,
    components: int,
    bin_width: float,
    iterations: int,
    tolerance: float = 0.01,
) -> Mixture:
    """Fit a Gaussian mixture to weighted colours by expectation maximisation.

    Parameters
    ----------
    colours : (3, N) float64 bin centres in gray levels.
    counts : (N,) float64 weight of each bin, all positive.
    components : K; at most N are used.
    bin_width : side of a bin in gray levels.
    iterations : at most so many steps.
    tolerance : stop when no mean moves by more than this many bin widths in a step.

    Returns
    -------
    Mixture of at most `components` Gaussians.

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning", 2006, Sec. 9.2.2 (EM). Arthur and Vassilvitskii, "k-means++",
    SODA 2007 (the start; here greedy and deterministic: the next centre is the bin with the largest weighted distance).
    """
    features = quadratic_features(colours)
    shares = counts / counts.sum()
    members = _kmeans_memberships(colours, shares, min(components, len(shares)))
    members = members[members.any(axis=1)]
    mixture = _maximise(features, members * shares, bin_width)
    for _ in range(iterations):
        previous = mixture.means
        mixture = _maximise(features, mixture.posteriors(features) * shares, bin_width)
        if np.abs(mixture.means - previous).max() < tolerance * bin_width:
            break
    return mixture


def _maximise(features: Floats, responsibilities: Floats, bin_width: float) -> Mixture:
    # einsum, not BLAS: its result does not depend on the number of threads that a worker was given.
    moments = np.einsum("kn,dn->kd", responsibilities, features)
    weights = np.maximum(moments[:, 0], 1e-12)
    moments /= weights[:, None]
    means = moments[:, 1:4]
    second = np.empty((len(weights), 3, 3))
    second[:, _ROW, _COLUMN] = second[:, _COLUMN, _ROW] = moments[:, 4:]
    covariances = second - means[:, :, None] * means[:, None, :] + np.eye(3) * (bin_width**2 / 12)
    return Mixture(weights / weights.sum(), means, covariances)


def _kmeans_memberships(colours: Floats, shares: Floats, clusters: int) -> Floats:
    """Return (K, N) one-hot memberships after greedy k-means++ seeding and a few Lloyd steps."""
    centres = _spread_centres(colours, shares, clusters)
    members = _nearest(colours, centres)
    for _ in range(_KMEANS_STEPS):
        weighted = members * shares
        mass = weighted.sum(axis=1)
        moved = np.einsum("kn,dn->kd", weighted, colours) / np.maximum(mass, 1e-12)[:, None]
        centres = np.where(mass[:, None] > 0, moved, centres)
        previous, members = members, _nearest(colours, centres)
        if np.array_equal(members, previous):
            break
    return members


def _spread_centres(colours: Floats, shares: Floats, clusters: int) -> Floats:
    centres = [colours[:, int(shares.argmax())]]
    distance = np.full(shares.shape, np.inf)
    for _ in range(clusters - 1):
        distance = np.minimum(distance, ((colours - centres[-1][:, None]) ** 2).sum(axis=0))
        centres.append(colours[:, int((shares * distance).argmax())])
    return np.array(centres)


def _nearest(colours: Floats, centres: Floats) -> Floats:
    # |x|^2 is the same for every centre, so the nearest one is found without it.
    closeness = centres @ colours - 0.5 * (centres**2).sum(axis=1)[:, None]
    return np.asarray(closeness.argmax(axis=0) == np.arange(len(centres))[:, None], dtype=np.float64)
