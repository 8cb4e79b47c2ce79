"""Diagnostics of the mask prior against independent truths."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from syncgan.errors import DataError, SamplingError
from syncgan.evaluation.mask_prior import DIAGNOSTICS, compare_masks, measure_masks
from syncgan.evaluation.mask_prior_report import compare_priors


def ellipse(size=64, centre=(32, 32), axes=(16, 8), levels=2):
    drawn = np.zeros((size, size), np.uint8)
    cv2.ellipse(drawn, centre, axes, 0, 0, 360, levels - 1, -1)
    return drawn


def fields(generator, count=24, radius=(3, 6), size=48, levels=2):
    maps = np.zeros((count, size, size), np.uint8)
    for one in maps:
        for _ in range(int(generator.integers(1, 5))):
            centre = tuple(int(value) for value in generator.integers(6, size - 6, 2))
            cv2.circle(one, centre, int(generator.integers(*radius)), levels - 1, -1)
    return maps


def test_an_ellipse_has_the_measures_of_an_ellipse():
    statistics = measure_masks(ellipse()[None], levels=2)
    assert statistics.pooled("nuclei").tolist() == [1]
    assert statistics.pooled("area")[0] == pytest.approx(np.pi * 16.5 * 8.5 / 64**2, rel=0.03)  # half a pixel around
    assert statistics.pooled("eccentricity")[0] == pytest.approx(np.sqrt(1 - (8 / 16) ** 2), abs=0.02)
    assert statistics.pooled("solidity")[0] > 0.95
    assert len(statistics.pooled("nearest neighbour")) == 0


def test_a_class_that_cannot_be_drawn_is_left_out_of_the_comparison_with_a_warning():
    maps = torch.from_numpy(fields(np.random.default_rng(0)))

    def sample_masks(name, samples, *, seed):
        if name == "b":
            raise SamplingError("class 'b': the mask filter refused all masks")
        return maps

    augmenter = SimpleNamespace(
        classes_=("a", "b"),
        label_values_=(0, 1),
        levels_=2,
        pairs_=SimpleNamespace(of_label=lambda label: maps),
        sample_masks=sample_masks,
    )
    with pytest.warns(UserWarning, match="not compared with real ones: class 'b'"):
        assert list(compare_priors(augmenter)) == ["a"]


def test_only_the_nucleus_level_counts():
    stained = ellipse(levels=3)
    stained[:8] = 1
    assert measure_masks(stained[None], levels=3).pooled("nuclei").tolist() == [1]


def test_neighbours_are_as_far_apart_as_their_centres():
    both = ellipse(centre=(16, 32), axes=(6, 6)) | ellipse(centre=(48, 32), axes=(6, 6))
    distances = measure_masks(both[None], levels=2).pooled("nearest neighbour")
    assert distances == pytest.approx([0.5, 0.5], abs=0.01)


def test_overlap_is_the_mean_intersection_over_union_of_pairs():
    left, right = np.zeros((2, 8, 8), np.uint8)
    left[:, :4], right[:, 2:6] = 1, 1
    statistics = measure_masks(np.stack([left, right, left]), levels=2)
    assert statistics.mean_overlap() == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert np.isnan(statistics.mean_overlap([0]))


def test_masks_of_the_same_kind_are_alike_and_others_are_not():
    generator = np.random.default_rng(0)
    real, same = fields(generator), fields(generator)
    assert compare_masks(real, same, levels=2).share_alike >= 5 / 6
    larger = compare_masks(real, fields(generator, radius=(9, 12)), levels=2)
    area = next(row for row in larger.rows if row.diagnostic == "area")
    assert not area.alike
    assert area.verdict == "differs"


def test_collapse_shows_as_overlap():
    generator = np.random.default_rng(0)
    real = fields(generator)
    comparison = compare_masks(real, np.repeat(real[:1], 12, axis=0), levels=2)
    assert comparison.synthetic_overlap == 1
    assert comparison.excess_overlap > 0.5
    assert not next(row for row in comparison.rows if row.diagnostic == "overlap").alike


def test_real_halves_are_disjoint_so_that_copies_are_no_yardstick():
    """Two halves of masks that all differ by a lot are further apart than the masks are from themselves."""
    maps = np.stack([ellipse(axes=(4 + k, 4 + k)) for k in range(20)])
    comparison = compare_masks(maps, maps, levels=2)
    area = next(row for row in comparison.rows if row.diagnostic == "area")
    assert 0 < area.distance < area.real_95
    assert area.real_mean > 0


def test_what_cannot_be_measured_has_no_row_and_empty_masks_do_no_harm():
    single = np.stack([ellipse(axes=(8 + k % 3, 8)) for k in range(8)])
    names = [row.diagnostic for row in compare_masks(single, single, levels=2).rows]
    assert names == [name for name in DIAGNOSTICS if name != "nearest neighbour"]
    empty = compare_masks(single, np.zeros_like(single), levels=2)
    area = next(row for row in empty.rows if row.diagnostic == "area")
    assert area.distance == float("inf")
    assert not area.alike


def test_a_comparison_is_a_function_of_its_seed_and_cannot_be_changed():
    real = fields(np.random.default_rng(0), count=12)
    first = compare_masks(real, real[:6], levels=2, seed=1)
    assert first == compare_masks(real, real[:6], levels=2, seed=1)
    assert first.size == 6
    with pytest.raises(FrozenInstanceError):
        first.size = 3


def test_too_few_masks_are_refused():
    real = fields(np.random.default_rng(0), count=4)
    with pytest.raises(DataError, match="at least 4 real and synthetic masks"):
        compare_masks(real[:3], real, levels=2)
