"""Batch normalisation taken into the convolution before it, in a copy that only samples.

In eval mode it scales and shifts each channel by what training has found, which weights and bias can do as well; a pass
over the largest tensors is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from syncgan.networks.layers import BatchNorm, ConditionalNorm, UpsampleConv
from syncgan.networks.mask_generators import LatentDecoder
from syncgan.networks.unet import UNet
from syncgan.networks.winograd import Conv4x4

__all__ = ["FoldedCopy", "folded"]


class FoldedCopy:
    """Gives the network that samples for another, made when it is first asked for and again when weights changed.

    Weights with a gradient are in training: they may have changed although they do not say so (fused optimisers do not
    count as changes in place), so while there is one, every call makes a new copy.
    """

    def __init__(self) -> None:
        self._version: tuple[tuple[int, int], ...] | None = None
        self._network: nn.Module | None = None

    def of(self, network: nn.Module) -> nn.Module:
        """Return `folded` of `network` as it is now."""
        version = tuple(_version(tensor) for tensor in (*network.parameters(), *network.buffers()))
        training = any(parameter.grad is not None for parameter in network.parameters())
        if self._network is None or training or version != self._version:
            self._version, self._network = version, folded(network)
        return self._network


@torch.no_grad()
def folded(network: nn.Module) -> nn.Module:
    """Return a network that gives, up to rounding, what `network` gives in eval mode.

    A copy in which the built-in layers have no batch normalisation left, or `network` itself where there is nothing to
    take in. Networks of other authors may use a layer twice, so nothing is assumed of them.
    """
    if not any(_foldable(layer, norms[at]) for layer, norms, at in _layers(network)):
        return network
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for layer, norms, at in _layers(copied):
        if _foldable(layer, norms[at]):
            norms[at] = _taken_in(layer, norms[at])
    return copied


def _layers(network: nn.Module) -> Iterator[tuple[nn.Module, nn.ModuleList, int]]:
    """Yield each convolution with the list and the place in which the norm after it stands."""
    for module in network.modules():
        # A subclass may do other things with its layers.
        if type(module) is UNet:
            lists = [(module.down, module.down_norm), (module.up, module.up_norm)]
        elif type(module) is LatentDecoder:
            lists = [(module.blocks, module.norms)]
        else:
            continue
        for layers, norms in lists:
            for at, layer in enumerate(layers):
                yield layer, norms, at


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    # Exact types: a parametrised layer (spectral norm) computes its weight anew at each call.
    return type(layer) in (Conv4x4, UpsampleConv) and type(_statistics(norm)) in (BatchNorm, nn.BatchNorm2d)


def _statistics(norm: nn.Module) -> nn.Module:
    return norm.norm if type(norm) is ConditionalNorm else norm


def _taken_in(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Change weights and bias so that they do what `norm` did; return what is left of it (scale and shift by FiLM)."""
    convolution = layer.convolution if isinstance(layer, UpsampleConv) else layer
    statistics = _statistics(norm)
    assert isinstance(convolution, nn.Conv2d)  # noqa: S101 (for the type checker, as `_foldable` knows)
    assert isinstance(statistics, nn.BatchNorm2d)  # noqa: S101
    factor, shift = _factor_and_shift(statistics)
    left: nn.Module = nn.Identity()
    if isinstance(norm, ConditionalNorm) and norm.film is not None:
        norm.norm, left = nn.Identity(), norm
    elif isinstance(norm, ConditionalNorm):
        scale = 1 + norm.scale
        factor, shift = factor * scale, shift * scale + norm.shift
    bias = convolution.bias
    convolution.bias = nn.Parameter(shift if bias is None else shift + bias * factor, requires_grad=False)
    convolution.weight.mul_(factor[:, None, None, None])
    return left


def _factor_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what `norm` multiplies each channel by and adds to it in eval mode."""
    assert norm.running_mean is not None  # noqa: S101 (for the type checker)
    assert norm.running_var is not None  # noqa: S101
    factor = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight
    shift = -norm.running_mean * factor
    return factor, shift + norm.bias if norm.affine else shift


def _version(tensor: Tensor) -> tuple[int, int]:
    """Return where a tensor lies and how often it was changed in place, which inference tensors do not count."""
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version
