"""The default segmenter: any stain, any magnification, nuclei and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from syncgan.segmentation.auto import AutoSegmenter
from syncgan.segmentation.regions import Evidence, Regions, chosen_thresholds, cut_necks

SHAPE = (240, 320)
GLASS = (236, 232, 238)

# Nucleus, what surrounds it, and what else lies in the field, as RGB.
STAINS = {
    "Giemsa, eosinophil granules and red cells": ((92, 60, 150), (196, 110, 140), (214, 164, 160)),
    "Giemsa, blue cytoplasm and red cells": ((84, 50, 150), (176, 168, 214), (206, 160, 165)),
    "Pap, orange and green cytoplasm": ((70, 52, 92), (232, 150, 84), (120, 178, 186)),
    "Pap, green and pink cytoplasm": ((62, 54, 96), (110, 170, 180), (226, 158, 150)),
    "H&E, eosin": ((104, 70, 140), (226, 150, 190), (206, 90, 130)),
    "immunohistochemistry, brown membranes": ((120, 120, 178), (196, 154, 112), (150, 104, 66)),
}


def disc(centre, radius, shape=SHAPE):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def noisy(image, sigma=4.0, seed=0):
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.8)
    return (smooth + np.random.default_rng(seed).normal(0, sigma, image.shape)).clip(0, 255).astype(np.uint8)


def field(nucleus, cytoplasm, other, *, sigma=4.0):
    """Three cells with cytoplasm, two other discs; returns the image and its nuclei."""
    image = np.full((*SHAPE, 3), GLASS, float)
    image[disc((60, 250), 24) | disc((190, 70), 24)] = other
    truth = np.zeros(SHAPE, bool)
    for centre, radius in (((70, 80), 16), ((150, 170), 20), ((190, 270), 14)):
        image[disc(centre, 2.2 * radius)] = cytoplasm
        image[disc(centre, radius)] = nucleus
        truth |= disc(centre, radius)
    return noisy(image, sigma), truth


def dice(mask, truth):
    return 2 * np.sum((mask > 0) & (truth > 0)) / max(1, np.sum(mask > 0) + np.sum(truth > 0))


# --- stains ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stain", STAINS)
def test_nuclei_are_found_and_cytoplasm_and_red_cells_are_not(stain):
    image, truth = field(*STAINS[stain])
    assert dice(AutoSegmenter()(image), truth) > 0.9


@pytest.mark.parametrize("gain", [(1, 0.95, 0.75), (0.85, 0.9, 1), (0.5, 0.5, 0.5)], ids=["yellow", "blue", "dark"])
def test_colour_cast_and_exposure_do_not_move_the_mask(gain):
    image, truth = field(*STAINS["Pap, green and pink cytoplasm"])
    assert dice(AutoSegmenter()((image * np.array(gain)).astype(np.uint8)), truth) > 0.93


def test_pale_nuclei_of_the_same_stain_are_found_beside_dark_ones():
    image = np.full((*SHAPE, 3), (188, 168, 214), float)
    dark, pale = disc((80, 90), 16), disc((150, 230), 16)
    image[dark], image[pale] = (80, 36, 150), (136, 100, 190)
    assert dice(AutoSegmenter()(noisy(image)), dark | pale) > 0.93


def test_nucleus_in_dark_cytoplasm_is_the_nucleus_alone():
    image = np.full((*SHAPE, 3), GLASS, float)
    image[disc((120, 160), 60)], nucleus = (176, 128, 120), disc((120, 160), 20)
    image[nucleus] = (72, 48, 100)
    assert dice(AutoSegmenter()(noisy(image)), nucleus) > 0.93


# --- size, shape, frame ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 2, 4])
def test_magnification_does_not_matter(factor):
    image, truth = field(*STAINS["H&E, eosin"])
    size = round(factor * SHAPE[1]), round(factor * SHAPE[0])
    enlarged = cv2.resize(truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    assert dice(AutoSegmenter()(cv2.resize(image, size, interpolation=interpolation)), enlarged) > 0.93


def test_touching_nuclei_are_parted_by_background():
    image = np.full((*SHAPE, 3), GLASS, float)
    both = disc((120, 140), 22) | disc((120, 178), 22)
    image[both] = (92, 60, 150)
    mask = AutoSegmenter()(noisy(image))
    assert cv2.connectedComponents(mask, connectivity=8)[0] - 1 == 2
    assert dice(mask, both) > 0.93


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_letter_box_takes_no_part(gray):
    image, truth = field(*STAINS["Giemsa, blue cytoplasm and red cells"])
    framed = cv2.copyMakeBorder(image, 60, 60, 0, 0, cv2.BORDER_CONSTANT, value=(gray,) * 3)
    mask = AutoSegmenter()(framed)
    assert not mask[:60].any()
    assert not mask[-60:].any()
    assert dice(mask[60:-60], truth) > 0.9


def test_bacteria_and_threads_are_left_out():
    image, truth = field(*STAINS["Pap, green and pink cytoplasm"])
    cv2.line(image, (20, 20), (20, 220), (60, 50, 90), 2)
    for row in range(20, 220, 25):
        cv2.circle(image, (300, row), 2, (60, 50, 90), -1)
    assert dice(AutoSegmenter()(image), truth) > 0.9


def test_smallest_area_can_be_set():
    image, truth = field(*STAINS["H&E, eosin"])
    mask = AutoSegmenter(min_nucleus_area=900)(image)
    assert dice(mask, truth & disc((150, 170), 20)) > 0.93


@pytest.mark.parametrize(
    "image",
    [
        noisy(np.full((128, 128, 3), GLASS, float)),
        np.linspace(60, 220, 256).astype(np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2),
        np.full((64, 64, 3), (92, 60, 150), np.uint8),
    ],
    ids=["empty glass", "shading", "one colour"],
)
def test_field_without_nuclei_gives_an_empty_mask(image):
    assert not AutoSegmenter()(image).any()


# --- the choice among regions ----------------------------------------------------------------------------------------


def evidence(brightness):
    density = (255 - brightness).astype(np.float32)
    across, down = np.gradient(brightness.astype(np.float32))
    return Evidence(brightness, np.hypot(across, down).astype(np.float32), density / 2, density)


def levels(brightness, thresholds):
    return [Regions.of((brightness <= limit).astype(np.uint8), evidence(brightness), limit) for limit in thresholds]


def test_of_nested_regions_the_one_with_the_clear_step_is_chosen():
    brightness = np.full((120, 120), 240, np.uint8)
    brightness[disc((60, 60), 40, (120, 120))] = 190
    brightness[disc((60, 60), 12, (120, 120))] = 60
    chosen = chosen_thresholds(levels(brightness, (100, 200)), alike=0.8)
    np.testing.assert_array_equal(chosen, np.where(brightness <= 100, 100, 0))


def test_region_without_anything_inside_is_kept_beside_the_others():
    brightness = np.full((120, 120), 240, np.uint8)
    brightness[disc((30, 30), 12, (120, 120))] = 60
    brightness[disc((85, 85), 12, (120, 120))] = 150
    chosen = chosen_thresholds(levels(brightness, (100, 200)), alike=0.8)
    assert chosen[30, 30] > 0
    assert chosen[85, 85] == 200


def test_cut_leaves_a_line_between_two_and_nothing_else():
    two = (disc((60, 45), 20, (120, 140)) | disc((60, 80), 20, (120, 140))).astype(np.uint8)
    cut = cut_necks(two, min_radius_px=3, max_neck=0.8)
    assert cv2.connectedComponents(cut, connectivity=8)[0] - 1 == 2
    assert 0 < int(two.sum() - cut.sum()) < 60
    single = disc((60, 45), 20, (120, 140)).astype(np.uint8)
    np.testing.assert_array_equal(cut_necks(single, min_radius_px=3, max_neck=0.8), single)


# --- real images -----------------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "floor"), [("bccd_nuclei", 0.93), ("dsb2018_purple", 0.83)])
def test_mean_dice_on_real_images_is_above_the_floor(name: str, floor: float, real_data: Path):
    scores = []
    for path in sorted((real_data / name / "images").glob("*.png"))[::3]:
        mask = AutoSegmenter()(np.array(Image.open(path).convert("RGB")))
        scores.append(dice(mask, np.array(Image.open(real_data / name / "masks" / path.name))))
    assert np.mean(scores) > floor


@pytest.mark.real_data
def test_central_nucleus_of_pap_smear_crops_is_one_object(real_data: Path):
    found = []
    for path in sorted((real_data / "cric_pap").glob("*/*.png"))[::6]:
        mask = AutoSegmenter()(np.array(Image.open(path).convert("RGB")))
        _, labels = cv2.connectedComponents(mask, connectivity=8)
        label = labels[64, 64]
        found.append(label > 0 and 0.003 < (labels == label).mean() < 0.4)
    assert np.mean(found) > 0.87
