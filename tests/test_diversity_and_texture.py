"""Terms beyond the paper: gradient penalty, mode seeking, textures, and what D sees."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn
from scipy.stats import wasserstein_distance

from syncgan.config import MaskGANConfig
from syncgan.evaluation.plain_gan import _PlainObjective
from syncgan.training import losses
from syncgan.training.augmentation import draw_augmentation
from syncgan.training.objectives import MaskBatch
from syncgan.training.texture import draw_patches, texture_distance

KINDS = ("translation", "scaling", "colour", "cutout")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64) * 2 - 1


# --- Wasserstein -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=5), st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_wasserstein_losses_are_differences_of_mean_scores(real, fake):
    real, fake = (torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1) for values in (real, fake))
    found = sum(
        losses.discriminator_loss(logits, real=logits is real, kind="wasserstein-gp").item() for logits in (real, fake)
    )
    assert found == pytest.approx(fake.mean().item() - real.mean().item(), abs=1e-5)
    assert losses.generator_loss(fake, kind="wasserstein-gp").item() == pytest.approx(-fake.mean().item(), abs=1e-5)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic_is_the_squared_distance_of_its_norm_from_one(norm):
    weights = noise(2, 4, 4)
    weights = weights / weights.norm() * norm
    mixed = noise(3, 2, 4, 4, seed=1).requires_grad_(True)
    logits = (mixed * weights).sum(dim=(1, 2, 3))[:, None, None, None].expand(-1, 1, 5, 5)
    assert losses.gradient_penalty(logits, mixed).item() == pytest.approx((norm - 1) ** 2, abs=1e-4)


# --- one mask, many images -------------------------------------------------------------------------------------------


def test_mode_seeking_grows_as_renderings_of_different_noise_become_alike():
    first, z1, z2 = noise(2, 3, 8, 8), torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    found = [losses.mode_seeking(first, first + apart, z1, z2).item() for apart in (0.0, 0.09, 0.99)]
    assert found == pytest.approx([100.0, 10.0, 1.0], rel=1e-4)


def test_variety_is_missed_only_below_that_of_the_real_batch():
    real = torch.stack([torch.full((1, 4, 4), value) for value in (-1.0, 1.0)])
    alike = torch.zeros(2, 1, 4, 4)
    assert losses.variety_shortfall(real, real).item() == 0
    assert losses.variety_shortfall(alike, real).item() == pytest.approx(2)
    assert losses.variety_shortfall(2 * real, real).item() == 0
    assert losses.variety_shortfall(alike[:1], real[:1]).item() == 0


def test_variety_is_compared_within_classes():
    real = torch.stack([torch.full((1, 4, 4), value) for value in (-1.0, 1.0, -1.0, 1.0)])
    told = torch.stack([torch.full((1, 4, 4), value) for value in (-1.0, -1.0, 1.0, 1.0)])
    label = torch.tensor([0, 0, 1, 1])
    assert losses.variety_shortfall(told, real).item() == 0  # the classes differ
    assert losses.variety_shortfall(told, real, label).item() == pytest.approx(2)  # but each has collapsed
    assert losses.variety_shortfall(told[1:3], real[1:3], label[1:3]).item() == 0


# --- reconstruction of what a mask can foretell ----------------------------------------------------------------------


def test_cells_compare_means_so_detail_within_a_cell_is_free():
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    board = board.expand(1, 3, 8, 8)
    flat = torch.zeros_like(board)
    assert losses.reconstruction_loss(board, flat, kind="l1").item() == 1
    assert losses.reconstruction_loss(board, flat, kind="l1", cell=2).item() == 0
    assert losses.reconstruction_loss(board + 0.5, flat, kind="l1", cell=2).item() == pytest.approx(0.5)


# --- textures --------------------------------------------------------------------------------------------------------


def all_positions(count, size):
    return torch.arange(size * size).repeat(count, 1, 1)


def test_patch_distance_of_single_pixels_is_the_wasserstein_distance_of_their_colours_in_spreads_of_the_real():
    first, second = noise(1, 3, 6, 6), noise(1, 3, 6, 6, seed=1)
    directions = torch.nn.functional.normalize(noise(4, 3, seed=2), dim=1).float()
    found = losses.patch_distribution_distance(first, second, directions[None, :, :, None, None], all_positions(1, 6))
    mine, theirs = ((x.flatten(2)[0].T.float() @ directions.T).numpy() for x in (first, second))
    expected = np.mean(
        [wasserstein_distance(m, t) / (t.std(ddof=1) + 0.02) for m, t in zip(mine.T, theirs.T, strict=True)]
    )
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_directions_are_unit_vectors_of_one_frequency_each():
    maps = torch.zeros(2, 16, 16, dtype=torch.uint8)
    directions = draw_patches(maps, 2, generator()).directions
    torch.testing.assert_close(directions.flatten(2).norm(dim=2), torch.ones(2, directions.shape[1]))
    spectra = torch.from_numpy(dctn(directions.numpy(), axes=(-2, -1), norm="ortho")).square().sum(dim=2).flatten(2)
    torch.testing.assert_close(spectra.amax(dim=2), torch.ones(2, directions.shape[1]))


def test_speckle_is_far_from_smooth_shading_of_the_same_colours():
    smooth = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    speckled = smooth[..., torch.randperm(32, generator=generator())].transpose(2, 3)[
        ..., torch.randperm(32, generator=generator(1))
    ]
    draw = draw_patches(torch.zeros(1, 32, 32, dtype=torch.uint8), 2, generator())
    moved = smooth.flip(-1)
    assert texture_distance(speckled, smooth, draw) > 3 * texture_distance(moved, smooth, draw)


def test_patch_distance_does_not_ask_where_a_detail_stands():
    image = noise(1, 3, 8, 8)
    moved = image.flatten(2)[:, :, torch.randperm(64, generator=generator())].reshape(image.shape)
    directions = noise(1, 4, 3, 1, 1, seed=2).float()
    found = losses.patch_distribution_distance(moved, image, directions, all_positions(1, 8))
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert losses.reconstruction_loss(moved, image, kind="l1").item() > 0.3


def test_patches_are_those_that_unfold_finds():
    image = noise(2, 3, 7, 7)
    padded = torch.nn.functional.pad(image, (2,) * 4, mode="reflect")
    expected = torch.nn.functional.unfold(padded, 5).transpose(1, 2)
    assert torch.equal(losses._patches(image, 5, all_positions(2, 7)[:, 0]), expected)


def test_textures_are_compared_within_their_level():
    maps = torch.zeros(1, 16, 16, dtype=torch.uint8)
    maps[:, :, 8:] = 1
    draw = draw_patches(maps, 2, generator())
    for scale, positions in draw.positions.items():
        in_right_half = positions % (16 // scale) >= 8 // scale
        assert not in_right_half[:, 0].any()
        assert in_right_half[:, 1].all()


def test_a_level_that_a_map_lacks_does_no_harm():
    maps = torch.zeros(2, 16, 16, dtype=torch.uint8)
    draw = draw_patches(maps, 3, generator())
    image = noise(2, 3, 16, 16).float().requires_grad_(True)
    texture_distance(image, noise(2, 3, 16, 16, seed=1).float(), draw).backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().sum() > 0


# --- what D sees -----------------------------------------------------------------------------------------------------


def test_augmentation_moves_map_and_image_alike():
    maps = (noise(6, 1, 16, 16) > 0).float()
    drawn = draw_augmentation(("translation", "scaling", "cutout"), 6, 16, probability=1.0, generator=generator())
    seen = drawn.pair(maps, maps.expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen[:, 1:], seen[:, :1].expand(-1, 3, -1, -1))
    assert not torch.equal(seen[:, :1], maps)


def test_colours_change_in_the_image_alone():
    maps, images = (noise(4, 2, 16, 16) > 0).float(), noise(4, 3, 16, 16, seed=1).float()
    drawn = draw_augmentation(("colour",), 4, 16, probability=1.0, generator=generator())
    seen = drawn.pair(maps, images)
    assert torch.equal(seen[:, :2], maps)
    assert ((seen[:, 2:] - images).abs().mean(dim=(1, 2, 3)) > 0.01).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_leaves_about_the_share_of_items_alone_that_its_probability_says(kind):
    images = noise(400, 3, 16, 16).float()
    drawn = draw_augmentation((kind,), 400, 16, probability=0.3, generator=generator())
    same = ((drawn.pair(images[:, :1], images)[:, 1:] - images).abs().amax(dim=(1, 2, 3)) < 1e-4).float().mean()
    assert same.item() == pytest.approx(0.7, abs=0.08)


def test_leaving_one_kind_out_does_not_change_the_others():
    drawn = [draw_augmentation(kinds, 4, 16, probability=0.5, generator=generator()) for kinds in (KINDS, ("colour",))]
    assert torch.equal(drawn[0].colour, drawn[1].colour)


def test_the_generator_is_reached_through_every_augmentation():
    images = noise(4, 3, 16, 16).float().requires_grad_(True)
    drawn = draw_augmentation(KINDS, 4, 16, probability=1.0, generator=generator())
    drawn.pair(torch.zeros(4, 2, 16, 16), images).square().sum().backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_no_kinds_draw_nothing():
    assert draw_augmentation((), 4, 16, probability=1.0, generator=generator()) is None


def test_images_alone_go_through_what_they_go_through_beside_their_maps():
    drawn = draw_augmentation(KINDS, 4, 16, probability=1.0, generator=generator())
    images, maps = torch.rand(4, 3, 16, 16, generator=generator()), torch.zeros(4, 2, 16, 16)
    assert torch.allclose(drawn.images(images), drawn.pair(maps, images)[:, 2:], atol=1e-6)


def test_colours_change_in_what_the_plain_gan_s_discriminator_sees():
    drawn = draw_augmentation(("colour",), 4, 16, probability=1.0, generator=generator())
    images = torch.rand(4, 3, 16, 16, generator=generator())
    game = _PlainObjective(None, None, config=MaskGANConfig(), batches=None, seed=0, address=())
    seen = game._seen(MaskBatch(0, images, images, augmentation=drawn), images)
    assert torch.equal(seen, drawn.images(images))
    assert not torch.equal(seen, images)
