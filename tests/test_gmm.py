"""The paper's segmenter (Sec. 3.2), its mixture on a colour histogram, and what it does with letter-boxes."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from syncgan import Phantom
from syncgan.errors import ConfigError
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.borders import content_box
from syncgan.segmentation.gmm import GMMSegmenter
from syncgan.segmentation.mixture import fit_mixture, quadratic_features

GLASS, CYTOPLASM, NUCLEUS, RED_CELL = (236, 232, 238), (214, 170, 200), (88, 40, 130), (225, 150, 150)


def disc(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def smear(*, nucleus_radius=22, seed=0):
    """One cell with a nucleus, two red cells, sensor noise; returns the image and the nucleus."""
    shape = (192, 192)
    image = np.full((*shape, 3), GLASS, float)
    image[disc(shape, (34, 40), 18) | disc(shape, (160, 150), 18)] = RED_CELL
    image[disc(shape, (96, 96), 52)] = CYTOPLASM
    nucleus = disc(shape, (92, 100), nucleus_radius)
    image[nucleus] = NUCLEUS
    image += np.random.default_rng(seed).normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8), nucleus


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & (truth > 0)) / max(1, np.sum(mask > 0) + np.sum(truth > 0))


# --- the segmenter ---------------------------------------------------------------------------------------------------


def test_nucleus_is_found_and_red_cells_and_cytoplasm_are_not():
    image, nucleus = smear()
    assert dice(GMMSegmenter()(image), nucleus) > 0.95


def test_large_nucleus_is_filled():
    image, nucleus = smear(nucleus_radius=48)
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
    image, _ = smear()
    mask = GMMSegmenter()(image)
    np.testing.assert_array_equal(GMMSegmenter()(image), mask)
    assert dice(GMMSegmenter()(np.ascontiguousarray(image[:, ::-1]))[:, ::-1], mask) > 0.98


def test_colour_cast_does_not_move_the_mask():
    image, nucleus = smear()
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


def test_masks_agree_with_the_method_as_written_with_scikit_learn(project):
    path = project / "benchmarks" / "baselines" / "naive_masks.py"
    spec = importlib.util.spec_from_file_location("naive_masks", path)
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)
    for size in (128, 256):
        phantom = Phantom(3, image_size=size, seed=1)
        for index in range(len(phantom)):
            image = np.asarray(phantom.image(index))
            assert dice(GMMSegmenter()(image), naive.naive_mask(image)) >= 0.95, (size, index)


def test_mask_does_not_depend_on_the_number_of_threads():
    image = cv2.resize(smear()[0], (500, 400), interpolation=cv2.INTER_CUBIC)
    before, masks = cv2.getNumThreads(), []
    for threads in (1, 4):
        cv2.setNumThreads(threads)
        with threadpool_limits(threads):
            masks.append(GMMSegmenter()(image))
    cv2.setNumThreads(before)
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_large_image_of_which_only_a_sample_is_fitted_gives_the_same_nuclei():
    image, nucleus = smear()
    large = image.repeat(5, 0).repeat(5, 1)
    assert dice(GMMSegmenter()(large), nucleus.repeat(5, 0).repeat(5, 1)) > 0.95


def test_only_the_darkest_component_is_nuclear_if_told_so():
    image = np.full((160, 160, 3), GLASS, float)
    dark, pale = disc((160, 160), (50, 50), 18), disc((160, 160), (110, 110), 18)
    image[dark], image[pale] = NUCLEUS, (125, 72, 158)
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    mask = GMMSegmenter(nuclear_range=0)(image.clip(0, 255).astype(np.uint8))
    assert dice(mask, dark) > 0.95


# --- letter-boxes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [0, 128, 255])
@pytest.mark.parametrize("margins", [((60, 60), (0, 0)), ((0, 0), (150, 10)), ((40, 80), (90, 30))])
def test_letter_box_does_not_change_the_mask_inside(frame, margins):
    image, _ = smear()
    (top, _), (left, _) = margins
    boxed = GMMSegmenter()(np.pad(image, (*margins, (0, 0)), constant_values=frame))
    inside = boxed[top : top + 192, left : left + 192]
    np.testing.assert_array_equal(inside, GMMSegmenter()(image))
    assert boxed.sum() == inside.sum()


def test_letter_box_of_a_jpeg_is_recognised():
    image, nucleus = smear()
    padded = np.pad(image, ((70, 50), (0, 0), (0, 0)))
    _, encoded = cv2.imencode(".jpg", padded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    mask = GMMSegmenter()(np.ascontiguousarray(decoded))
    assert dice(mask, np.pad(nucleus, ((70, 50), (0, 0)))) > 0.95


def test_empty_glass_around_a_nucleus_is_no_letter_box():
    image = np.full((120, 160, 3), 230, np.uint8)
    nucleus = disc((120, 160), (50, 70), 15)
    image[nucleus] = NUCLEUS
    assert content_box(image) == (slice(0, 120), slice(0, 160))
    assert dice(GMMSegmenter()(image), nucleus) > 0.95


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


def test_mixture_with_saturated_channels_keeps_its_components():
    rng = np.random.default_rng(0)
    glass = np.full((6000, 3), 255.0)
    stain = np.column_stack([np.full(3000, 255.0), rng.normal(120, 8, 3000), np.zeros(3000)])
    nuclei = rng.normal((90, 40, 130), 8, (1000, 3))
    bins, counts = np.unique((np.concatenate([glass, stain, nuclei]) // 16).astype(int), axis=0, return_counts=True)
    colours = bins.T * 16.0 + 7.5
    mixture = fit_mixture(colours, counts.astype(float), components=3, bin_width=16.0, iterations=50)
    np.testing.assert_allclose(np.sort(mixture.weights), [0.1, 0.3, 0.6], atol=0.01)
    # Colours are spread over their bin: no component is narrower than that.
    assert np.linalg.eigvalsh(mixture.covariances).min() >= 16**2 / 12 - 1e-6
    np.testing.assert_allclose(mixture.posteriors(quadratic_features(colours)).sum(axis=0), 1)


# --- real images -----------------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "floor"), [("bccd_nuclei", 0.9), ("dsb2018_purple", 0.74)])
def test_mean_dice_on_real_images_is_above_the_floor(real_data, name, floor):
    folder = real_data / name
    scores = []
    for path in sorted((folder / "images").glob("*.png"))[::6]:
        image = np.array(Image.open(path).convert("RGB"))
        scores.append(dice(GMMSegmenter()(image), np.array(Image.open(folder / "masks" / path.name))))
    assert np.mean(scores) > floor


def test_the_densities_of_all_colours_of_a_grid_are_those_of_each_colour():
    levels = np.arange(8) * 32 + 15.5
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij")).reshape(3, -1)
    counts = np.random.default_rng(0).random(grid.shape[1])
    mixture = fit_mixture(grid, counts**8, components=3, bin_width=32, iterations=5)
    expected = mixture.log_joint(quadratic_features(grid))
    np.testing.assert_allclose(mixture.log_joint_of_grid(levels).reshape(3, -1), expected, rtol=1e-5, atol=1e-4)
