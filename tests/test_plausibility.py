"""The mask filter: what training masks span, and specks that none of them has."""

import json

import numpy as np
import torch

from syncgan.data.plausibility import MaskRange


def square(side, *, at=8, levels=3, size=32):
    mask = torch.zeros(size, size, dtype=torch.uint8)
    mask[at : at + side, at : at + side] = levels - 1
    return mask


def test_specks_take_the_level_around_them_and_nuclei_stay():
    training = torch.stack([square(6), square(9)])
    found = MaskRange.of(training, 3)
    drawn = square(7)
    drawn[20:28, 20:28] = 1
    expected = drawn.clone()
    drawn[23:25, 23:25] = 2  # in cytoplasm
    drawn[2, 2] = 2  # on the background
    assert torch.equal(found.without_specks(drawn[None], 3)[0], expected)


def test_training_masks_keep_every_nucleus():
    training = torch.stack([square(3), square(9)])
    assert torch.equal(MaskRange.of(training, 3).without_specks(training, 3), training)


def test_a_map_of_nothing_but_nucleus_is_left_alone():
    full = torch.full((1, 16, 16), 2, dtype=torch.uint8)
    assert torch.equal(MaskRange.of(full, 3).without_specks(full, 3), full)


def test_empty_maps_are_plausible_only_where_a_training_map_is_empty():
    empty = torch.zeros(2, 32, 32, dtype=torch.uint8)
    drawn = torch.stack([empty[0], square(9)])
    assert MaskRange.of(empty, 3).admits(drawn, 3).tolist() == [True, False]
    assert MaskRange.of(torch.stack([square(6), square(9)]), 3).admits(drawn, 3).tolist() == [False, True]


def test_the_range_survives_a_manifest():
    found = MaskRange.of(torch.stack([square(6), square(9)]), 3)
    assert MaskRange(**json.loads(json.dumps(found.as_dict()))) == found
    assert np.isclose(found.min_region_share, 36 / 1.25 / 1024)
