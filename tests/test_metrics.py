"""Features and distances between sets of images, against slow formulas and sets that are known to be alike or not."""

import itertools

import numpy as np
import pytest
import torch

from syncgan import Phantom
from syncgan.errors import DataError
from syncgan.evaluation.features import PretrainedFeatures, TextureFeatures, default_features, installed
from syncgan.evaluation.metrics import (
    kernel_distance,
    kernel_distance_interval,
    mean_pairwise_distance,
    real_against_real,
)


def normal(count, mean=0.0, dim=6, seed=0):
    return np.random.default_rng(seed).normal(mean, 1, (count, dim))


def kernel(x, y):
    return (x @ y / len(x) + 1) ** 3


def test_kernel_distance_is_the_published_formula_term_by_term():
    first, second = normal(5), normal(7, 0.5, seed=1)
    expected = np.mean([kernel(x, y) for x, y in itertools.permutations(first, 2)])
    expected += np.mean([kernel(x, y) for x, y in itertools.permutations(second, 2)])
    expected -= 2 * np.mean([kernel(x, y) for x, y in itertools.product(first, second)])
    assert kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_is_unbiased_between_sets_of_one_distribution():
    found = [kernel_distance(normal(10, seed=2 * i), normal(10, seed=2 * i + 1)) for i in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20


def test_kernel_distance_grows_with_the_shift():
    found = [kernel_distance(normal(60), normal(60, mean, seed=1)) for mean in (0, 0.3, 1)]
    assert found[0] < found[1] < found[2]


def test_one_image_is_refused():
    with pytest.raises(DataError, match="at least two images"):
        kernel_distance(normal(1), normal(5))


def test_the_interval_covers_the_distance_between_the_distributions_about_as_often_as_it_says():
    shift = 0.4
    truth = np.mean([kernel_distance(normal(200, seed=900 + i), normal(200, shift, seed=950 + i)) for i in range(30)])
    hits = 0
    for i in range(60):
        low, high = kernel_distance_interval(
            normal(40, seed=2 * i), normal(40, shift, seed=2 * i + 1), repeats=100, seed=i
        )
        hits += low <= truth <= high
    assert hits >= 50


def test_real_sets_never_share_a_group_and_their_distance_is_around_zero():
    # Images of one group are copies of each other: a group on both sides would make the distance negative.
    features, groups = normal(30).repeat(4, axis=0), np.arange(30).repeat(4)
    by_group = real_against_real(features, size=60, groups=groups)
    blind = real_against_real(features, size=60)
    assert by_group.size == 60
    assert by_group.mean > blind.mean
    assert by_group.percentile_95 > 0


def test_mean_pairwise_distance_of_a_square():
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    assert mean_pairwise_distance(corners) == pytest.approx((4 + 2 * 2**0.5) / 6)
    assert mean_pairwise_distance(corners[:1]) == 0


def pictures(count=6, size=48, seed=0):
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.skipif(not installed(), reason="the packages of the extra `metrics` are not installed")
def test_pretrained_features_do_not_depend_on_the_batch_and_leave_the_random_state_alone():
    before = torch.random.get_rng_state()
    features = PretrainedFeatures(64, batch_size=4)
    assert torch.equal(before, torch.random.get_rng_state())
    found = features(pictures())
    assert found.shape == (6, 1280)
    np.testing.assert_allclose(found[:3], PretrainedFeatures(64, batch_size=1)(pictures()[:3]), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not installed(), reason="the packages of the extra `metrics` are not installed")
def test_pretrained_features_see_that_noise_is_not_a_smooth_field():
    smooth = torch.nn.functional.interpolate(pictures(12, 4).float(), size=48, mode="bicubic").clamp(0, 255).byte()
    features = PretrainedFeatures(64)
    apart = kernel_distance(features(pictures(12)), features(smooth))
    alike = kernel_distance(features(pictures(12)), features(pictures(12, seed=1)))
    assert apart > 10 * abs(alike)


def test_texture_features_see_colour_and_texture():
    features, base = TextureFeatures(), pictures()
    base = torch.nn.functional.avg_pool2d(base.float(), 3, stride=1, padding=1).byte()
    flat = base.float().mean(dim=(2, 3), keepdim=True).expand(-1, -1, 48, 48).byte()
    assert features(base).shape == (6, 84)
    assert np.isfinite(features(flat)).all()
    assert np.linalg.norm(features(flat) - features(base), axis=1).min() > 1.2
    assert np.abs(features(base.flip(-1)) - features(base)).max() < 0.4


@pytest.mark.parametrize("features", [TextureFeatures, default_features])
def test_features_of_either_kind_have_about_the_same_size(features):
    phantom = Phantom(4, image_size=128)
    images = torch.stack([torch.from_numpy(phantom.image(index).copy()) for index in range(len(phantom))])
    size = np.sqrt((features()(images.permute(0, 3, 1, 2)) ** 2).mean())
    assert 0.5 < size < 2


def test_the_default_features_say_what_they_are():
    assert ("EfficientNet" in default_features().name) == installed()


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_features_refuse_what_are_no_uint8_images(images):
    with pytest.raises(DataError, match="expected uint8 images"):
        TextureFeatures()(images)


def test_too_few_images_or_groups_for_halves_are_refused_before_anything_is_measured():
    with pytest.raises(DataError, match=r"at least 4 images on each side.*got 3 and 8"):
        kernel_distance_interval(normal(3), normal(8))
    with pytest.raises(DataError, match=r"at least two groups.*got 1; leave groups out"):
        real_against_real(normal(8), size=4, groups=["slide 1"] * 8)
    with pytest.raises(DataError, match="got 3 groups and 8 images"):
        real_against_real(normal(8), size=4, groups=[1, 2, 3])
    low, high = kernel_distance_interval(normal(4), normal(4), repeats=5)
    assert low <= high
