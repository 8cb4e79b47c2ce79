"""Promises of the up-sampling convolution's forms; the truth is torch's own interpolation and convolution."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from syncgan.networks import upsampling
from syncgan.networks.layers import UpsampleConv

FORMS = [upsampling.plain, upsampling.commuted, upsampling.commuted_for_compilers]


def operands(shape, *, channels_out=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    sizes = [shape, (channels_out, shape[1], 3, 3), (channels_out,)]
    return [torch.randn(size, generator=generator, dtype=dtype).requires_grad_() for size in sizes]


def expected(x, weight, bias):
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), weight, bias, padding=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 3, 1, 4), (1, 2, 2, 3), (2, 4, 7, 5)])
def test_every_form_is_the_same_function_up_to_the_borders(form, shape):
    x, weight, bias = operands(shape)
    assert torch.allclose(form(x, weight, bias), expected(x, weight, bias), rtol=0, atol=1e-13)
    assert torch.allclose(form(x, weight, None), expected(x, weight, None), rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_gradients(form):
    inputs = operands((2, 3, 4, 3))
    weights = torch.randn(expected(*inputs).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad(form(*inputs), inputs, weights)
    for found, truth in zip(ours, torch.autograd.grad(expected(*inputs), inputs, weights), strict=True):
        assert torch.allclose(found, truth, rtol=0, atol=1e-12)


def test_the_commuted_form_can_be_differentiated_twice():
    inputs = operands((1, 2, 3, 2), channels_out=2)
    assert torch.autograd.gradcheck(upsampling.commuted, inputs)
    assert torch.autograd.gradgradcheck(upsampling.commuted, inputs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_layer_large_enough_for_the_commuted_form_agrees_to_float32_rounding(memory_format):
    layer = UpsampleConv(64, 32).to(memory_format=memory_format)
    x = torch.randn((2, 64, 32, 24), generator=torch.Generator().manual_seed(0)).contiguous(memory_format=memory_format)
    assert x.numel() * 32 >= upsampling._WORTH_COMMUTING
    truth = expected(x.double(), layer.convolution.weight.double(), layer.convolution.bias.double())
    plain = upsampling.plain(x, layer.convolution.weight, layer.convolution.bias)
    assert not torch.equal(layer(x), plain)  # the other form indeed
    assert (layer(x) - truth).abs().max() <= 4 * (plain - truth).abs().max()


def test_the_commuted_form_keeps_bfloat16_under_autocast():
    x, weight, bias = operands((1, 4, 4, 4), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = upsampling.commuted(x, weight, bias)
    assert found.dtype is torch.bfloat16
    assert torch.allclose(found.float(), expected(x, weight, bias), atol=0.15)


KERNELS = """
import torch
from syncgan.networks import upsampling

assert upsampling.load_kernels(torch.device("cpu"))
for n, height, width, before, after in [(1, 1, 1, 2, 3), (2, 1, 4, 3, 8), (1, 2, 2, 2, 5), (2, 7, 5, 4, 3)]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(n, before, height, width), (after, before, 3, 3), (after,)]
    inputs = [torch.randn(size, generator=generator).requires_grad_() for size in sizes]
    found, truth = (form(*inputs) for form in (upsampling.commuted_by_kernels, upsampling.plain))
    assert found.is_contiguous(memory_format=torch.channels_last) and torch.allclose(found, truth, atol=1e-5)
    given = torch.randn(truth.shape, generator=generator)
    gradients = [torch.autograd.grad(y, inputs, given, create_graph=True) for y in (found, truth)]
    for ours, theirs in zip(*gradients):
        assert torch.allclose(ours, theirs, atol=1e-4)
    if n == 2:
        compiled = torch.compile(upsampling.commuted_by_kernels, backend="aot_eager", fullgraph=True)(*inputs)
        ours, theirs = (torch.autograd.grad(y, inputs, given) for y in (compiled, upsampling.plain(*inputs)))
        assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(ours, theirs))
    again = [torch.autograd.grad(of_x.square().sum(), inputs[1])[0] for of_x, *_ in gradients]
    assert torch.allclose(*again, rtol=1e-4, atol=1e-3)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton, which torch brings on Linux")
def test_the_kernels_for_gpus_are_the_same_function_with_the_same_gradients():
    interpreted = {**os.environ, "TRITON_INTERPRET": "1"}  # computes on the CPU what a GPU would
    done = subprocess.run([sys.executable, "-c", KERNELS], env=interpreted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton, which torch brings on Linux")
def test_where_the_kernels_cannot_be_used_a_warning_says_so_once(monkeypatch):
    monkeypatch.setattr(upsampling, "_kernels", upsampling._Kernels())
    with pytest.warns(UserWarning, match="cannot be used .*slower"):
        assert not upsampling.load_kernels(torch.device("cpu"))  # Triton has no compiler for it
    assert not upsampling.load_kernels(torch.device("cpu"))
