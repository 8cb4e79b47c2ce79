import pytest
import torch
from torch import nn
from torch.nn import functional as F

from syncgan.config import ImageGANConfig, MaskGANConfig, SynCGANConfig
from syncgan.networks.image_generators import unet as image_unet
from syncgan.networks.layers import ConditionalNorm, InstanceNorm, NoiseInjection, UpsampleConv, init_weights
from syncgan.networks.mask_generators import decoder
from syncgan.networks.mask_generators import unet as mask_unet
from syncgan.networks.patchgan import PatchGAN
from syncgan.networks.unet import UNet, halvings


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


# --- layers ----------------------------------------------------------------------------------------------------------


def test_upsample_conv_is_bilinear_interpolation_then_a_3_by_3_convolution():
    layer = UpsampleConv(3, 5)
    x = torch.randn(2, 3, 6, 8)
    enlarged = F.interpolate(x, size=(12, 16), mode="bilinear", align_corners=False)
    assert torch.equal(layer(x), F.conv2d(enlarged, layer.convolution.weight, layer.convolution.bias, padding=1))
    assert layer.convolution.kernel_size == (3, 3)


def test_upsample_conv_leaves_no_checkerboard_where_a_transposed_convolution_does():
    def unevenness(layer):
        plane = layer(torch.ones(1, 1, 16, 16))[0, 0, 8:-8, 8:-8]
        return (plane.max() - plane.min()).item()

    for _ in range(5):
        assert unevenness(UpsampleConv(1, 1)) < 1e-5
        assert unevenness(nn.ConvTranspose2d(1, 1, 3, stride=2)) > 1e-2


def test_upsample_conv_interpolates_in_the_precision_of_its_input_under_autocast():
    layer = UpsampleConv(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(1, 2, 4, 4)).shape == (1, 2, 8, 8)
        assert layer(torch.randn(1, 2, 4, 4).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_agrees_with_torchs(memory_format):
    x = (torch.randn(3, 4, 7, 9) * 5 + 2).contiguous(memory_format=memory_format)
    assert torch.allclose(InstanceNorm()(x), F.instance_norm(x), atol=1e-5)
    assert InstanceNorm()(x).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(("kind", "reference"), [("batch", F.batch_norm), ("instance", F.instance_norm)])
def test_unconditional_norm_starts_as_plain_normalisation(kind, reference):
    x = torch.randn(4, 3, 8, 8) * 3 + 1
    expected = reference(x, None, None, training=True) if kind == "batch" else reference(x)
    assert torch.allclose(ConditionalNorm(3, kind=kind)(x), expected, atol=1e-4)


def test_conditional_norm_scales_and_shifts_as_the_condition_says():
    norm = ConditionalNorm(2, kind="instance", condition_dim=1)
    with torch.no_grad():
        norm.film.weight.copy_(torch.tensor([[1.0], [0.0], [0.0], [3.0]]))  # scale 0, scale 1, shift 0, shift 1
        norm.film.bias.zero_()
    x = torch.randn(2, 2, 16, 16)
    plain = F.instance_norm(x)
    out = norm(x, torch.tensor([[0.0], [2.0]]))
    assert torch.allclose(out[0], plain[0], atol=1e-4)
    assert torch.allclose(out[1, 0], 3 * plain[1, 0], atol=1e-4)
    assert torch.allclose(out[1, 1], plain[1, 1] + 6, atol=1e-4)


def test_injected_noise_starts_silent_and_keeps_its_variance_at_every_scale():
    layer, noise = NoiseInjection(2), torch.randn(8, 1, 64, 64)
    for side in (64, 16):
        x = torch.randn(8, 2, side, side)
        assert torch.equal(layer(x, noise), x)
    nn.init.ones_(layer.base)
    for side in (64, 32, 16):
        assert layer(torch.zeros(8, 2, side, side), noise).var().item() == pytest.approx(1, rel=0.1)


def test_injected_noise_is_as_strong_as_the_features_say():
    layer, noise = NoiseInjection(1), torch.randn(8, 1, 32, 32)
    nn.init.ones_(layer.slope)
    x = torch.zeros(8, 1, 32, 32)
    x[..., 16:] = 3
    out = layer(x, noise)
    assert torch.equal(out[..., :16], x[..., :16])
    assert out[..., 16:].std().item() == pytest.approx(3, rel=0.1)


def test_weights_start_as_in_pix2pix():
    layer = nn.Conv2d(64, 64, 4)
    init_weights(layer)
    assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not layer.bias.any()


# --- U-Net -----------------------------------------------------------------------------------------------------------


def paper_unet():
    config = SynCGANConfig.preset("paper").image_gan.model_copy(update={"width": 8})
    return image_unet(config=config, levels=2, image_size=256, classes=2, style_dim=0)


ALL_GENERATORS = {
    "image, default": lambda: image_unet(
        config=ImageGANConfig(width=8), levels=3, image_size=64, classes=2, style_dim=9
    ),
    "image, paper": paper_unet,
    "mask decoder": lambda: decoder(config=MaskGANConfig(width=8), levels=3, resolution=64, classes=0),
    "mask unet": lambda: mask_unet(config=MaskGANConfig(width=8), levels=2, resolution=64, classes=0),
}


@pytest.mark.parametrize("name", ALL_GENERATORS)
def test_no_generator_has_a_transposed_convolution(name):
    kinds = {type(module) for module in ALL_GENERATORS[name]().modules()}
    assert not kinds & {nn.ConvTranspose2d, nn.PixelShuffle, nn.Upsample}
    assert UpsampleConv in kinds


def test_the_papers_unet_goes_down_to_one_pixel_with_pix2pixs_widths():
    network = paper_unet().unet
    assert len(network.down) == 8
    assert [layer.out_channels for layer in network.down] == [8, 16, 32, 64, 64, 64, 64, 64]
    assert all(layer.kernel_size == (4, 4) and layer.stride == (2, 2) for layer in network.down)


def test_the_papers_dropout_is_in_the_first_decoder_scales_and_in_training_only():
    # pix2pix: CD512-CD512-CD512 are the first three decoder layers after the bottleneck.
    network = UNet(1, 1, width=4, downsamplings=8, dropout=0.5)
    assert len(network.dropout) == 3
    x = torch.randn(2, 1, 256, 256)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(("side", "expected"), [(256, 8), (128, 7), (96, 5), (48, 4), (1, 0), (80, 4)])
def test_halvings_counts_the_factors_of_two(side, expected):
    assert halvings(side) == expected


@pytest.mark.parametrize("downsamplings", [2, 3, 5])
@pytest.mark.parametrize("normalisation", ["batch", "instance"])
def test_unet_keeps_the_size_and_every_weight_gets_a_gradient(downsamplings, normalisation):
    network = UNet(2, 3, width=4, downsamplings=downsamplings, normalisation=normalisation, condition_dim=5)
    out = network(torch.randn(2, 2, 64, 96), torch.randn(2, 5))
    assert out.shape == (2, 3, 64, 96)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_head_lets_detail_of_one_pixel_through():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8, 8] = 1

    def sharpest_edge(network):
        out = network(x)[0, 0] - network(torch.zeros_like(x))[0, 0]
        return (out.diff(dim=0).abs().max() / out.abs().max()).item()

    plain, headed = UNet(1, 1, width=4, downsamplings=2), UNet(1, 1, width=4, downsamplings=2, head_width=4)
    with torch.no_grad():
        for network in (plain, headed):
            for parameter in network.parameters():
                parameter.fill_(0.01)
            network.train(False)
        headed.head.weight[:, -1].fill_(0)
        headed.head.weight[:, -1, 1, 1] = 1
    assert sharpest_edge(headed) > 0.9
    assert sharpest_edge(plain) < 0.6


def test_the_bottleneck_reaches_every_pixel_and_the_outer_skip_stays_local():
    network = UNet(1, 1, width=4, downsamplings=6, normalisation="batch").eval()
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    network(x)[0, 0, 32, 32].backward()
    assert bool((x.grad != 0).all())


# --- PatchGAN --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_logit_sees_as_many_pixels_as_pix2pix_says(layers, field):
    network = PatchGAN(1, width=4, layers=layers, normalisation="none")
    x = torch.randn(1, 1, 256, 256, requires_grad=True)
    logits = network(x)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    rows, columns = (torch.nonzero(x.grad[0, 0].abs().sum(dim=axis)).flatten() for axis in (1, 0))
    assert int(rows[-1] - rows[0]) + 1 == int(columns[-1] - columns[0]) + 1 == field


def test_the_papers_patchgan_gives_30_by_30_logits_on_256_pixels():
    assert PatchGAN(5, width=4, layers=3)(torch.randn(2, 5, 256, 256)).shape == (2, 1, 30, 30)


def test_the_smallest_images_still_get_a_logit():
    assert PatchGAN(2, width=4, layers=3)(torch.randn(2, 2, 32, 32)).shape == (2, 1, 2, 2)


def test_the_projection_tells_classes_apart_and_is_absent_without_them():
    x = torch.randn(1, 2, 64, 64)
    told = PatchGAN(2, width=4, layers=3, normalisation="instance", classes=3)
    assert not torch.equal(told(x, torch.tensor([0])), told(x, torch.tensor([1])))
    assert PatchGAN(2, width=4, layers=3).embedding is None


def test_features_are_one_tensor_a_layer_and_the_logits_those_of_forward():
    network = PatchGAN(2, width=4, layers=3, normalisation="instance")
    x = torch.randn(1, 2, 64, 64)
    features, logits = network.features_and_logits(x)
    assert [tuple(feature.shape[1:]) for feature in features] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 7, 7)]
    assert torch.equal(logits, network(x))


# --- generators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", [decoder, mask_unet])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("levels", [2, 4])
def test_mask_generators_turn_noise_into_level_logits(factory, classes, levels):
    network = factory(config=MaskGANConfig(width=4), levels=levels, resolution=32, classes=classes)
    told = {"label": torch.tensor([0, 2])} if classes else {}
    assert network(torch.randn(2, *network.noise_shape), **told).shape == (2, levels, 32, 32)


@pytest.mark.parametrize("factory", [decoder, mask_unet])
def test_a_mask_generator_that_is_told_the_class_listens(factory):
    network = factory(config=MaskGANConfig(width=4), levels=2, resolution=32, classes=3).eval()
    noise = torch.randn(1, *network.noise_shape)
    assert not torch.equal(network(noise, label=torch.tensor([0])), network(noise, label=torch.tensor([1])))


def renderer(**settings):
    arguments = {"levels": 3, "image_size": 32, "classes": 2, "style_dim": 9}
    config = ImageGANConfig(width=4, downsamplings=3, **{k: v for k, v in settings.items() if k not in arguments})
    return image_unet(config=config, **(arguments | {k: v for k, v in settings.items() if k in arguments})).eval()


def inputs(network, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    given = {"label": torch.tensor([0])}
    if network.noise_shape:
        given["noise"] = torch.randn((1, *network.noise_shape), generator=generator)
    if network.style_dim:
        given["style"] = torch.randn((1, network.style_dim), generator=generator)
    if network.from_colours:
        given["colours"] = torch.rand((1, 3, 32, 32), generator=generator)
    maps = torch.randint(3, (1, 32, 32), generator=torch.Generator().manual_seed(9))
    return F.one_hot(maps, 3).permute(0, 3, 1, 2).float(), given


@pytest.mark.parametrize("noise", ["input", "scales"])
@pytest.mark.parametrize("change", ["label", "noise", "style", "colours"])
def test_the_renderer_listens_to_everything_it_is_told(change, noise):
    network = renderer(noise=noise)
    for module in network.modules():
        if isinstance(module, NoiseInjection):
            nn.init.ones_(module.base)  # training lets the noise in
    onehot, given = inputs(network)
    _, other = inputs(network, seed=1)
    changed = {**given, change: torch.tensor([1]) if change == "label" else other[change]}
    assert not torch.equal(network(onehot, **given), network(onehot, **changed))


def test_a_renderer_from_colours_renders_changes_to_them():
    network = renderer()
    onehot, given = inputs(network)
    for parameter in network.unet.head.parameters():
        nn.init.zeros_(parameter)  # no change
    assert torch.allclose(network(onehot, **given).tanh(), given["colours"].clamp(-0.97, 0.97), atol=1e-5)


def test_the_papers_renderer_hears_of_the_mask_alone():
    network = renderer(noise="none", class_conditional=False, style_dim=0)
    onehot, _ = inputs(network)
    assert network.noise_shape is None
    assert network.style_dim == 0
    assert network(onehot).shape == (1, 3, 32, 32)
    assert torch.equal(network(onehot, label=torch.tensor([0])), network(onehot, label=torch.tensor([1])))


@pytest.mark.parametrize("name", ["paper", "default", "tiny"])
def test_every_preset_builds_networks_of_its_sizes(name):
    config = SynCGANConfig.preset(name)
    small = {"width": 4}
    mask_factory = mask_unet if config.mask_gan.generator == "unet" else decoder
    masks = mask_factory(
        config=config.mask_gan.model_copy(update=small),
        levels=config.levels,
        resolution=config.mask_resolution,
        classes=0,
    ).eval()
    size = config.mask_resolution
    assert masks(torch.randn(2, *masks.noise_shape)).shape == (2, config.levels, size, size)
