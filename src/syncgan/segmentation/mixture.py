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

from syncgan.arrays import Floats

__all__ = ["Mixture", "fit_mixture", "quadratic_features"]

Features = NDArray[np.floating[Any]]


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
        constant, linear, quadratic = self._coefficients()
        coefficients = np.concatenate([constant[:, None], linear, quadratic.reshape(-1, 9)], axis=1)
        return np.asarray(np.matmul(coefficients.astype(features.dtype), features))

    def log_joint_of_grid(self, levels: Floats) -> NDArray[np.float32]:
        """Return (K, n, n, n): `log_joint` of all colours with red, green and blue in `levels` (n,).

        A quadratic function of three numbers is a sum of three of two numbers each, which are small tables.
        """
        constant, linear, quadratic = self._coefficients()
        own = linear[:, :, None] * levels + np.einsum("kdd->kd", quadratic)[:, :, None] * levels**2
        mixed = 2 * quadratic[..., None, None] * (levels[:, None] * levels)
        red_green = constant[:, None, None] + own[:, 0, :, None] + own[:, 1, None] + mixed[:, 0, 1]
        red_blue = own[:, 2, None] + mixed[:, 0, 2]
        green_blue = mixed[:, 1, 2]
        first, second, third = (table.astype(np.float32) for table in (red_green, red_blue, green_blue))
        joint = first[..., None] + second[:, :, None]
        joint += third[:, None]
        return joint

    def _coefficients(self) -> tuple[Features, Features, Features]:
        """Return (K,), (K, 3) and (K, 3, 3): what the log of weight times density multiplies 1, x and x x^T by."""
        precisions = np.linalg.inv(self.covariances)
        linear = (precisions @ self.means[:, :, None])[..., 0]
        _, log_determinants = np.linalg.slogdet(self.covariances)
        constant = np.log(self.weights) - 0.5 * (log_determinants + (linear * self.means).sum(axis=1))
        return constant, linear, -0.5 * precisions

    def posteriors(self, features: Features) -> Floats:
        """Return (K, N) posterior probabilities, given the `quadratic_features` of N colours."""
        joint = self.log_joint(features).astype(np.float64, copy=False)
        joint -= joint.max(axis=0)
        np.exp(joint, out=joint)
        joint /= joint.sum(axis=0)
        return joint


def quadratic_features(colours: Floats) -> Floats:
    """Return (13, N) for (3, N) colours: 1, x and x x^T, in which the logarithm of a Gaussian is linear."""
    products = colours[:, None] * colours
    return np.concatenate([np.ones_like(colours[:1]), colours, products.reshape(9, -1)])


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
    SODA 2007 (the start; here greedy and deterministic: the next centre is the bin with the largest weighted distance,
    and there are no further steps of k-means).
    """
    features = quadratic_features(colours)
    shares = counts / counts.sum()
    members = _nearest(colours, _spread_centres(colours, shares, min(components, len(shares))))
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
    means, second = moments[:, 1:4], moments[:, 4:].reshape(-1, 3, 3)
    covariances = second - means[:, :, None] * means[:, None, :] + np.eye(3) * (bin_width**2 / 12)
    return Mixture(weights / weights.sum(), means, covariances)


def _spread_centres(colours: Floats, shares: Floats, clusters: int) -> Floats:
    """Return (K, 3): distinct colours, each far from those before it and frequent."""
    centres = [colours[:, int(shares.argmax())]]
    distance = np.full(shares.shape, np.inf)
    for _ in range(clusters - 1):
        distance = np.minimum(distance, ((colours - centres[-1][:, None]) ** 2).sum(axis=0))
        centres.append(colours[:, int((shares * distance).argmax())])
    return np.array(centres)


def _nearest(colours: Floats, centres: Floats) -> Floats:
    """Return (K, N) one-hot memberships."""
    # |x|^2 is the same for every centre, so the nearest one is found without it.
    closeness = centres @ colours - 0.5 * (centres**2).sum(axis=1)[:, None]
    return np.asarray(closeness.argmax(axis=0) == np.arange(len(centres))[:, None], dtype=np.float64)
