"""What every built-in segmenter keeps, whatever the image, and what each of them finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import measure
from skimage.color import rgb2hed

from syncgan.errors import ConfigError
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.hed import HEDSegmenter
from syncgan.segmentation.kmeans import KMeansSegmenter
from syncgan.segmentation.otsu import MultiOtsuSegmenter
from syncgan.segmentation.scale import small_radius_px, speck_area_px
from syncgan.segmentation.splitting import split_touching
from syncgan.segmentation.stains import nuclear_classes, optical_density, white_levels
from syncgan.segmentation.watershed import WatershedSegmenter

GLASS, CYTOPLASM, NUCLEUS, RED_CELL = (236, 232, 238), (214, 170, 200), (88, 40, 130), (225, 150, 150)
BUILT_INS = [row.name for row in SEGMENTERS.describe() if row.origin == "built-in"]
CLASSIC = [HEDSegmenter, KMeansSegmenter, MultiOtsuSegmenter]


def disc(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def smear(shape=(192, 192), *, nucleus_radius=22, cast=(1.0, 1.0, 1.0)):
    """Return the image of a cell and two red cells with sensor noise, and its nucleus."""
    image = np.full((*shape, 3), GLASS, float)
    for centre in ((34, 40), (160, 150)):
        image[disc(shape, centre, 18)] = RED_CELL
    image[disc(shape, (96, 96), 52)] = CYTOPLASM
    nucleus = disc(shape, (92, 100), nucleus_radius)
    image[nucleus] = NUCLEUS
    image = image * cast + np.random.default_rng(0).normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8), nucleus


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & truth) / (np.sum(mask > 0) + np.sum(truth))


NOISE = np.random.default_rng(0)
IMAGES = {
    "black": np.zeros((64, 64, 3), np.uint8),
    "white": np.full((64, 64, 3), 255, np.uint8),
    "one colour": np.full((64, 64, 3), NUCLEUS, np.uint8),
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "sensor noise": NOISE.normal(200, 2, (64, 64, 3)).astype(np.uint8),
    "two pixels": np.array([[[0] * 3, [255] * 3]], np.uint8),
    "1 x 5000": NOISE.integers(0, 256, (1, 5000, 3), dtype=np.uint8),
    "5000 x 20": NOISE.integers(0, 256, (5000, 20, 3), dtype=np.uint8),
    "noise of all colours": NOISE.integers(0, 256, (90, 110, 3), dtype=np.uint8),
    "two colours": np.tile(np.repeat(np.array([GLASS, NUCLEUS], np.uint8), 32, 0), (64, 1, 1)),
    "saturated": np.where(NOISE.random((96, 96, 3)) < 0.3, 255, 0).astype(np.uint8),
    "black and white": np.repeat(np.where(disc((96, 96), (40, 40), 20), 0, 255)[..., None], 3, 2).astype(np.uint8),
    "shading": np.tile(np.linspace(60, 220, 256).astype(np.uint8)[None, :, None], (256, 1, 3)),
    "gray smear": np.repeat(smear()[0].mean(axis=2).astype(np.uint8)[..., None], 3, 2),
    "nearly all nucleus": np.where(disc((96, 96), (48, 48), 6)[..., None], GLASS, NUCLEUS).astype(np.uint8),
    "one dark pixel": np.where(disc((96, 96), (48, 48), 0)[..., None], NUCLEUS, GLASS).astype(np.uint8),
}
FLAT = ("black", "white", "one colour", "one pixel", "sensor noise")


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", BUILT_INS)
def test_any_image_gives_a_map_of_its_size_that_is_never_everything(name, image):
    given = IMAGES[image].copy()
    mask = SEGMENTERS.get(name)()(given)
    assert mask.shape == given.shape[:2]
    assert mask.dtype == (np.int32 if name == "watershed" else np.uint8)
    assert set(np.unique(mask)) == set(range(mask.max() + 1)) or not (mask == 0).any()
    assert not mask.all()
    assert not (image in FLAT and mask.any())
    np.testing.assert_array_equal(given, IMAGES[image])


@pytest.mark.parametrize("name", BUILT_INS)
def test_masks_depend_neither_on_threads_nor_on_what_came_before(name):
    segment = SEGMENTERS.get(name)()
    image, _ = smear((211, 193))
    threads = cv2.getNumThreads()
    masks = []
    try:
        for count in (1, 2, 2):
            cv2.setNumThreads(count)
            masks.append(segment(image))
            segment(IMAGES["noise of all colours"])
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


@pytest.mark.parametrize("name", BUILT_INS)
def test_read_only_images_and_views_are_segmented(name):
    image, _ = smear()
    padded = np.pad(image, ((0, 0), (0, 30), (0, 0)))
    view = padded[:, : image.shape[1]]
    view.flags.writeable = False
    np.testing.assert_array_equal(SEGMENTERS.get(name)()(view), SEGMENTERS.get(name)()(image))


@pytest.mark.parametrize("cast", [(1.0, 1.0, 1.0), (1.0, 0.95, 0.75), (0.6, 0.6, 0.6)])
@pytest.mark.parametrize("name", BUILT_INS)
def test_the_nucleus_is_found_and_red_cells_and_cytoplasm_are_not(name, cast):
    image, nucleus = smear(cast=cast)
    assert dice(SEGMENTERS.get(name)()(image), nucleus) > 0.94


@pytest.mark.parametrize("name", BUILT_INS)
def test_a_wrong_value_and_an_unknown_parameter_are_refused_by_name(name):
    segmenter = SEGMENTERS.get(name)
    for key in segmenter.model_fields:
        with pytest.raises(ConfigError, match=key):
            segmenter.from_mapping({key: -1000.5})
        with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
            segmenter.from_mapping({f"{key}_": 1})


@pytest.mark.parametrize("name", BUILT_INS)
def test_every_parameter_says_what_it_means(name):
    segmenter = SEGMENTERS.get(name)
    assert isinstance(segmenter.version, int)
    assert all(field.description for field in segmenter.model_fields.values())


# --- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmenter", CLASSIC)
def test_pale_and_dark_nuclei_of_one_stain_are_both_found(segmenter):
    image = np.full((160, 160, 3), GLASS, float)
    dark, pale = disc((160, 160), (50, 50), 18), disc((160, 160), (110, 110), 18)
    image[dark], image[pale] = NUCLEUS, (125, 72, 158)
    image += np.random.default_rng(0).normal(0, 4, image.shape)
    assert dice(segmenter()(image.clip(0, 255).astype(np.uint8)), dark | pale) > 0.95


@pytest.mark.parametrize("segmenter", CLASSIC)
def test_smallest_area_is_kept_to(segmenter):
    image = np.full((160, 160, 3), GLASS, np.uint8)
    large, small = disc((160, 160), (50, 50), 20), disc((160, 160), (110, 110), 8)
    image[large | small] = NUCLEUS
    assert dice(segmenter()(image), large | small) > 0.97
    assert dice(segmenter(min_nucleus_area=500)(image), large) > 0.97


def test_no_haematoxylin_is_no_nucleus():
    image = np.full((96, 96, 3), GLASS, np.uint8)
    image[disc((96, 96), (48, 48), 20)] = RED_CELL
    assert not HEDSegmenter()(image).any()


def test_haematoxylin_is_that_of_scikit_image():
    from syncgan.segmentation.hed import _haematoxylin

    image = NOISE.integers(1, 256, (40, 50, 3), dtype=np.uint8)
    image[:2] = 255  # so that white is 255, as scikit-image has it
    reference = rgb2hed(image)[..., 0]  # in units of -ln(1e-6)
    expected = np.clip(reference * np.log10(1e6) * 128, 0, 255)
    np.testing.assert_allclose(_haematoxylin(image), expected, atol=0.51)


def test_two_otsu_classes_are_split_where_opencv_splits_them():
    image, _ = smear()
    plain = MultiOtsuSegmenter(
        classes=2, channel="red", blur_px=0, smoothing_px=0, min_radius_px=0, max_hole_share=0, min_nucleus_area=0
    )
    _, expected = cv2.threshold(image[..., 0], 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    np.testing.assert_array_equal(plain(image), expected)


def test_watershed_returns_one_label_a_nucleus():
    image = np.full((120, 160, 3), GLASS, np.uint8)
    nuclei = [disc((120, 160), centre, 20) for centre in ((60, 40), (60, 74), (60, 130))]
    image[np.logical_or.reduce(nuclei)] = NUCLEUS
    labels = WatershedSegmenter()(image)
    assert labels.dtype == np.int32
    assert sorted({int(labels[60, column]) for column in (40, 74, 130)}) == [1, 2, 3]
    assert labels.max() == 3


@pytest.mark.parametrize("foreground", ["gmm", "hed", "kmeans", "otsu"])
def test_watershed_cuts_the_mask_of_its_foreground_and_loses_nothing(foreground):
    image, _ = smear()
    labels = WatershedSegmenter(foreground=foreground)(image)
    np.testing.assert_array_equal(labels > 0, SEGMENTERS.get(foreground)()(image) > 0)


# --- shared parts ----------------------------------------------------------------------------------------------------


def test_white_and_density_follow_their_definitions():
    image = np.full((10, 10, 3), (200, 100, 50), np.uint8)
    image[0, 0] = (20, 10, 5)
    np.testing.assert_array_equal(white_levels(image), (200, 100, 50))
    density = optical_density(image)
    np.testing.assert_allclose(density[0, 0], 1.0, atol=1e-6)
    assert not density[1:].any()


@pytest.mark.parametrize(
    ("paler", "count"),
    [((120, 70, 160), 2), (RED_CELL, 1), (CYTOPLASM, 1), ((200, 180, 215), 1)],
    ids=["paler nucleus", "red cell", "cytoplasm", "much paler"],
)
def test_paler_classes_are_nuclear_only_if_the_stain_is_alike_and_dense(paler, count):
    colours = np.array([NUCLEUS, paler, GLASS], float)
    assert nuclear_classes(colours, np.array(GLASS, float), similarity=0.85, min_density=0.4) == count


def test_never_all_classes_are_nuclear():
    alike = np.array([(88, 40, 130), (89, 41, 131)], float)
    assert nuclear_classes(alike, np.array(GLASS, float), similarity=0, min_density=0) == 1


def test_sizes_shrink_with_the_image():
    assert small_radius_px(3, (640, 480)) == 3
    assert small_radius_px(3, (128, 128)) == 2
    assert small_radius_px(3, (32, 500)) == 0
    assert speck_area_px(None, (1000, 1000)) == 40
    assert speck_area_px(None, (100, 100)) == 20
    assert speck_area_px(None, (1, 1)) == 1
    assert speck_area_px(0.01, (100, 100)) == 100
    assert speck_area_px(7, (100, 100)) == 7


# --- real images -----------------------------------------------------------------------------------------------------


def real_pairs(folder, every):
    """Yield every K-th image with its true mask and, where there are some, its true instances."""
    for path in sorted((folder / "images").glob("*.png"))[::every]:
        image = np.array(Image.open(path).convert("RGB"))
        instances = folder / "instances" / path.name
        truth = np.array(Image.open(folder / "masks" / path.name)) > 0
        yield image, truth, np.array(Image.open(instances)) if instances.is_file() else None


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["hed", "kmeans", "otsu", "watershed"])
@pytest.mark.parametrize(("folder", "floor"), [("bccd_nuclei", 0.88), ("dsb2018_purple", 0.78)])
def test_mean_dice_on_real_images_is_above_the_floor(real_data, folder, floor, name):
    segment = SEGMENTERS.get(name)()
    scores = [dice(segment(image), truth) for image, truth, _ in real_pairs(real_data / folder, 5)]
    assert np.mean(scores) > floor


def found_share(labels, truth):
    """Return the share of true nuclei that a label covers with an intersection over union above one half."""
    true_areas, areas = np.bincount(truth.ravel()), np.bincount(labels.ravel())
    shared = np.zeros((len(true_areas), len(areas)))
    np.add.at(shared, (truth.ravel(), labels.ravel()), 1)
    overlap = shared / np.maximum(true_areas[:, None] + areas[None] - shared, 1)
    return (overlap[1:, 1:].max(axis=1, initial=0) > 0.5)[true_areas[1:] > 0].mean()


@pytest.mark.real_data
def test_cutting_true_masks_finds_most_nuclei_that_touch(real_data):
    cut, uncut = [], []
    for _, mask, instances in real_pairs(real_data / "dsb2018_purple", 5):
        cut.append(found_share(split_touching(mask), instances))
        uncut.append(found_share(measure.label(mask, connectivity=2), instances))
    assert np.mean(cut) > 0.9
    assert np.mean(cut) > np.mean(uncut) + 0.05
