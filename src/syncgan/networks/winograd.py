"""The 4 x 4 convolutions of pix2pix with a quarter to a half of the multiplications (Winograd's minimal filtering).

A tile of m x m outputs of an r x r filter needs ``(m + r - 1) ** 2`` products of transformed inputs and weights, not
``(m * r) ** 2``. Summed over channels they are matrix products, one for each element of a tile, which reach a CPU's
peak forward and backward. A convolution with stride two is one of a 2 x 2 filter over the pixels of each 2 x 2 block.
Every transform is linear and fixed, so gradients, also of gradients, follow from the same matrix products.

References
----------
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

import functools
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Conv4x4", "minimal_convolution"]

# What the transform of the weights costs is paid back by so many outputs, by stride; measured on one core, forward and
# backward, with 64 to 512 channels and sides of 16 to 128. Forward alone, a strided convolution gains from twice
# the channels on.
_WORTH_OUTPUTS = {1: 500, 2: 2000}
_WORTH_CHANNELS = 64
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)

# Outputs of a tile along each axis, by stride. Four divide most sides; with stride two the larger transforms cost what
# they save. A still larger tile would round too coarsely.
_TILE_OUTPUTS = {1: 4, 2: 3}


class Conv4x4(nn.Conv2d):
    """A 4 x 4 convolution with padding 1 and stride 1 or 2, computed as is fastest for its sizes; weights as always."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 4, stride=stride, padding=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, out_channels, h, w)."""
        if self._is_worth(input):
            return minimal_convolution(input, self.weight, self.bias, stride=self.stride[0])
        return super().forward(input)

    def _is_worth(self, x: Tensor) -> bool:
        # Narrow types would lose too much in the transforms, and hardware that has them multiplies them fast.
        if x.device.type != "cpu" or x.dtype is not torch.float32 or torch.compiler.is_compiling():
            return False
        if torch.is_autocast_enabled("cpu") or min(self.in_channels, self.out_channels) < _WORTH_CHANNELS:
            return False
        if self.stride[0] == 2 and self.in_channels < 2 * _WORTH_CHANNELS and not torch.is_grad_enabled():
            return False
        return x.shape[0] * x.shape[2] * x.shape[3] // self.stride[0] ** 2 >= _WORTH_OUTPUTS[self.stride[0]]


def minimal_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """Return ``F.conv2d(x, weight, bias, stride, padding=1)`` for a 4 x 4 `weight`, up to rounding."""
    n, _, height, width = x.shape
    height_out, width_out = (height - 2) // stride + 1, (width - 2) // stride + 1
    taps, side = 4 // stride, _TILE_OUTPUTS[stride]
    to_outputs, of_weights, of_inputs = (matrix.to(x.dtype) for matrix in _transforms(side, taps))
    out, channels = weight.shape[0], weight.shape[1] * stride**2
    tile = side + taps - 1
    rows, columns = -(-height_out // side), -(-width_out // side)

    tiles = _Tiles.apply(x.permute(0, 2, 3, 1), rows, columns, tile, stride)  # (tile^2, n * rows * columns * channels)
    inputs = (of_inputs @ tiles).view(tile**2, -1, channels)
    # (D, C, taps, s, taps, s) -> (taps, taps, D, s, s, C), the order of the channels of a block of pixels
    filters = weight.reshape(out, -1, taps, stride, taps, stride).permute(2, 4, 0, 3, 5, 1)
    filters = (of_weights @ filters.reshape(taps**2, -1)).view(tile**2, out, channels)
    products = torch.bmm(inputs, filters.transpose(1, 2))
    y = (to_outputs @ products.view(tile**2, -1)).view(side, side, n, rows, columns, out)
    y = y.permute(2, 3, 0, 4, 1, 5).reshape(n, side * rows, side * columns, out)[:, :height_out, :width_out]
    y = y.contiguous() if bias is None else y + bias
    return y.permute(0, 3, 1, 2)


@functools.cache
def _transforms(outputs: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two-dimensional transforms to outputs, of weights and of inputs, (., .) in float64.

    Toom and Cook: a product of polynomials is found from its values at as many points as it has coefficients (one of
    them infinity); filtering is the transpose of that.
    """
    count = outputs + taps - 1
    points = np.array(_POINTS[: count - 1])

    def values(coefficients: int) -> Any:
        at_infinity = np.eye(1, coefficients, coefficients - 1)
        return np.vstack([points[:, None] ** np.arange(coefficients), at_infinity])

    inverse = np.linalg.inv(values(count)).T
    return tuple(torch.from_numpy(np.kron(m, m)) for m in (values(outputs).T, values(taps), inverse))  # type: ignore[return-value]


class _Tiles(torch.autograd.Function):
    """(N, H, W, C) -> (t * t, N * rows * columns * s * s * C): the pixels, padded by 1, of overlapping tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, columns: int, tile: int, stride: int) -> Tensor:
        n, height, width, channels = x.shape
        ctx.sizes = (n, height, width, channels, rows, columns, tile, stride)
        padded = x.new_zeros(n, *_padded(rows, columns, tile, stride), channels)
        h, w = min(height, padded.shape[1] - 1), min(width, padded.shape[2] - 1)
        padded[:, 1 : 1 + h, 1 : 1 + w] = x[:, :h, :w]
        tiles = x.new_empty(tile, tile, n, rows, columns, stride, stride, channels)
        for a, b, p, q in product(range(tile), range(tile), range(stride), range(stride)):
            tiles[a, b, :, :, :, p, q] = padded[:, _places(a, p, rows, stride), _places(b, q, columns, stride)]
        return tiles.view(tile**2, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Untiled.apply(gradient, *ctx.sizes), None, None, None, None


class _Untiled(torch.autograd.Function):
    """The transpose of `_Tiles`: sums overlapping tiles into an image."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: Tensor,
        n: int,
        height: int,
        width: int,
        channels: int,
        rows: int,
        columns: int,
        tile: int,
        stride: int,
    ) -> Tensor:
        ctx.sizes = (rows, columns, tile, stride)
        tiles = gradient.view(tile, tile, n, rows, columns, stride, stride, channels)
        reach = _padded(rows, columns, tile, stride)
        padded = gradient.new_zeros(n, max(reach[0], height + 1), max(reach[1], width + 1), channels)
        for a, b, p, q in product(range(tile), range(tile), range(stride), range(stride)):
            places = padded[:, _places(a, p, rows, stride), _places(b, q, columns, stride)]
            places.add_(tiles[a, b, :, :, :, p, q])
        return padded[:, 1 : 1 + height, 1 : 1 + width].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Tiles.apply(gradient, *ctx.sizes), *[None] * 8


def _padded(rows: int, columns: int, tile: int, stride: int) -> tuple[int, int]:
    side = _TILE_OUTPUTS[stride]
    return stride * (side * (rows - 1) + tile), stride * (side * (columns - 1) + tile)


def _places(offset: int, phase: int, count: int, stride: int) -> slice:
    first = stride * offset + phase
    step = _TILE_OUTPUTS[stride] * stride
    return slice(first, first + step * (count - 1) + 1, step)
