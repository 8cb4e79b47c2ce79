"""The mask generators that are no GANs: real masks warped and recombined, and shape statistics."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from syncgan import MaskGAN, SynCGANConfig
from syncgan.data.mask_priors.mosaic import _turned_about_the_middle
from syncgan.data.mask_priors.outlines import OutlineModel, canonical_axes, distance_map, draw_outline
from syncgan.data.mask_priors.regions import disc, fits, nuclei_of, objects_of, place, place_behind, remove
from syncgan.registry import MASK_GENERATORS
from syncgan.testing import check_mask_generator

PRIORS = ("warp", "mosaic", "shapes")
NONE = np.zeros(4, bool)


def discs(*places, size=48, levels=2, rim=0):
    """Return a map with discs (row, column, radius), each in a rim of level 1."""
    drawn = np.zeros((size, size), np.uint8)
    for row, column, radius in places:
        if rim:
            cv2.circle(drawn, (column, row), radius + rim, 1, -1)
    for row, column, radius in places:
        cv2.circle(drawn, (column, row), radius, levels - 1, -1)
    return drawn


def fields(count=8, size=48, levels=2, seed=0):
    generator = np.random.default_rng(seed)
    rim = 3 if levels > 2 else 0
    return np.stack(
        [
            discs(
                *[(12 + 24 * r, 12 + 24 * c, int(generator.integers(3, 6))) for r in (0, 1) for c in (0, 1)][
                    : 1 + k % 4
                ],
                size=size,
                levels=levels,
                rim=rim,
            )
            for k in range(count)
        ]
    )


def fitted(name, masks, levels, labels=None):
    prior = MASK_GENERATORS.get(name)(levels=levels)
    prior.fit(masks, labels=labels, seed=0)
    return prior


def count_nuclei(levels_map, levels):
    return len(nuclei_of(levels_map, levels))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_the_contract_of_a_mask_generator_is_kept(name, levels):
    check_mask_generator(name, levels=levels)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("levels", [2, 3])
def test_one_or_two_masks_are_enough(name, count, levels):
    drawn = fitted(name, fields(count, levels=levels), levels).sample(3, seed=1)
    assert drawn.shape == (3, 48, 48)
    assert drawn.dtype == np.uint8
    most = 3 if name == "mosaic" and count == 2 else 2  # it puts masks together: the one and the two of the other
    assert {count_nuclei(one, levels) for one in drawn} <= set(range(1, most + 1))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("value", [0, 1, 2])
def test_masks_of_one_level_alone_give_masks(name, value):
    drawn = fitted(name, np.full((2, 32, 32), value, np.uint8), 3).sample(2, seed=1)
    assert drawn.shape == (2, 32, 32)
    if value != 2:
        assert (drawn == value).all()


@pytest.mark.parametrize("name", PRIORS)
def test_an_item_depends_on_its_seed_alone(name):
    prior = fitted(name, fields(levels=3), 3)
    assert np.array_equal(prior.sample(1, seed=5)[0], prior.sample(3, seed=5)[0])
    assert not np.array_equal(prior.sample(1, seed=5), prior.sample(1, seed=6))
    assert prior.sample(0).shape == (0, 48, 48)


@pytest.mark.parametrize("name", PRIORS)
def test_each_class_is_drawn_from_its_own_masks(name):
    few, many = fields(6)[::4], np.stack([discs((8, 8, 4), (8, 38, 4), (38, 8, 4), (38, 38, 4), (24, 24, 4))] * 4)
    masks, labels = np.concatenate([few, many]), np.repeat([0, 1], [len(few), len(many)])
    prior = fitted(name, masks, 2, labels)
    counts = [[count_nuclei(one, 2) for one in prior.sample(6, label=label, seed=2)] for label in (0, 1)]
    assert max(counts[0]) <= 2
    assert min(counts[1]) >= 3


@pytest.mark.parametrize("name", PRIORS)
def test_state_survives_the_model_format(name, tmp_path):
    config = SynCGANConfig.preset("tiny").updated([f"mask_gan.generator={name}"])
    model = MaskGAN(config, device="cpu").fit(fields(6, size=32, levels=3), [0, 0, 0, 1, 1, 1])
    model.save(tmp_path / "model")
    again = MaskGAN.load(tmp_path / "model", device="cpu")
    assert torch.equal(model.sample(4, label=1, seed=3), again.sample(4, label=1, seed=3))


@pytest.mark.parametrize("name", PRIORS)
def test_areas_are_those_of_the_real_nuclei(name):
    masks = np.stack([discs((24, 24, 7))] * 6)
    drawn = fitted(name, masks, 2).sample(12, seed=1)
    assert np.mean(drawn.sum(axis=(1, 2))) == pytest.approx(masks[0].sum(), rel=0.1)


def test_warped_masks_are_no_copies_and_keep_the_number_of_nuclei():
    masks = fields(4)
    drawn = fitted("warp", masks, 2).sample(8, seed=1)
    turned = [np.rot90(flipped, k) for mask in masks for flipped in (mask, mask[::-1]) for k in range(4)]
    assert not any(np.array_equal(one, other) for one in drawn for other in turned)
    assert {count_nuclei(one, 2) for one in drawn} <= {1, 2, 3, 4}


def test_a_mosaic_repeats_the_arrangement_of_no_mask():
    generator = np.random.default_rng(0)
    masks = np.stack(
        [discs(*[(*generator.integers(6, 58, 2).tolist(), 4) for _ in range(8)], size=64) for _ in range(12)]
    )

    def nearest(name):
        drawn = fitted(name, masks, 2).sample(12, seed=1) > 0
        turned = [np.rot90(flipped, k) > 0 for mask in masks for flipped in (mask, mask[::-1]) for k in range(4)]
        return np.mean([max((one & other).sum() / (one | other).sum() for other in turned) for one in drawn])

    chance = np.mean([max((a & b).sum() / (a | b).sum() for b in masks > 0 if b is not a) for a in masks > 0])
    assert nearest("mosaic") < (chance + nearest("warp")) / 2


def test_a_mosaic_holds_whole_objects_of_several_masks_and_as_many_as_one_mask():
    rings = np.stack([discs((24, 24, 5), levels=3)] * 6)
    for number, levels_map in enumerate(rings):  # small stained discs, of another size in every mask
        for row, column in ((8, 8), (8, 38), (38, 8), (38, 38), (8, 24), (38, 24)):
            cv2.circle(levels_map, (column, row), 1 + number, 1, -1)
    areas = [cv2.connectedComponents((levels_map == 1).astype(np.uint8))[0] for levels_map in rings]
    assert set(areas) == {7}
    prior = fitted("mosaic", rings, 3)
    drawn = prior.sample(10, seed=1)
    assert {count_nuclei(one, 3) for one in drawn} == {1}
    sizes = []
    for one in drawn:
        count, _, stats, _ = cv2.connectedComponentsWithStats((one == 1).astype(np.uint8), connectivity=4)
        assert 2 <= count - 1 <= 10
        sizes.append(len({int(np.sqrt(area / np.pi) + 0.5) for area in stats[1:, cv2.CC_STAT_AREA]}))
    assert np.mean(sizes) > 1.5  # discs of more than one mask lie in most of them


def test_a_mosaic_of_single_cells_is_a_single_cell_wherever_they_lie():
    generator = np.random.default_rng(0)
    masks = np.stack([discs((*generator.integers(16, 33, 2).tolist(), 5), levels=3, rim=2) for _ in range(12)])
    drawn = fitted("mosaic", masks, 3).sample(40, seed=1)
    assert {count_nuclei(one, 3) for one in drawn} == {1}


def test_a_mosaic_keeps_what_is_one_pixel_wide():
    masks = np.zeros((6, 48, 48), np.uint8)
    masks[:, ::6] = 1  # thin lines
    for number, levels_map in enumerate(masks):
        cv2.circle(levels_map, (22 + number % 3, 24), 5, 2, -1)
    drawn = fitted("mosaic", masks, 3).sample(10, seed=1)
    assert (drawn == 1).mean() == pytest.approx((masks == 1).mean(), rel=0.1)


def test_lobes_of_one_nucleus_stay_together():
    lobes = np.stack([discs((48, 38, 8), (48, 59, 8), size=96)] * 4)
    for one in fitted("mosaic", lobes, 2).sample(8, seed=1):
        _, _, _, centres = cv2.connectedComponentsWithStats(one)
        assert len(centres) == 3
        assert np.linalg.norm(centres[1] - centres[2]) == pytest.approx(21, rel=0.25)


def test_a_reshaped_nucleus_keeps_its_place_and_rim_and_takes_the_area_of_the_map():
    (nucleus,) = nuclei_of(discs((24, 20, 6), levels=3, rim=2), 3)
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    larger = nucleus.reshaped(1.2 * turn)
    assert np.abs(larger.centre - nucleus.centre).max() <= 0.5
    assert larger.area_px == pytest.approx(1.44 * nucleus.area_px, rel=0.1)
    assert (larger.levels == 1).sum() == pytest.approx(1.44 * (nucleus.levels == 1).sum(), rel=0.1)


def test_a_nucleus_moves_with_its_rim_and_leaves_background_behind():
    levels_map = discs((14, 14, 5), levels=3, rim=2)
    (nucleus,) = nuclei_of(levels_map, 3)
    without = remove(levels_map, nucleus, 3)
    assert not without.any()
    moved = place(without, nucleus.moved(15, 12))
    assert np.array_equal(moved, discs((29, 26, 5), levels=3, rim=2))


def test_a_nucleus_fits_only_where_it_touches_neither_border_nor_another():
    levels_map = discs((14, 14, 5), (34, 34, 5))
    nucleus = nuclei_of(levels_map, 2)[0]
    alone = remove(levels_map, nucleus, 2)
    assert fits(alone, nucleus, 2)
    assert not fits(alone, nucleus.moved(12, 12), 2)
    assert not fits(alone, nucleus.moved(-9, 0), 2)


def test_a_symmetry_keeps_a_nucleus_in_its_place():
    levels_map = np.zeros((48, 48), np.uint8)
    levels_map[20:26, 18:30] = 1
    (nucleus,) = nuclei_of(levels_map, 2)
    for symmetry in range(8):
        assert np.abs(nucleus.turned(symmetry).centre - nucleus.centre).max() <= 0.5


def test_an_outline_is_restored_from_its_distance_map():
    mask = np.zeros((64, 64), np.uint8)
    cv2.ellipse(mask, (30, 34), (16, 9), 30, 0, 360, 1, -1)
    nucleus = mask > 0
    axes, side = canonical_axes(nucleus, NONE), np.sqrt(nucleus.sum())
    centre = np.argwhere(nucleus).mean(axis=0)
    drawn = draw_outline(distance_map(nucleus, NONE, axes), side, centre, axes, 64)
    assert (drawn & nucleus).sum() / (drawn | nucleus).sum() > 0.93


def test_a_cut_outline_goes_on_beyond_the_border():
    nucleus = discs((0, 24, 10)) > 0
    sides = np.array([True, False, False, False])
    axes = canonical_axes(nucleus, sides)
    away = axes[:, 0]
    assert away.tolist() == [1.0, 0.0]
    heights = distance_map(nucleus, sides, axes)
    assert (heights[0] > 0).any()  # the row of the grid that lies furthest beyond the border


def test_drawn_outlines_spread_like_the_real_ones_and_copy_none():
    generator = np.random.default_rng(0)
    maps = []
    for _ in range(20):
        mask = np.zeros((64, 64), np.uint8)
        cv2.ellipse(mask, (32, 32), (18, int(generator.integers(8, 18))), 0, 0, 360, 1, -1)
        maps.append(distance_map(mask > 0, NONE, canonical_axes(mask > 0, NONE)))
    real = np.array(maps)
    model = OutlineModel.of(real, np.zeros(20))
    drawn = np.array([model.draw(k % 20, np.random.default_rng(k))[0] for k in range(200)])
    along = (drawn.reshape(200, -1) - model.mean) @ model.components[0]
    assert along.std() == pytest.approx(model.codes[:, 0].std(), rel=0.2)
    assert not any(np.allclose(one, other, atol=1e-3) for one in drawn for other in real)


def within(*circles):
    """Return a mask (64, 64), true within any of the circles (row, column, radius)."""
    rows, columns = np.mgrid[:64, :64]
    return np.any([np.hypot(rows - row, columns - column) <= radius for row, column, radius in circles], axis=0)


def test_objects_that_touch_are_parted_where_they_touch():
    circles = [(24, 20, 9), (24, 37, 9), (54, 50, 6)]
    objects = objects_of(within(*circles))
    inside = [objects[row, column] for row, column, _ in circles]
    assert len(set(inside)) == 3
    for circle, number in zip(circles, inside, strict=True):
        own = within(circle)
        assert (objects[own] == number).mean() > 0.9
    assert not objects[~within(*circles)].any()


def test_what_belongs_to_another_object_does_not_go_with_a_nucleus():
    levels_map = within((24, 20, 9), (24, 39, 9)).astype(np.uint8)
    levels_map[within((24, 20, 6))] = 2
    (cell,) = nuclei_of(levels_map, 3, rim=3.0, objects=objects_of(levels_map > 0))
    left = cell.left + np.nonzero(cell.reach)[1]
    assert left.max() <= 30
    assert cell.reach.sum() > 0.9 * within((24, 20, 9)).sum()


def crops(around_the_middle):
    """Return 12 maps of nuclei all over, with cytoplasm of two widths, that are centred on a nucleus or anywhere."""
    generator = np.random.default_rng(0)
    maps = np.zeros((12, 48, 48), np.uint8)
    rows, columns = np.mgrid[:48, :48]
    for index, levels_map in enumerate(maps):
        places = [(23.5, 23.5)] if around_the_middle else []
        for row, column in [*places, *generator.uniform(0, 47, (4, 2))]:
            distance = np.hypot(rows - row, columns - column)
            levels_map[(distance < (6 if index % 2 else 10)) & (levels_map == 0)] = 1
            levels_map[distance < 4] = 2
    return maps


def test_a_nucleus_that_the_border_cuts_goes_on_beyond_it_and_is_cut_anew():
    masks = np.zeros((1, 48, 48), np.uint8)
    cv2.ellipse(masks[0], (22, 4), (16, 7), 30, 0, 360, 1, -1)
    cv2.circle(masks[0], (24, 38), 3, 1, -1)
    prior = fitted("mosaic", masks, 2)
    cut, clear = sorted(prior._cells(0, 0), key=lambda one: one.inside)
    assert (cut.inside, clear.inside) == (False, True)
    rows, columns = cut.seen(48).T
    before = np.zeros((48, 48), bool)
    before[rows, columns] = True
    assert np.array_equal(before, (masks[0] > 0) & (np.arange(48) < 30)[:, None])
    assert cut.area_px > 1.3 * before.sum()
    empty = np.zeros((48, 48), np.uint8)
    drawn = [prior._put(empty, cut, 0.3, np.random.default_rng(seed)) > 0 for seed in range(30)]
    assert all(0.5 <= one.sum() / before.sum() <= 1.5 for one in drawn)
    assert np.mean([(one & before).sum() / (one | before).sum() for one in drawn]) < 0.7
    assert all(np.concatenate([one[0], one[-1], one[:, 0], one[:, -1]]).any() for one in drawn)


def dense_crops() -> np.ndarray:
    """Return 12 maps: a nucleus in the middle, one larger right beside it, and others anywhere else."""
    generator = np.random.default_rng(0)
    maps = np.zeros((12, 64, 64), np.uint8)
    for levels_map in maps:
        angle = generator.uniform(0, 2 * np.pi)
        places = generator.uniform(0, 63, (30, 2))
        beside = 32 + 18 * np.array([np.cos(angle), np.sin(angle)])
        for column, row, radius in [(32, 32, 6), (*beside, 10), *((*at, 5) for at in places)]:
            disc = discs((round(row), round(column), radius), size=64)
            if not (cv2.dilate(disc, np.ones((3, 3), np.uint8)) & levels_map).any():
                levels_map |= disc
    return maps


def test_threads_agree_on_the_nuclei_of_a_mask():
    prior = fitted("mosaic", dense_crops(), 2)
    prior._whole.clear()
    both, cut = threading.Barrier(2), prior._nuclei_of

    def nuclei_of_a_mask(mask):
        both.wait(10)  # each has found none yet
        return cut(mask)

    prior._nuclei_of = nuclei_of_a_mask
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(prior._whole_nuclei_of, (0, 0))
    assert one is other


def test_a_mosaic_of_dense_crops_has_the_nucleus_in_the_middle_and_not_all_that_lies_beside_it():
    masks = dense_crops()
    prior = fitted("mosaic", masks, 2)
    assert prior._is_about_the_middle
    drawn = prior.sample(60, seed=1)
    assert drawn[:, 30:34, 30:34].all(axis=(1, 2)).mean() > 0.75
    assert drawn.mean() > 0.7 * masks.mean()
    sizes = [sum(nucleus.area_px > 200 for nucleus in nuclei_of(one, 2)) for one in drawn]
    assert 0.1 < np.mean(np.array(sizes) == 0) < 0.9


def test_the_nucleus_in_the_middle_is_drawn_once_and_all_of_it_stays():
    masks = np.stack([cv2.dilate(mask, disc(2)) + mask for mask in dense_crops()])
    prior = fitted("mosaic", masks, 3)
    for seed in range(20):
        subject = prior._subject_of(seed % len(masks))
        cells = prior._cells_by_part([seed % len(masks)], [0], np.zeros((64, 64), np.int64), but=subject)
        assert not any(np.hypot(*(cell.centre - subject.centre)) < 1 for cell in cells)
        drawn = place_behind(np.zeros((64, 64), np.uint8), subject, 3)
        rows, columns = subject.seen(64).T
        crowded = prior._put_all(drawn, cells, 0.29, np.random.default_rng(seed))
        assert (crowded[rows, columns] == 2).all()
        assert (crowded == 2).sum() > len(rows)


def test_a_nucleus_beside_the_middle_still_covers_it_when_it_is_turned():
    masks = np.zeros((6, 64, 64), np.uint8)
    for index, mask in enumerate(masks):
        cv2.ellipse(mask, (42, 32), (13, 5), 0, 0, 360, 1, -1)  # the middle is near one of its ends
        for row, column in [(6, 6), (58, 8), (57, 57), (6, 56)]:
            cv2.circle(mask, (column + index % 3, row), 4, 1, -1)
    prior = fitted("mosaic", masks, 2)
    subject = prior._subject_of(0)
    turned = [_turned_about_the_middle(subject, 64, 0.0, np.random.default_rng(seed)) for seed in range(20)]
    covered = [place_behind(np.zeros((64, 64), np.uint8), one, 2)[31:33, 31:33].mean() for one in turned]
    assert np.mean(covered) > 0.95
    assert np.ptp([one.centre[0] for one in turned]) > 10


def test_what_a_mask_shows_beyond_its_border_is_parted_as_within_it():
    masks = np.zeros((1, 64, 64), np.uint8)
    cv2.circle(masks[0], (22, 4), 8, 1, -1)
    cv2.circle(masks[0], (22, 24), 5, 1, -1)  # a gap of six pixels: more than lobes of a nucleus have
    prior = fitted("mosaic", np.concatenate([masks, fields(8, 64)]), 2)
    cut, clear = sorted(prior._cells(0, 0), key=lambda one: one.inside)
    assert (cut.inside, clear.inside) == (False, True)
    assert cut.area_px < 400


def test_a_nucleus_that_the_border_cuts_goes_on_behind_another_or_is_left_out():
    prior = fitted("mosaic", discs((24, 4, 9))[None], 2)
    (cut,) = prior._cells(0, 0)
    for radius, kept in [(3, True), (8, False)]:  # less than half of it is hidden, or more
        there = discs((24, 6, radius))
        drawn = prior._put(there, cut, 0.0, np.random.default_rng(0))
        assert (drawn >= there).all()
        assert bool((drawn > there).any()) is kept


def test_a_mosaic_takes_the_middle_from_a_mask_that_has_a_nucleus_there():
    masks = dense_crops()
    masks[2:, 18:46, 18:46] = 0
    prior = fitted("mosaic", masks, 2)
    vars(prior)["_is_about_the_middle"] = True  # as other classes of the set may be
    assert prior.sample(20, seed=1)[:, 30:34, 30:34].mean() > 0.8


@pytest.mark.parametrize("around_the_middle", [True, False])
def test_a_mosaic_of_crops_around_a_nucleus_keeps_one_in_the_middle_with_its_cell(around_the_middle):
    prior = fitted("mosaic", crops(around_the_middle), 3)
    assert prior._is_about_the_middle is around_the_middle
    drawn = prior.sample(40, seed=1)
    middle = (drawn[:, 20:28, 20:28] == 2).any(axis=(1, 2)).mean()
    assert bool(middle >= 0.9) is around_the_middle
