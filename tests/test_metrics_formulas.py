"""Frechet distance, neighbourhood metrics and variety, against closed forms, slow loops and torchmetrics."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from syncgan.errors import DataError
from syncgan.evaluation.metrics import (
    Distances,
    coverage,
    density,
    frechet_distance,
    kernel_distance,
    label_agreement,
    precision,
    recall,
    vendi_score,
)


def normal(count, mean=0.0, dim=6, seed=0, deviation=1.0):
    return np.random.default_rng(seed).normal(mean, deviation, (count, dim))


def gaussian(mean, covariance):
    """Return points whose sample mean and unbiased covariance are exactly these."""
    raw = normal(50, dim=len(mean), seed=3)
    raw = raw - raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_two_gaussians_matches_the_closed_form():
    first, second = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    # Covariances that commute: the squared differences of the deviations.
    expected = (3**2 + 1 + 0) + (1 - 2) ** 2 + 0 + (3 - 1) ** 2
    found = frechet_distance(gaussian([0, 0, 0], first), gaussian([3, 1, 0], second))
    assert found == pytest.approx(expected)


def test_frechet_distance_agrees_with_the_root_of_the_product_of_covariances():
    first = normal(40, dim=5) @ normal(5, dim=5, seed=8)
    second = normal(30, 0.5, dim=5, seed=1) @ normal(5, dim=5, seed=9)
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)


def test_frechet_distance_is_exact_with_fewer_images_than_features():
    # Turned into more dimensions, distances stay.
    first, second = normal(8, dim=3), normal(9, 1, dim=3, seed=1)
    turn = np.linalg.qr(normal(40, dim=40, seed=2))[0][:3]
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second))
    assert frechet_distance(first @ turn, first @ turn) == pytest.approx(0, abs=1e-9)


class AsTheyAre(torch.nn.Module):
    """What torchmetrics takes for a network: gives back features that come as images (N, 1, 1, D)."""

    num_features = 6

    def forward(self, images):
        return images.flatten(1) if images.shape[1] == 1 else torch.zeros(len(images), self.num_features)


@pytest.mark.filterwarnings("ignore")
def test_frechet_and_kernel_distance_agree_with_torchmetrics():
    fid, kid = (pytest.importorskip(f"torchmetrics.image.{name}") for name in ("fid", "kid"))
    first, second = normal(60), normal(60, 0.4, seed=1)
    ours = frechet_distance(first, second), kernel_distance(first, second)
    theirs = (
        fid.FrechetInceptionDistance(feature=AsTheyAre()),
        kid.KernelInceptionDistance(feature=AsTheyAre(), subsets=1, subset_size=60),
    )
    for metric in theirs:
        metric.set_dtype(torch.float64)
        for part, real in ((first, True), (second, False)):
            metric.update(torch.from_numpy(part)[:, None, None], real=real)
    assert ours[0] == pytest.approx(float(theirs[0].compute()), rel=1e-4)
    assert ours[1] == pytest.approx(float(theirs[1].compute()[0]), rel=1e-4)


def slow_radius(points, index, neighbours):
    others = [math.dist(points[index], other) for place, other in enumerate(points) if place != index]
    return sorted(others)[neighbours - 1]


def test_neighbourhood_metrics_are_the_published_formulas_image_by_image():
    real, synthetic = normal(23), normal(17, 0.8, seed=1, deviation=0.7)
    distances = Distances.of(synthetic, real)
    near, wide = ([slow_radius(real, i, k) for i in range(23)] for k in (3, 5))
    own = [slow_radius(synthetic, j, 3) for j in range(17)]
    inside = [any(math.dist(y, real[i]) <= near[i] for i in range(23)) for y in synthetic]
    found = [any(math.dist(x, synthetic[j]) <= own[j] for j in range(17)) for x in real]
    crowd = sum(math.dist(y, real[i]) <= wide[i] for y in synthetic for i in range(23))
    covered = [min(math.dist(real[i], y) for y in synthetic) <= wide[i] for i in range(23)]
    assert precision(distances) == pytest.approx(np.mean(inside))
    assert recall(distances) == pytest.approx(np.mean(found))
    assert density(distances) == pytest.approx(crowd / (5 * 17))
    assert coverage(distances) == pytest.approx(np.mean(covered))
    assert 0 < precision(distances) < 1
    assert 0 < recall(distances) < 1


def test_density_and_coverage_of_one_distribution_are_what_theory_expects():
    pairs = [Distances.of(normal(20, seed=2 * i), normal(20, seed=2 * i + 1)) for i in range(300)]
    expected = 1 - np.prod([(20 - i) / (40 - i) for i in range(1, 6)])
    for metric, value in ((density, 1.0), (coverage, expected)):
        found = [metric(pair) for pair in pairs]
        assert abs(np.mean(found) - value) < 4 * np.std(found) / 300**0.5


def test_fewer_images_than_neighbours_are_refused():
    with pytest.raises(DataError, match=r"more than 5 images.*got 5"):
        density(Distances.of(normal(5), normal(5)))


def test_label_agreement_counts_neighbours_of_the_own_class():
    real = np.array([0, 1, 2, 10, 11, 12.0])[:, None]
    distances = Distances.of(np.array([[1.0], [11.0]]), real)
    labels = np.array([0, 0, 1, 1, 1, 1])
    assert label_agreement(distances, np.array([0, 1]), labels, neighbours=3) == pytest.approx((2 / 3 + 1) / 2)


def test_vendi_score_counts_the_different_images():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 3))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(2), [10, 30], axis=0)) == pytest.approx(4 / 3**0.75)
    wide, few = normal(9, dim=40), normal(40, dim=9)
    for points in (wide, few):
        rows = points / np.linalg.norm(points, axis=1, keepdims=True)
        shares = np.linalg.eigvalsh(rows @ rows.T / len(rows)).clip(1e-300)
        assert vendi_score(points) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
