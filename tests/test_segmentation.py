"""Clean-up of masks, the three-level map, and the check of what segmenters return."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure

from syncgan.errors import ConfigError, ContractError, DataError
from syncgan.segmentation.cleaning import (
    clean_mask,
    fill_holes,
    remove_small,
    remove_thin,
)
from syncgan.segmentation.levels import stain_levels
from syncgan.segmentation.overlay import overlay
from syncgan.segmentation.protocol import declared_levels, normalise_output

GLASS, CYTOPLASM, NUCLEUS, RED_CELL = (236, 232, 238), (214, 170, 200), (88, 40, 130), (225, 150, 150)


def disc(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def smear(shape=(192, 192), *, nucleus_radius=22, seed=0):
    """One cell with a nucleus, two red cells, sensor noise; returns the image, the nucleus and what is stained."""
    image = np.full((*shape, 3), GLASS, float)
    stained = disc(shape, (96, 96), 52) | disc(shape, (34, 40), 18) | disc(shape, (160, 150), 18)
    nucleus = disc(shape, (92, 100), nucleus_radius)
    image[stained] = RED_CELL
    image[disc(shape, (96, 96), 52)] = CYTOPLASM
    image[nucleus] = NUCLEUS
    image += np.random.default_rng(seed).normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8), nucleus, stained


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & (truth > 0)) / max(1, np.sum(mask > 0) + np.sum(truth > 0))


# --- cleaning --------------------------------------------------------------------------------------------------------


def test_small_regions_are_removed_exactly_below_the_limit():
    mask = np.zeros((20, 30), np.uint8)
    mask[2:4, 2:7] = 1  # 10 pixels
    mask[10:13, 10:13] = 1  # 9 pixels
    mask[16, 20:29] = 1  # a line of 9 pixels
    expected = np.zeros_like(mask)
    expected[2:4, 2:7] = 1
    np.testing.assert_array_equal(remove_small(mask, min_area_px=10), expected)


def test_removal_agrees_with_connected_components_of_scikit_image():
    mask = fill_holes(np.random.default_rng(0).random((80, 90)) < 0.25)
    labels = measure.label(mask, connectivity=2)
    keep = np.bincount(labels.ravel()) >= 12
    keep[0] = False
    np.testing.assert_array_equal(remove_small(mask, min_area_px=12), keep[labels].astype(np.uint8))


def test_hole_is_filled_only_up_to_its_share():
    mask = disc((60, 60), (30, 30), 20).astype(np.uint8)
    mask[disc((60, 60), (30, 30), 8)] = 0
    assert fill_holes(mask)[30, 30] == 1
    assert fill_holes(mask, max_hole_share=0.05)[30, 30] == 0


def test_cleaning_leaves_its_input_alone():
    mask = (np.random.default_rng(0).random((40, 40)) < 0.5).astype(np.uint8)
    before = mask.copy()
    clean_mask(mask, min_nucleus_area=5, smoothing_px=1)
    np.testing.assert_array_equal(mask, before)


def test_regions_that_hold_no_disc_are_removed():
    mask = np.zeros((30, 60), np.uint8)
    mask[5:8, 5:55] = 1
    mask[15:26, 20:31] = 1
    expected = mask.copy()
    expected[5:8] = 0
    np.testing.assert_array_equal(remove_thin(mask, radius_px=2), expected)


# --- levels ----------------------------------------------------------------------------------------------------------


def test_three_levels_hold_background_stain_and_nucleus():
    image, nucleus, stained = smear()
    levels = stain_levels(image, nucleus, levels=3)
    assert set(np.unique(levels)) == {0, 1, 2}
    np.testing.assert_array_equal(levels == 2, nucleus)
    assert dice(levels == 1, stained & ~nucleus) > 0.95


def test_image_without_cytoplasm_has_no_middle_level():
    image = np.full((96, 96, 3), 235.0)
    nucleus = disc((96, 96), (48, 48), 20)
    image[nucleus] = NUCLEUS
    image += np.random.default_rng(0).normal(0, 3, image.shape)
    levels = stain_levels(image.clip(0, 255).astype(np.uint8), nucleus, levels=3)
    # The blurred rim of the nucleus is all that may be taken for stain.
    assert (levels == 1).mean() < 0.02


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("gray", [0, 128, 255])
def test_levels_of_degenerate_images_are_defined(gray, fill):
    nucleus = np.full((32, 32), fill, np.uint8)
    levels = stain_levels(np.full((32, 32, 3), gray, np.uint8), nucleus, levels=3)
    np.testing.assert_array_equal(levels, 2 * nucleus)


def test_levels_beyond_three_are_refused():
    with pytest.raises(ConfigError, match="2 or 3"):
        stain_levels(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), levels=4)


# --- what a segmenter may return -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output",
    [
        np.eye(4, dtype=bool),
        np.eye(4, dtype=np.int64),
        255 * np.eye(4, dtype=np.uint8),
        np.diag(np.arange(1, 5)).astype(np.uint16),
        np.diag([1, 70_000, 3, 4]),
    ],
)
def test_every_allowed_output_becomes_zero_and_one(output):
    mask, _ = normalise_output(output, (4, 4, 3), name="x")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.eye(4))


def test_instance_labels_are_kept_and_plain_masks_have_none():
    labels = np.diag([1, 70_000, 3, 4]).astype(np.uint32)
    np.testing.assert_array_equal(normalise_output(labels, (4, 4), name="x")[1], labels)
    assert normalise_output(255 * np.eye(4, dtype=np.uint8), (4, 4), name="x")[1] is None


@pytest.mark.parametrize("background", [0, 2**63])
def test_labels_beyond_int64_stay_apart(background):
    output = np.array([[background, 2**63 + 1], [2**64 - 1, 5]], np.uint64)
    mask, instances = normalise_output(output, (2, 2), name="x")
    np.testing.assert_array_equal(mask, output != 0)
    assert len(np.unique(instances)) == 4
    np.testing.assert_array_equal(instances != 0, output != 0)
    assert instances.min() >= 0


def test_semantic_map_is_kept_as_it_is():
    output = np.array([[0, 1], [2, 2]])
    np.testing.assert_array_equal(normalise_output(output, (2, 2), levels_declared=3, name="x")[0], output)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"\(4, 5\).*expected \(4, 4\)"),
        (np.zeros((4, 4, 1), np.uint8), "one value a pixel"),
        (np.zeros((4, 4)), "threshold probabilities"),
        (np.full((4, 4), np.nan), "NaN"),
        (-np.eye(4, dtype=int), "negative"),
        (np.zeros((4, 4), complex), "complex128"),
        (None, "NoneType"),
        ({"mask": 1}, "dict"),
        ([[1], [1, 2]], "list"),
    ],
)
def test_output_outside_the_contract_is_refused_by_name(output, message):
    with pytest.raises(ContractError, match=message) as caught:
        normalise_output(output, (4, 4, 3), name="mine")
    assert "'mine'" in str(caught.value)


def test_semantic_map_beyond_its_levels_is_refused():
    with pytest.raises(ContractError, match=r"levels = 3.*value 7"):
        normalise_output(np.full((2, 2), 7), (2, 2), levels_declared=3, name="x")


@pytest.mark.parametrize("levels", [1, True, 2.0, "3", 300])
def test_odd_declaration_of_levels_is_refused(levels):
    def segmenter(image):
        return image[..., 0]

    segmenter.levels = levels
    with pytest.raises(ContractError, match=r"2\.\.256"):
        declared_levels(segmenter, name="x")


# --- overlay ---------------------------------------------------------------------------------------------------------


def test_overlay_draws_the_outline_and_nothing_else():
    image, nucleus, _ = smear()
    drawn = overlay(image, nucleus.astype(np.uint8))
    changed = (drawn != image).any(axis=2)
    assert changed.any()
    assert nucleus[changed].all()
    assert not changed[92, 100]


def test_overlay_refuses_a_mask_of_another_size():
    with pytest.raises(DataError, match="mask"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4), np.uint8))
