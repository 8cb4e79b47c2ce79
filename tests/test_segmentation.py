"""The segmenter of Sec. 3.2, its clean-up, and the check of what segmenters return."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import measure
from sklearn.mixture import GaussianMixture

from syncgan.errors import ConfigError, ContractError, DataError
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.cleaning import (
    clean_mask,
    fill_holes,
    remove_small,
    remove_thin,
)
from syncgan.segmentation.gmm import GMMSegmenter
from syncgan.segmentation.levels import stain_levels
from syncgan.segmentation.mixture import fit_mixture
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


# --- the segmenter ---------------------------------------------------------------------------------------------------


def test_nucleus_is_found_and_red_cells_and_cytoplasm_are_not():
    image, nucleus, _ = smear()
    assert dice(GMMSegmenter()(image), nucleus) > 0.95


def test_large_nucleus_is_filled():
    image, nucleus, _ = smear(nucleus_radius=48)
    mask = GMMSegmenter()(image)
    assert dice(mask, nucleus) > 0.95
    assert mask[nucleus].mean() > 0.98


def test_pale_and_dark_nuclei_of_one_stain_are_both_found():
    image = np.full((160, 160, 3), GLASS, float)
    dark, pale = disc((160, 160), (50, 50), 18), disc((160, 160), (110, 110), 18)
    image[dark], image[pale] = NUCLEUS, (125, 72, 158)
    image += np.random.default_rng(0).normal(0, 4, image.shape)
    assert dice(GMMSegmenter()(image.clip(0, 255).astype(np.uint8)), dark | pale) > 0.95


def test_mask_is_the_same_every_time_and_follows_a_flip():
    image, _, _ = smear()
    mask = GMMSegmenter()(image)
    np.testing.assert_array_equal(GMMSegmenter()(image), mask)
    assert dice(GMMSegmenter()(np.ascontiguousarray(image[:, ::-1]))[:, ::-1], mask) > 0.98


def test_colour_cast_does_not_move_the_mask():
    image, nucleus, _ = smear()
    yellowish = (image * np.array([1.0, 0.95, 0.75])).astype(np.uint8)
    assert dice(GMMSegmenter()(yellowish), nucleus) > 0.95


FLAT = {
    "black": np.zeros((64, 64, 3), np.uint8),
    "white": np.full((64, 64, 3), 255, np.uint8),
    "one colour": np.full((64, 64, 3), NUCLEUS, np.uint8),
    "one pixel": np.zeros((1, 1, 3), np.uint8),
    "sensor noise": np.random.default_rng(0).normal(200, 2, (64, 64, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("name", FLAT)
def test_image_without_contrast_gives_an_empty_mask(name):
    mask = GMMSegmenter()(FLAT[name])
    assert mask.shape == FLAT[name].shape[:2]
    assert mask.dtype == np.uint8
    assert not mask.any()


ODD = {
    "1 x 5000": np.random.default_rng(0).integers(0, 256, (1, 5000, 3), dtype=np.uint8),
    "5000 x 20": np.random.default_rng(0).integers(0, 256, (5000, 20, 3), dtype=np.uint8),
    "2 x 2": np.array([[[0] * 3, [255] * 3], [[255] * 3, [0] * 3]], np.uint8),
    "two colours": np.repeat(np.repeat(np.array([[[0] * 3, [255] * 3]], np.uint8), 32, 0), 32, 1),
    "saturated": np.where(np.random.default_rng(0).random((96, 96, 1)) < 0.3, 255, 0).repeat(3, 2).astype(np.uint8),
    "shading": np.linspace(60, 220, 256).astype(np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_image_gives_a_binary_mask_that_is_not_everything(name):
    mask = GMMSegmenter()(ODD[name])
    assert mask.shape == ODD[name].shape[:2]
    assert set(np.unique(mask)) <= {0, 1}
    assert mask.mean() < 0.8


def test_unknown_parameter_and_value_out_of_bounds_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'components'"):
        GMMSegmenter.from_mapping({"component": 3})
    with pytest.raises(ConfigError, match="components"):
        GMMSegmenter.from_mapping({"components": 1})


def test_built_in_name_leads_to_the_segmenter():
    assert SEGMENTERS.get("gmm") is GMMSegmenter


# --- the mixture -----------------------------------------------------------------------------------------------------


def test_histogram_mixture_matches_scikit_learn_on_pixels():
    rng = np.random.default_rng(0)
    truth = np.array([[60.0, 40.0, 110.0], [150.0, 120.0, 170.0], [230.0, 225.0, 235.0]])
    pixels = np.concatenate(
        [rng.normal(mean, 9, (size, 3)) for mean, size in zip(truth, (1500, 3000, 6000), strict=True)]
    )
    pixels = pixels.clip(0, 255)
    bins, counts = np.unique((pixels // 8).astype(int), axis=0, return_counts=True)
    ours = fit_mixture(
        bins.T * 8.0 + 3.5, counts.astype(float), components=3, bin_width=8.0, iterations=200, tolerance=1e-4
    )
    theirs = GaussianMixture(3, random_state=0).fit(np.floor(pixels))
    order, reference = ours.means[:, 0].argsort(), theirs.means_[:, 0].argsort()
    np.testing.assert_allclose(ours.means[order], theirs.means_[reference], atol=0.6)
    np.testing.assert_allclose(ours.weights[order], theirs.weights_[reference], atol=0.005)


def test_mixture_survives_colours_that_are_all_the_same():
    mixture = fit_mixture(
        np.array([[255.0], [255.0], [255.0]]), np.array([10.0]), components=4, bin_width=8.0, iterations=5
    )
    assert mixture.means.shape == (1, 3)
    assert np.isfinite(mixture.covariances).all()


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


# --- real images -----------------------------------------------------------------------------------------------------


def real_set(name):
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SYNCGAN_DATA", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"needs the real image set {name}: set $SYNCGAN_DATA")
    return folder


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "floor"), [("bccd_nuclei", 0.88), ("dsb2018_purple", 0.72)])
def test_mean_dice_on_real_images_is_above_the_floor(name, floor):
    folder = real_set(name)
    scores = []
    for path in sorted((folder / "images").glob("*.png"))[::6]:
        image = np.array(Image.open(path).convert("RGB"))
        scores.append(dice(GMMSegmenter()(image), np.array(Image.open(folder / "masks" / path.name))))
    assert np.mean(scores) > floor
