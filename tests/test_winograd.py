"""Promises of the 4 x 4 convolutions by minimal filtering; the truth is torch's own convolution."""

import pytest
import torch
from torch.nn import functional as F

from syncgan.networks.winograd import Conv4x4, minimal_convolution


def operands(shape, *, channels_out=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    sizes = [shape, (channels_out, shape[1], 4, 4), (channels_out,)]
    return [torch.randn(size, generator=generator, dtype=dtype).requires_grad_() for size in sizes]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (2, 3, 4, 6), (1, 2, 9, 7), (2, 2, 13, 16)])
def test_values_and_gradients_are_those_of_a_convolution(shape, stride):
    inputs = operands(shape)
    truth = F.conv2d(*inputs, stride=stride, padding=1)
    found = minimal_convolution(*inputs, stride=stride)
    assert torch.allclose(found, truth, rtol=0, atol=1e-12)
    weights = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = (torch.autograd.grad(y, inputs, weights) for y in (found, truth))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("stride", [1, 2])
def test_it_can_be_differentiated_twice(stride):
    # Gradient penalties of the discriminator do.
    inputs = operands((1, 2, 4, 4), channels_out=2)
    assert torch.autograd.gradgradcheck(lambda *given: minimal_convolution(*given, stride=stride), inputs)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_that_is_large_enough_agrees_to_float32_rounding(stride):
    layer = Conv4x4(64, 64, stride=stride).to(memory_format=torch.channels_last)
    x = torch.randn((3, 64, 64, 48), generator=torch.Generator().manual_seed(0))
    truth = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), stride=stride, padding=1)
    found = layer(x)
    assert not torch.equal(found, F.conv2d(x, layer.weight, layer.bias, stride=stride, padding=1))  # the other form
    assert (found - truth).abs().max() <= 2e-5 * truth.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
