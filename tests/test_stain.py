"""Stain codes: measured from pixels, drawn from the class's own."""

import pytest
import torch
from skimage.color import rgb_from_hed

from syncgan.data.stain import StainPrior, stain_codes


@pytest.fixture
def prior():
    """Two levels of which the lower is alike in all images, and the other tells the classes apart."""
    codes = torch.zeros((5, 6))
    codes[:, 3] = torch.tensor([0.0, 10.0, 1.0, 11.0, 0.5])
    return StainPrior(torch.zeros(6), torch.ones(6), codes, torch.tensor([0, 1, 0, 1, 0]))


def test_a_code_is_the_mean_colour_of_each_level():
    image = torch.zeros((1, 3, 2, 2), dtype=torch.uint8)
    image[0, :, 0] = torch.tensor([255, 0, 255])[:, None]
    maps = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8)
    assert torch.allclose(stain_codes(image, maps, 2), torch.tensor([[-1.0, -1, -1, 1, -1, 1]]))


def test_codes_are_drawn_from_the_class_of_each_item(prior):
    classes = torch.tensor([0, 1] * 50)
    drawn = prior.sample(list(range(100)), classes)[:, 3]
    # A quarter of the largest difference within a class at most beyond its members.
    assert (drawn[classes == 0] <= 1.25).all()
    assert (drawn[classes == 1] >= 9.75).all()
    assert len(drawn.unique()) > 50


def test_without_classes_all_codes_serve(prior):
    drawn = prior.sample(list(range(60)), None)[:, 3]
    assert (drawn < 5).any()
    assert (drawn > 5).any()


def test_the_bare_colour_tells_no_class_and_other_levels_follow_it_as_they_do_within_classes():
    # Class 1 is of darker slides; a nucleus is half as much darker there, and darker by 2 for being of class 1.
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(40) % 2
    light = torch.randn(40, generator=generator) - 4 * classes
    codes = torch.zeros((40, 6))
    codes[:, 0], codes[:, 3] = light, light / 2 - 2 * classes
    prior = StainPrior(torch.zeros(6), torch.ones(6), codes, classes)
    label = torch.arange(2000) % 2
    drawn = prior.sample(list(range(2000)), label)
    bare, nucleus = drawn[:, 0], drawn[:, 3]
    assert abs(bare[label == 0].mean() - bare[label == 1].mean()) < 0.2  # 4 apart in the training images
    assert nucleus[label == 0].mean() - nucleus[label == 1].mean() == pytest.approx(2, abs=0.4)  # 4 there
    assert torch.corrcoef(drawn[:, [0, 3]].T[:, label == 0])[0, 1] > 0.9


def _drawn(glass, variety):
    """Return colours drawn from images with these colours of glass, whose second level is haematoxylin, one amount."""
    glass = torch.as_tensor(glass, dtype=torch.float32)
    dyed = glass * torch.exp(-torch.from_numpy(rgb_from_hed[0]).float())
    colours = 2 * torch.cat([glass, dyed], dim=1) - 1
    centre, scale = colours.mean(dim=0), colours.std(dim=0).clamp_min(1e-3)
    prior = StainPrior(
        centre, scale, (colours - centre) / scale, torch.zeros(len(glass), dtype=torch.int64), variety=variety
    )
    return (prior.sample(list(range(300)), None) * scale + centre + 1).reshape(-1, 2, 3) / 2


@pytest.mark.parametrize("spread", [0.15, 0.02])
def test_amounts_of_dye_vary_as_far_as_bare_glass_does(spread):
    glass = 0.7 * torch.exp(spread * torch.linspace(-1.5, 1.5, 60))[:, None].repeat(1, 3)
    usual, varied = (_drawn(glass, variety) for variety in (0.0, 1.0))
    assert torch.allclose(varied[:, 0], usual[:, 0], atol=1e-5)  # glass has no dye
    amounts = torch.log(varied[:, 0] / varied[:, 1]) / torch.log(usual[:, 0] / usual[:, 1])
    assert amounts.log().std(dim=0).mean() == pytest.approx(spread * 0.87, rel=0.2)
    assert (amounts - amounts.mean(dim=1, keepdim=True)).abs().max() < 0.05  # more or less of this dye, no other colour


def test_images_of_one_slide_keep_their_stain():
    glass = torch.full((20, 3), 0.9)
    assert torch.allclose(_drawn(glass, 1.0), _drawn(glass, 0.0), atol=1e-4)


def test_variety_ends_at_a_fifth():
    glass = torch.linspace(0.35, 0.95, 40)[:, None].repeat(1, 3)
    usual, varied = (_drawn(glass, variety) for variety in (0.0, 1.0))
    amounts = torch.log(varied[:, 0] / varied[:, 1]) / torch.log(usual[:, 0] / usual[:, 1])
    assert amounts.log().std(dim=0).mean() == pytest.approx(0.2, rel=0.2)


def test_a_code_depends_on_its_own_seed_alone(prior):
    together = prior.sample([5, 6, 7], torch.tensor([0, 1, 0]))
    assert torch.equal(together[1:2], prior.sample([6], torch.tensor([1])))


def test_a_map_is_painted_in_the_colours_of_its_own_image():
    image = torch.zeros((1, 3, 2, 2), dtype=torch.uint8)
    image[0, :, 0] = torch.tensor([255, 0, 255])[:, None]
    other = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    maps = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8)
    prior = StainPrior.fit(torch.cat([image, other]), maps.repeat(2, 1, 1), torch.tensor([0, 0]), 2)
    onehot = torch.nn.functional.one_hot(maps.long(), 2).permute(0, 3, 1, 2).float()
    painted = prior.paint(prior.encode(image, maps, 2), onehot)
    assert torch.allclose(painted, image.float() / 127.5 - 1, atol=1e-5)


def test_a_level_that_an_image_lacks_has_the_colour_of_the_most_similar_stain():
    images = torch.zeros((4, 3, 2, 2), dtype=torch.uint8)
    maps = torch.tensor([[0, 0], [1, 1]], dtype=torch.uint8).repeat(4, 1, 1)
    for index, (ground, nucleus) in enumerate([(200, 20), (100, 90), (110, 80), (204, 255)]):
        images[index, :, 0], images[index, :, 1] = ground, nucleus
    maps[3] = 0  # no nucleus, and both rows are ground
    images[3] = 204
    prior = StainPrior.fit(images, maps, torch.zeros(4, dtype=torch.int64), 2)
    assert torch.equal(prior.codes[3, 3:], prior.codes[0, 3:])
    assert torch.equal(prior.encode(images[3:], maps[3:], 2)[0, 3:], prior.codes[0, 3:])
    again = StainPrior(**prior.tensors())
    assert torch.equal(again.encode(images[3:], maps[3:], 2), prior.encode(images[3:], maps[3:], 2))
