"""Promises of batch normalisation taken into convolutions; the truth is the network as it was trained, in eval mode."""

import copy

import pytest
import torch
from torch import nn

from syncgan import MaskGAN, MaskToImageCGAN, Phantom, SynCGANConfig, rng
from syncgan.networks import folding, image_generators, mask_generators
from syncgan.networks.folding import FoldedCopy, folded
from syncgan.networks.layers import UpsampleConv
from syncgan.networks.winograd import Conv4x4

SIZE = 16


def config(*settings):
    base = ["image_size=16", "mask_gan.resolution=16", "mask_gan.width=8", "image_gan.width=8"]
    small = ["image_gan.downsamplings=3", "image_gan.normalisation=batch", "image_gan.discriminator_width=8"]
    short = ["image_gan.steps=2", "mask_gan.steps=2", "mask_gan.warm_start_steps=0", "mask_gan.discriminator_width=8"]
    return SynCGANConfig.preset("tiny").updated([*base, *small, *short, *settings])


def trained(network):
    """Give `network` weights and running statistics unlike the initial ones."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.2)
    return network.eval()


def renderer(*settings, classes=0, style_dim=0):
    gan = config(*settings).image_gan
    made = image_generators.unet(config=gan, levels=2, image_size=SIZE, classes=classes, style_dim=style_dim)
    inputs = {"onehot": torch.rand(3, 2, SIZE, SIZE)}
    if made.noise_shape:
        inputs["noise"] = torch.randn(3, *made.noise_shape)
    if classes:
        inputs["label"] = torch.tensor([0, 1, 1])
    if style_dim:
        inputs["style"] = torch.randn(3, style_dim)
    return made, inputs


def mask_generator(name, classes):
    factory = getattr(mask_generators, name)
    made = factory(config=config().mask_gan, levels=2, resolution=SIZE, classes=classes)
    label = {"label": torch.tensor([0, 1, 1])} if classes else {}
    return made, {"noise": torch.randn(3, *made.noise_shape), **label}


CASES = {
    "decoder": lambda: mask_generator("decoder", 0),
    "decoder of classes": lambda: mask_generator("decoder", 2),
    "noise U-Net": lambda: mask_generator("unet", 0),
    "noise U-Net of classes": lambda: mask_generator("unet", 2),
    "the paper's renderer": lambda: renderer("image_gan.noise=none", "image_gan.head_width=0"),
    "renderer with noise and head": renderer,
    "renderer of classes and stains": lambda: renderer(classes=2, style_dim=6),
}


@pytest.mark.parametrize("case", CASES)
def test_every_built_in_network_with_batch_normalisation_gives_the_same_up_to_rounding(case):
    network, inputs = rng.build(CASES[case], 0)
    trained(network)
    with torch.inference_mode():
        expected, found = network(**inputs), folded(network)(**inputs)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    norms = [module for module in folded(network).modules() if isinstance(module, nn.BatchNorm2d)]
    assert not norms


def test_the_network_itself_stays_as_it_was():
    network, _ = rng.build(CASES["the paper's renderer"], 0)
    trained(network).train()
    before = copy.deepcopy(network.state_dict())
    folded(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_without_batch_normalisation_is_not_copied():
    network, _ = renderer("image_gan.normalisation=instance")
    assert folded(network) is network


class OneLayerTwice(nn.Module):
    """A network that could not be folded layer by layer."""

    noise_shape = (2, SIZE, SIZE)

    def __init__(self):
        super().__init__()
        self.layer, self.norm = Conv4x4(2, 2, stride=1), nn.BatchNorm2d(2)
        self.up = UpsampleConv(2, 2)

    def forward(self, noise):
        return self.up(self.layer(self.norm(self.layer(noise))))[..., :SIZE, :SIZE]


def test_networks_of_other_authors_are_left_alone():
    network = OneLayerTwice()
    assert folded(network) is network


def test_the_copy_is_made_once_and_again_after_any_change_of_weights_or_statistics():
    network, inputs = rng.build(CASES["decoder"], 0)
    trained(network)
    copies = FoldedCopy()
    first = copies.of(network)
    assert copies.of(network) is first
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
    network(**inputs).sum().backward()
    optimiser.step()
    second = copies.of(network)
    network.train()(**inputs)
    third = copies.of(network)
    network.zero_grad(set_to_none=True)
    assert copies.of(network) is copies.of(network)
    network.load_state_dict(copy.deepcopy(network.state_dict()))
    made = [first, second, third, copies.of(network)]
    assert len(set(map(id, made))) == 4


def test_a_network_that_was_loaded_in_inference_mode_can_sample():
    with torch.inference_mode():
        network, inputs = rng.build(CASES["decoder"], 0)
        assert torch.isfinite(FoldedCopy().of(network.eval())(**inputs)).all()


def pairs():
    phantom = Phantom(4, image_size=SIZE)
    images = torch.stack([torch.from_numpy(phantom.image(index)).permute(2, 0, 1) for index in range(8)])
    return images, torch.stack([torch.from_numpy(phantom.mask(index)) for index in range(8)])


def test_samples_are_those_of_the_trained_renderer_and_leave_its_weights_alone(monkeypatch):
    images, masks = pairs()
    model = MaskToImageCGAN(config(), device="cpu").fit(images, masks)
    before = copy.deepcopy(model.state())
    rendered = model.generate(masks[:3])
    assert all(
        torch.equal(value, before[0]["generator"][name]) for name, value in model.state()[0]["generator"].items()
    )
    monkeypatch.setattr(folding, "folded", lambda network: network)
    plain = MaskToImageCGAN.from_state(*before, device="cpu").generate(masks[:3])
    assert (rendered.int() - plain.int()).abs().max() <= 1
    rendered += 1  # no inference tensor, which could not be changed


def test_training_is_the_same_whether_or_not_samples_were_drawn_between():
    _, masks = pairs()
    first = MaskGAN(config(), device="cpu").fit(masks)
    again = MaskGAN(config(), device="cpu").fit(masks)
    again.sample(2)
    started = [MaskGAN(config(), device="cpu").fit(masks, start=model) for model in (first, again)]
    one, other = (model.state()[0]["generator"] for model in started)
    assert all(torch.equal(one[name], other[name]) for name in one)
