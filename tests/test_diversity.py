"""Variety within one mask: 0 when noise is ignored, 1 when renderings differ as real images do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from syncgan.evaluation.diversity import diversity_within_masks, relative_diversity
from syncgan.evaluation.features import TextureFeatures


def points(count, seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(count, 5))


def test_equal_renderings_have_none_and_real_ones_have_all():
    real = points(300, 0)
    assert relative_diversity([real[:1].repeat(4, axis=0)] * 3, real) == 0
    assert relative_diversity([points(40, seed) for seed in range(1, 6)], real) == pytest.approx(1, abs=0.1)
    assert relative_diversity([points(40, 1, scale=0.5)], real) == pytest.approx(0.5, abs=0.1)


def test_real_images_that_do_not_differ_give_no_number():
    assert np.isnan(relative_diversity([points(3, 1)], np.ones((4, 5))))


class Renderer:
    """Renders noise of a given strength around a gray that the stain decides, whatever the map."""

    label_values_ = (3, 5)

    def __init__(self, strength, stain):
        self.strength, self.stain = strength, stain
        self.asked = []

    def render(self, maps, classes, seeds, *, stain_seeds=None):
        self.asked.append((maps, classes, seeds))
        images = [self.image(seed, stain) for seed, stain in zip(seeds, stain_seeds or seeds, strict=True)]
        return torch.stack(images)

    def image(self, seed, stain_seed):
        noise = torch.rand((3, 16, 16), generator=torch.Generator().manual_seed(seed % 2**31)) - 0.5
        gray = torch.rand((), generator=torch.Generator().manual_seed(stain_seed % 2**31)) - 0.5
        return (128 + 200 * (self.strength * noise + self.stain * gray)).byte()


def augmenter(renderer, count=12):
    images = torch.stack([Renderer(1.0, 0.2).image(900 + index, 900 + index) for index in range(2 * count)])
    maps = torch.arange(2 * count, dtype=torch.uint8)[:, None, None].expand(-1, 16, 16)
    pairs = SimpleNamespace(images=images, maps=maps, labels=torch.tensor([3, 5] * count))
    known = {"classes_": ("a", "b"), "label_values_": (3, 5), "stain_classes_": None}
    return SimpleNamespace(**known, pairs_=pairs, image_gan_=renderer)


@pytest.mark.parametrize(("strength", "stain", "low", "high"), [(0.0, 0.0, 0, 0), (1.0, 0.2, 0.7, 1.3)])
def test_an_augmenter_is_measured_class_by_class(strength, stain, low, high):
    found = diversity_within_masks(augmenter(Renderer(strength, stain)), TextureFeatures())
    assert list(found) == ["a", "b"]
    for own in found.values():
        assert low <= own.features <= high
        assert low <= own.pixels <= high


def test_with_the_stain_held_fixed_only_the_noise_counts():
    found = diversity_within_masks(augmenter(Renderer(0.0, 1.0)), TextureFeatures())
    assert found["a"].features > 0.3
    assert found["a"].features_without_stain == 0


def test_renderings_are_of_training_masks_of_the_class_several_of_each():
    renderer = Renderer(1.0, 0.2)
    diversity_within_masks(augmenter(renderer), TextureFeatures(), masks=3, renderings=4)
    maps, classes, seeds = renderer.asked[-1]
    assert classes.tolist() == [1] * 12
    assert len(set(seeds)) == 12
    shown = maps[:, 0, 0].tolist()
    assert [shown.count(value) for value in sorted(set(shown))] == [4, 4, 4]
    assert all(value % 2 == 1 for value in shown)
