"""Stain codes: measured from pixels, drawn from the class's own."""

import pytest
import torch
from skimage.color import hed2rgb, rgb2hed

from syncgan.data.stain import StainPrior, stain_codes, with_other_amounts


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


def _coloured(amounts):
    """Return images (N, 3, 1, 1) in [-1, 1] with (N, 3) amounts of dye, as scikit-image colours them."""
    return torch.from_numpy(2 * hed2rgb(amounts.numpy()[:, None]) - 1).float().transpose(1, 2)[..., None]


def test_amounts_of_dye_are_multiplied_as_scikit_image_has_them():
    generator = torch.Generator().manual_seed(0)
    amounts = 0.02 + 0.08 * torch.rand((50, 3), generator=generator)
    factors = 0.7 + 0.6 * torch.rand((50, 3), generator=generator)
    changed = with_other_amounts(_coloured(amounts), factors)
    assert torch.allclose(changed, _coloured(amounts * factors), atol=1e-5)


def test_white_and_black_stay_colours():
    ends = torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 4, 4)
    changed = with_other_amounts(ends, torch.tensor([[2.0, 0.5, 1.0], [2.0, 0.5, 1.0]]))
    assert torch.isfinite(changed).all()
    assert changed.abs().max() <= 1
    assert torch.equal(changed[1], ends[1])  # no dye at all


@pytest.mark.parametrize("variety", [0.5, 1.0])
def test_amounts_vary_by_a_fifth_times_the_variety_each_dye_and_image_by_itself(prior, variety):
    prior.variety = variety
    amounts = torch.full((2000, 3), 0.05)
    varied = prior.varied(_coloured(amounts), range(2000))
    found = torch.from_numpy(rgb2hed(((varied[..., 0].transpose(1, 2) + 1) / 2).numpy()))[:, 0] / 0.05
    assert torch.allclose(found.log().std(dim=0), torch.full((3,), 0.2 * variety).double(), rtol=0.1)
    assert found.log().mean(dim=0).abs().max() < 0.03
    assert (torch.corrcoef(found.T) - torch.eye(3)).abs().max() < 0.1


def test_without_variety_images_stay_as_they_were_rendered(prior):
    images = torch.rand((2, 3, 4, 4))
    assert prior.varied(images, [1, 2]) is images


def test_the_change_of_an_image_depends_on_its_own_seed_alone(prior):
    prior.variety = 1.0
    images = torch.rand((3, 3, 4, 4))
    together = prior.varied(images, [5, 6, 7])
    assert torch.allclose(together[1:2], prior.varied(images[1:2], [6]), atol=1e-6)
    assert not torch.equal(together, images)


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
