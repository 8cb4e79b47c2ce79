"""Stain classes: the colours that a set has in common, as levels of its maps."""

import json

import cv2
import numpy as np
import pytest

from syncgan import MASK_GENERATORS, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.data.raw import read_dataset
from syncgan.preparing import prepare
from syncgan.segmentation.stain_classes import StainClasses

WHITE, PINK, RED, PURPLE = (250, 245, 240), (230, 170, 190), (190, 90, 100), (90, 40, 120)


def smear(light=1.0, side=48):
    """Stripes of three colours and a dark square, and where each is."""
    image = np.empty((side, side, 3), np.float64)
    truth = np.zeros((side, side), np.uint8)
    for level, colour in enumerate((WHITE, PINK, RED)):
        columns = slice(level * side // 3, (level + 1) * side // 3)
        image[:, columns], truth[:, columns] = colour, level
    image[20:28, 20:28], truth[20:28, 20:28] = PURPLE, 3
    return (image * light).round().astype(np.uint8), truth


def test_each_colour_of_the_set_becomes_a_level_and_nuclei_the_highest():
    image, truth = smear()
    classes = StainClasses.fit([image], [truth == 3], 3)
    found = classes.levels_of(image, truth == 3)
    inner = np.ones(truth.shape, bool)
    for edge in (16, 32):
        inner[:, edge - 2 : edge + 2] = False
    inner[17:31, 17:31] = truth[17:31, 17:31] == 3
    assert classes.levels == 4
    assert np.array_equal(found[inner], truth[inner])


def test_the_same_stain_is_the_same_class_under_other_light():
    (bright, truth), (dim, _) = smear(), smear(light=0.7)
    classes = StainClasses.fit([bright], [truth == 3], 3)
    assert (classes.levels_of(bright, truth == 3) == classes.levels_of(dim, truth == 3)).mean() > 0.99


def test_nuclei_are_divided_by_their_own_colours_for_the_models_alone():
    image, truth = smear()
    nucleus = np.zeros(truth.shape, bool)
    nucleus[16:32, 16:32] = True  # red cytoplasm that was taken for nucleus, around the purple square
    image[16:32, 16:32], image[20:28, 20:28] = RED, PURPLE
    classes = StainClasses.fit([image], [nucleus], 3, nuclear=2)
    found = classes.levels_of(image, nucleus)
    divided = classes.divided(image, found)
    assert (classes.levels, classes.nuclear_levels) == (4, 2)
    assert np.array_equal(found == 3, nucleus)
    assert np.array_equal(np.minimum(divided, 3), found)
    assert (divided[21:27, 21:27] == 4).all()
    assert (divided[16:19, 16:32] == 3).all()


def test_nuclei_of_one_colour_are_not_divided():
    image, nucleus = np.full((32, 32, 3), 120, np.uint8), np.zeros((32, 32), bool)
    nucleus[8:20, 8:20] = True
    classes = StainClasses.fit([image], [nucleus], 3, nuclear=4)
    found = classes.levels_of(image, nucleus)
    assert classes.nuclear_levels == 1
    assert np.array_equal(classes.divided(image, found), found)


def test_a_set_of_fewer_colours_has_fewer_classes():
    flat = np.full((32, 32, 3), 200, np.uint8)
    classes = StainClasses.fit([flat], [np.zeros((32, 32), bool)], 6)
    assert classes.levels == 2


def test_a_set_of_nothing_but_nuclei_has_one_class():
    image, _ = smear()
    everywhere = np.ones(image.shape[:2], bool)
    classes = StainClasses.fit([image], [everywhere], 6)
    assert (classes.levels_of(image, everywhere) == classes.levels - 1).all()


def test_classes_come_back_from_json():
    image, truth = smear()
    classes = StainClasses.fit([image], [truth == 3], 3)
    divided = StainClasses.fit([image], [truth > 1], 2, nuclear=2)
    assert divided.nuclear
    for one in (classes, divided):
        assert StainClasses.of(json.loads(json.dumps(one.as_dict()))) == one
    assert StainClasses.of(None) is None


@pytest.fixture(scope="module")
def phantom():
    return Phantom(4, image_size=32)


def test_derived_maps_are_divided_and_given_ones_are_not(phantom):
    config = SynCGANConfig.preset("tiny").updated(["stain_classes=4"])
    raw = read_dataset(phantom)
    nuclei = [phantom.mask(index) for index in range(len(phantom))]
    divided = prepare(raw, nuclei, config=config)
    assert divided.levels == 5
    assert divided.extracted_levels == 3
    assert int(divided.pairs.maps.max()) == 4
    assert set(np.unique(divided.pairs.maps.numpy() == 4)) == {False, True}
    three = [mask * np.uint8(2) for mask in nuclei]
    three[0][0, 0] = 1
    kept = prepare(raw, three, config=config)
    assert (kept.levels, kept.stain_classes) == (3, None)
    off = prepare(raw, nuclei, config=SynCGANConfig.preset("tiny"))
    assert (off.levels, off.stain_classes) == (3, None)


def test_a_model_keeps_its_classes_and_divides_other_images_by_them(phantom, tmp_path):
    few = ["stain_classes=4", "mask_gan.generator=mosaic", "image_gan.steps=2", "image_gan.from_colours=true"]
    config = SynCGANConfig.preset("tiny").updated(few)
    fitted = SynCGANAugmenter(config, device="cpu").fit(phantom)
    fitted.save(tmp_path / "model")
    loaded = SynCGANAugmenter.load(tmp_path / "model", device="cpu")
    assert loaded.stain_classes_ == fitted.stain_classes_
    assert loaded.levels_ == 5
    again = prepare(read_dataset(phantom), None, config=loaded.config_, stain_classes=loaded.stain_classes_).pairs
    assert again.fingerprint() == loaded.fingerprint_
    one, other = (model.sample("benign", 3, seed=1) for model in (fitted, loaded))
    assert np.array_equal(one.images, other.images)
    assert int(one.masks.max()) == 4


@pytest.mark.parametrize("generator", ["mosaic", "warp", "decoder", "shapes"])
def test_samples_show_nuclei_as_one_level_whatever_the_models_learned(phantom, generator, tmp_path):
    few = ["stain_classes=4", "nuclear_classes=2", f"mask_gan.generator={generator}", "mask_gan.steps=2"]
    config = SynCGANConfig.preset("tiny").updated([*few, "image_gan.steps=2", "filters.mask_plausibility=false"])
    fitted = SynCGANAugmenter(config, device="cpu").fit(phantom)
    expected = 1 if generator == "shapes" else 2  # which draws outlines, and knows of nothing in them
    assert fitted.stain_classes_.nuclear_levels == expected
    assert fitted.levels_ == 5
    assert fitted.image_gan_.levels_ == fitted.mask_gans_[0].levels_ == 4 + expected
    assert int(fitted.pairs_.maps.max()) == 4
    fitted.save(tmp_path / "model")
    loaded = SynCGANAugmenter.load(tmp_path / "model", device="cpu")
    one, other = (model.sample("benign", 4, seed=1) for model in (fitted, loaded))
    assert np.array_equal(one.images, other.images)
    assert int(one.masks.max()) <= 4
    assert np.array_equal(fitted.sample_masks("benign", 4, seed=1), one.masks)


def test_stored_masks_keep_the_parts_of_nuclei_together():
    side, masks = 64, []
    for number in range(6):
        levels_map = np.zeros((side, side), np.uint8)
        cv2.circle(levels_map, (30 + number, 32), 9, 2, -1)
        cv2.circle(levels_map, (30 + number, 32), 4, 3, -1)
        masks.append(levels_map)
    for name in ("mosaic", "warp"):
        prior = MASK_GENERATORS.get(name)(levels=4, nuclear_levels=2)
        prior.fit(np.stack(masks))
        for drawn in prior.sample(8, seed=1):
            assert cv2.connectedComponents((drawn >= 2).astype(np.uint8))[0] == 2
            dark = drawn == 3
            assert dark.sum() == pytest.approx((masks[0] == 3).sum(), rel=0.4)
            assert (drawn[cv2.dilate(dark.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] >= 2).all()
