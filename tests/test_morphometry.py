"""Nuclear morphometry, against shapes whose measurements are known."""

import numpy as np
import pytest
import torch

from syncgan.errors import DataError
from syncgan.evaluation.morphometry import MEASUREMENTS, nuclear_features, standardised


def measured(image, mask, **keywords):
    values = nuclear_features(torch.from_numpy(image)[None], mask[None], **keywords)
    return dict(zip(MEASUREMENTS, values[0], strict=True))


def ellipse(mask, centre, half_axes):
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    inside = ((rows - centre[0]) / half_axes[0]) ** 2 + ((columns - centre[1]) / half_axes[1]) ** 2 <= 1
    mask[inside] = 1
    return inside


def test_an_ellipse_has_its_area_and_eccentricity_and_is_solid():
    mask = np.zeros((96, 96), np.uint8)
    ellipse(mask, (48, 48), (15, 30))
    found = measured(np.full((3, 96, 96), 100, np.uint8), mask)
    assert np.exp(found["log area, mean"]) == pytest.approx(np.pi * 15 * 30 / 96**2, rel=0.01)
    assert found["nuclear share"] == pytest.approx(np.exp(found["log area, mean"]))
    assert found["eccentricity, mean"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)
    assert found["solidity, mean"] > 0.96
    assert np.expm1(found["log nuclei"]) == pytest.approx(1)
    assert found["gradient, mean"] == pytest.approx(0)
    assert found["log area, deviation"] == 0


def test_colours_and_texture_are_those_inside_the_nuclei_averaged_over_nuclei():
    mask, image = np.zeros((64, 64), np.uint8), np.full((3, 64, 64), 255, np.uint8)
    small, large = ellipse(mask, (12, 12), (8, 8)), ellipse(mask, (42, 42), (18, 18))
    image[:, small] = np.array([[51], [102], [153]])
    image[:, large] = np.array([[102], [102], [102]])
    image[:, np.logical_and(large, np.indices((64, 64)).sum(0) % 2 == 0)] = 0
    found = measured(image, mask)
    checked = np.logical_and(large, np.indices((64, 64)).sum(0) % 2 == 1).sum() / large.sum()
    assert found["red, mean"] == pytest.approx((0.2 + 0.4 * checked) / 2)
    assert found["blue, deviation"] == pytest.approx((0.6 - 0.4 * checked) / 2)
    # Within the small nucleus nothing varies.
    assert found["brightness deviation, mean"] == pytest.approx(0.4 * np.sqrt(checked * (1 - checked)) / 2)


def test_only_the_highest_level_is_nucleus_and_specks_are_none():
    mask = np.zeros((48, 48), np.uint8)
    ellipse(mask, (24, 24), (16, 16))
    nucleus = np.zeros_like(mask)
    ellipse(nucleus, (24, 24), (8, 8))
    nucleus[2, 2] = 1
    found = measured(np.zeros((3, 48, 48), np.uint8), mask + nucleus, levels=3)
    assert np.expm1(found["log nuclei"]) == pytest.approx(1)
    assert np.exp(found["log area, mean"]) == pytest.approx(np.pi * 64 / 48**2, rel=0.03)


def test_images_without_nuclei_are_zero_and_finite():
    assert (
        nuclear_features(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), np.zeros((2, 16, 16), np.uint8)).tolist()
        == [[0.0] * len(MEASUREMENTS)] * 2
    )


def test_standardised_features_have_mean_0_and_deviation_1_and_no_wild_values():
    reference = np.random.default_rng(0).normal(7, 3, (50, 2)) * [1, 0]
    found = standardised(reference, reference)
    assert found.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert found.std(axis=0) == pytest.approx([1, 0])
    assert np.abs(standardised(reference + 100, reference)).max() == 5


def test_masks_of_other_images_are_refused():
    with pytest.raises(DataError, match="N masks"):
        nuclear_features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.zeros((3, 8, 8), np.uint8))
