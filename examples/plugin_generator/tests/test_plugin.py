import numpy as np
import pytest
import torch
from syncgan_layers import ResidualRenderer, TurnedMasks

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.config import ImageGANConfig
from syncgan.testing import image_generator_rules, mask_generator_rules


@pytest.mark.parametrize("rule", mask_generator_rules("turned", levels=3), ids=str)
def test_the_contract_of_a_mask_generator_is_kept(rule):
    rule()


@pytest.mark.parametrize("rule", image_generator_rules("residual", levels=3), ids=str)
def test_the_contract_of_an_image_generator_is_kept(rule):
    rule()


def test_masks_of_a_class_come_from_masks_of_that_class():
    masks = np.zeros((4, 20, 20), np.uint8)
    masks[2:] = 1
    prior = TurnedMasks()
    prior.fit(masks, labels=np.array([0, 0, 1, 1]))
    assert prior.sample(5, label=0, seed=3).max() == 0
    assert prior.sample(5, label=1, seed=3).min() == 1


def test_a_mask_keeps_its_levels_and_most_of_its_area():
    masks = np.zeros((1, 40, 40), np.uint8)
    masks[0, 10:30, 14:26] = 2
    prior = TurnedMasks()
    prior.fit(masks)
    drawn = prior.sample(16, seed=1)
    assert set(np.unique(drawn)) == {0, 2}
    assert all((mask > 0).sum() == (masks > 0).sum() for mask in drawn)  # it lies far enough from the border
    assert len({mask.tobytes() for mask in drawn}) > 8


def test_the_renderer_hears_class_and_noise():
    torch.manual_seed(0)
    network = ResidualRenderer(config=ImageGANConfig(width=4), levels=2, image_size=16, classes=2)
    onehot, noise = torch.zeros(1, 2, 16, 16), torch.randn(1, 1, 16, 16)
    plain = network(onehot, noise, torch.tensor([0]))
    assert plain.shape == (1, 3, 16, 16)
    assert not torch.equal(plain, network(onehot, noise, torch.tensor([1])))
    assert not torch.equal(plain, network(onehot, -noise, torch.tensor([0])))


def test_both_work_together_in_an_augmenter():
    settings = ["mask_gan.generator=turned", "image_gan.generator=residual", "image_gan.steps=3", "image_gan.width=4"]
    config = SynCGANConfig.preset("tiny").updated(settings)
    samples = SynCGANAugmenter(config, device="cpu", seed=0).fit(Phantom(4, image_size=32)).sample("benign", 2)
    assert samples.images.shape == (2, 3, 32, 32)
