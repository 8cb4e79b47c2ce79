"""The utility score: near to held-out images and no copies; and the choice of a model by it."""

import pytest
import torch

from syncgan import MaskToImageCGAN, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.errors import ConfigError, DataError
from syncgan.evaluation.features import TextureFeatures
from syncgan.evaluation.metrics import kernel_distance
from syncgan.evaluation.utility import UtilityScore, copy_rate


def smears(count, seed=0, size=32):
    phantom = Phantom(count, image_size=size, seed=seed)
    images = torch.stack([torch.from_numpy(phantom.image(index).copy()) for index in range(len(phantom))])
    masks = torch.stack([torch.from_numpy(phantom.mask(index).copy()) for index in range(len(phantom))])
    return images.permute(0, 3, 1, 2).contiguous(), masks


def test_copies_are_found_in_any_orientation_and_new_images_are_not():
    training, held_out, new = (smears(24, seed)[0] for seed in range(3))
    copies = torch.cat([training[:12].rot90(1, (2, 3)), training[12:24].flip(3)])
    brighter = (copies.float() * 0.98 + 2).round().byte()
    assert copy_rate(brighter, training, held_out) > 0.9
    assert copy_rate(new, training, held_out) < 0.25


def test_the_score_is_distance_plus_weighted_copies():
    training, held_out, new = (smears(12, seed)[0] for seed in range(3))
    features = TextureFeatures()
    distance = kernel_distance(features(new), features(held_out))
    for weight in (0.0, 2.0):
        found = UtilityScore(features, copy_weight=weight)(new, held_out, training)
        assert found == pytest.approx(distance + weight * copy_rate(new, training, held_out))


def config(selection):
    return SynCGANConfig.preset("tiny").updated(
        ["image_gan.steps=6", "image_gan.width=4", "training.score_every=2", f"image_gan.selection={selection}"]
    )


def test_the_model_with_the_best_score_is_kept():
    images, masks = smears(8)
    values = iter([3.0, 1.0, 2.0])
    seen = []

    def score(rendered, real, training):
        seen.append((rendered.dtype, len(rendered), len(real), len(training)))
        return next(values)

    model = MaskToImageCGAN(config("utility"), device="cpu").fit(images, masks, score=score)
    assert model.best_step_ == 4
    assert seen == [(torch.uint8, 4, 4, 12)] * 3


def test_without_a_score_utility_says_how_to_give_one():
    images, masks = smears(4)
    with pytest.raises(ConfigError, match=r"score=syncgan\.evaluation\.utility\.UtilityScore"):
        MaskToImageCGAN(config("utility"), device="cpu").fit(images, masks)


def test_the_shipped_score_chooses_a_model():
    images, masks = smears(8)
    model = MaskToImageCGAN(config("utility"), device="cpu").fit(images, masks, score=UtilityScore(TextureFeatures()))
    assert model.best_step_ in (2, 4, 6)


def test_a_score_of_sets_needs_two_held_out_pairs_and_says_so_before_training():
    images, masks = smears(4)
    options = {"validation": (images[:1], masks[:1]), "score": lambda *_: 0.0, "observe": pytest.fail}
    with pytest.raises(DataError, match=r"at least 2 held-out pairs.*got 1; give more pairs"):
        MaskToImageCGAN(config("utility"), device="cpu").fit(images, masks, **options)


def test_a_training_whose_score_was_never_finite_says_so():
    images, masks = smears(4)
    model = MaskToImageCGAN(config("utility"), device="cpu").fit(images, masks, score=lambda *_: float("nan"))
    assert model.stop_reason_ == "all steps done, but no utility score was finite"
    assert model.best_step_ is None


def test_an_augmenter_misses_the_score_before_it_trains_anything(tmp_path):
    with pytest.raises(ConfigError, match=r"score=syncgan\.evaluation\.utility\.UtilityScore"):
        SynCGANAugmenter(config("utility"), device="cpu").fit(Phantom(4, image_size=32), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
