"""Touching nuclei told apart: `split_touching`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage import draw, measure
from skimage.segmentation import watershed

from syncgan.segmentation.splitting import split_touching


def disc(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def two_discs(distance, radius=12):
    shape = (4 * radius, 6 * radius)
    row, column = shape[0] // 2, shape[1] // 2
    return disc(shape, (row, column - distance // 2), radius) | disc(shape, (row, column + distance // 2), radius)


def ellipse(radii, angle):
    mask = np.zeros((120, 120), bool)
    mask[draw.ellipse(60, 60, *radii, shape=mask.shape, rotation=np.deg2rad(angle))] = True
    return mask


SINGLE = {
    "disc": disc((60, 60), (30, 30), 22),
    "disc at the corner": disc((60, 60), (0, 0), 22),
    "ellipse": ellipse((15, 50), 0),
    "turned ellipse": ellipse((15, 50), 30),
    "square": np.pad(np.ones((30, 30), bool), 5),
    "bent, as a monocyte's": disc((80, 80), (40, 40), 30) & ~disc((80, 80), (40, 82), 22),
    "indented": disc((80, 80), (40, 40), 30) & ~disc((80, 80), (8, 40), 8),
    "with a bump": disc((80, 80), (40, 40), 25) | disc((80, 80), (40, 66), 5),
    "one pixel": np.ones((1, 1), bool),
    "a line": np.ones((1, 300), bool),
    "everything": np.ones((40, 50), bool),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_nucleus_stays_one(name):
    mask = SINGLE[name]
    np.testing.assert_array_equal(split_touching(mask), mask.astype(np.int32))


@pytest.mark.parametrize("radius", [10, 20, 40])
def test_discs_are_cut_where_the_neck_is_narrower_than_stated(radius):
    closest = 2 * np.sqrt(1 - 0.8**2) * radius
    assert split_touching(two_discs(round(1.3 * closest), radius)).max() == 2
    assert split_touching(two_discs(round(0.7 * closest), radius)).max() == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_the_cut_runs_through_the_neck(axis):
    mask = two_discs(20) if axis else two_discs(20).T
    labels = split_touching(mask)
    middle = mask.shape[axis] // 2
    before = np.indices(mask.shape)[axis] < middle - 1
    after = np.indices(mask.shape)[axis] > middle + 1
    assert sorted([np.unique(labels[before & mask]).tolist(), np.unique(labels[after & mask]).tolist()]) == [[1], [2]]


def test_partition_agrees_with_the_watershed_of_scikit_image():
    centres = [(30, 30), (30, 56), (54, 44), (80, 30)]
    mask = np.logical_or.reduce([disc((110, 90), centre, 15) for centre in centres])
    markers = np.zeros(mask.shape, int)
    for number, centre in enumerate(centres, 1):
        markers[centre] = number
    reference = watershed(-distance_transform_edt(mask), markers, mask=mask)
    labels = split_touching(mask)
    assert labels.max() == 4
    best = [np.bincount(reference[labels == number]).max() for number in range(1, 5)]
    assert sum(best) > 0.98 * mask.sum()


def test_no_pixel_is_lost_and_separate_regions_have_labels_of_their_own():
    mask = np.random.default_rng(0).random((90, 110)) < 0.4
    labels = split_touching(mask)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, mask)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    regions = measure.label(mask, connectivity=2)
    # Each label lies in one region.
    assert len(np.unique(np.stack([labels[mask], regions[mask]]), axis=1).T) == labels.max()


def test_each_label_is_one_piece():
    mask = gaussian_filter(np.random.default_rng(1).normal(size=(120, 120)), 4) > 0
    labels = split_touching(mask)
    assert labels.max() > measure.label(mask, connectivity=2).max()
    assert all(measure.label(labels == n, connectivity=2).max() == 1 for n in range(1, labels.max() + 1))


def test_parts_below_the_smallest_radius_are_not_cut_off():
    mask = disc((80, 100), (40, 40), 25) | disc((80, 100), (40, 70), 7)
    assert split_touching(mask, min_radius_px=3).max() == 2
    assert split_touching(mask, min_radius_px=9).max() == 1


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_any_kind_of_mask_is_read_and_left_alone(kind):
    mask = two_discs(20).astype(kind) * kind(1)
    before = mask.copy()
    np.testing.assert_array_equal(split_touching(mask), split_touching(two_discs(20)))
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 50), (20, 30)])
def test_an_empty_mask_has_no_labels(shape):
    labels = split_touching(np.zeros(shape, bool))
    assert labels.shape == shape
    assert not labels.any()
