"""Black surrounds: which pictures have one, that every built-in segmenter leaves it out, and what is no surround."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from syncgan.registry import SEGMENTERS
from syncgan.segmentation.borders import black_surround, is_bright_on_dark

GLASS, CYTOPLASM, NUCLEUS, RED_CELL = (236, 232, 238), (214, 170, 200), (88, 40, 130), (225, 150, 160)
BUILT_INS = [row.name for row in SEGMENTERS.describe() if row.origin == "built-in"]
SHAPE = (160, 160)


def disc(centre, radius, shape=SHAPE):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def noisy(image, sigma=3):
    return (image + np.random.default_rng(0).normal(0, sigma, image.shape)).clip(0, 255).astype(np.uint8)


def field(*, colour=NUCLEUS, centres=((70, 90), (110, 60))):
    """Return a field of cells on glass, and their nuclei."""
    image = np.full((*SHAPE, 3), GLASS, float)
    nuclei = np.zeros(SHAPE, bool)
    for centre in centres:
        image[disc(centre, 26)] = CYTOPLASM
        nuclei |= disc(centre, 10)
    image[nuclei] = colour
    return noisy(image), nuclei


def seen_through(view, image, *, blur_px=0.0):
    """Return the image on black outside of the view, with a rim as soft as a defocused diaphragm's."""
    light = view.astype(np.float32)
    if blur_px:
        light = cv2.GaussianBlur(light, (0, 0), blur_px)
    return (image * light[..., None]).round().astype(np.uint8)


def red_cell():
    """Return a red cell with one parasite, cut out on black, and the parasite."""
    parasite = disc((70, 95), 9)
    image = np.full((*SHAPE, 3), RED_CELL, float)
    image[parasite] = NUCLEUS
    return seen_through(disc((80, 80), 79), noisy(image, 1)), parasite


def shining(*, colour=(0, 1, 0), level=160):
    """Return nuclei that shine on a dark field."""
    nuclei = disc((60, 60), 18) | disc((110, 100), 22)
    return noisy(6 + level * nuclei[..., None] * np.array(colour)), nuclei


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & truth) / (np.sum(mask > 0) + np.sum(truth))


@pytest.mark.parametrize("name", BUILT_INS)
def test_built_in_segmenters_leave_a_black_surround_out(name):
    segmenter = SEGMENTERS.get(name)()
    image, nuclei = field()
    round_field = seen_through(disc((80, 80), 79), image, blur_px=2)
    for picture, truth in (red_cell(), (round_field, nuclei)):
        assert dice(segmenter(picture), truth) > 0.85


def test_round_fields_halves_of_them_and_cells_cut_out_have_a_surround():
    image, _ = field()
    for view in (disc((80, 80), 79), disc((80, 170), 165), disc((80, 80), 100)):
        surround = black_surround(seen_through(view, image))
        assert surround is not None
        assert surround[~view].all()
        assert surround[view].mean() < 0.15
    assert black_surround(red_cell()[0]) is not None


def test_surround_reaches_as_far_as_its_rim_is_soft():
    image, _ = field(centres=())
    sharp, soft = (black_surround(seen_through(disc((80, 80), 70), image, blur_px=blur)) for blur in (0, 3))
    assert soft.sum() > sharp.sum()
    assert seen_through(disc((80, 80), 70), image, blur_px=3)[~soft].min() > 0.8 * min(GLASS)


def test_black_nuclei_at_the_border_are_no_surround():
    image, nuclei = field(colour=(12, 8, 20), centres=((0, 80), (0, 0), (90, 90)))
    assert black_surround(image) is None
    assert dice(SEGMENTERS.get("auto")()(image), nuclei) > 0.85


@pytest.mark.parametrize("colour", [(0, 1, 0), (0.1, 0.2, 1), (1, 1, 1)])
def test_fluorescence_is_bright_on_dark_and_has_no_surround(colour):
    image, _ = shining(colour=colour)
    assert is_bright_on_dark(image)
    assert black_surround(image) is None


def test_fluorescence_of_one_cell_is_bright_on_dark():
    image = noisy(8 + 150 * disc((80, 80), 76)[..., None] * np.array((0, 1, 0)))
    assert is_bright_on_dark(image)


def test_bright_field_is_not_bright_on_dark():
    image, _ = field()
    for picture in (image, red_cell()[0], seen_through(disc((80, 80), 60), image), np.zeros((40, 40, 3), np.uint8)):
        assert not is_bright_on_dark(picture)
