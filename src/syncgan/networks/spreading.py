"""The fixed stencils of `upsampling` as two GPU kernels: nine mixed taps of each pixel to four pixels, and back.

Per axis, output 2i and 2i + 1 see the pixels i - 1, i and i + 1 of each tap by the weights of bilinear interpolation.
The interpolation clamps at the borders, and what the taps -1 and +1 would take from beyond the enlarged image is zero.
Each kernel reads its input once from memory, and again from the cache, and writes its output once.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["collect", "spread"]

_BLOCK = 1024  # elements of a row that a program computes: 16 bytes of bfloat16 a thread


@torch.library.custom_op("syncgan::spread", mutates_args=())
def spread(taps: Tensor, channels: int) -> Tensor:
    """Return (N, D, 2H, 2W), channels last, of taps (N, H, W, T): 9 D of T channels count, tap (0, 0) first.

    Parameters
    ----------
    taps : float32, bfloat16 or float16; sums are float32.
    channels : D.
    """
    n, height, width, stride = taps.shape
    y = _output(taps, channels)
    grid = (n * height, triton.cdiv(width * channels, _BLOCK))
    with torch.cuda.device_of(taps):
        _spread_kernel[grid](taps.contiguous(), y, height, width, stride, channels=channels, block=_BLOCK)
    return y


@spread.register_fake
def _output(taps: Tensor, channels: int) -> Tensor:
    n, height, width, _ = taps.shape
    return taps.new_empty(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


@torch.library.custom_op("syncgan::collect", mutates_args=())
def collect(gradient: Tensor, stride: int) -> Tensor:
    """Return the gradient (N, H, W, T = stride) of taps, given that (N, D, 2H, 2W) of what `spread` makes of them."""
    taps = _taps(gradient, stride)
    n, height, width, _ = taps.shape
    channels = gradient.shape[1]
    taps[..., 9 * channels :] = 0
    grid = (n * height, triton.cdiv(width * channels, _BLOCK))
    pixels = gradient.permute(0, 2, 3, 1).contiguous()
    with torch.cuda.device_of(gradient):
        _collect_kernel[grid](pixels, taps, height, width, stride, channels=channels, block=_BLOCK)
    return taps


@collect.register_fake
def _taps(gradient: Tensor, stride: int) -> Tensor:
    n, _, height, width = gradient.shape
    return gradient.new_empty(n, height // 2, width // 2, stride)


def _keep_stride(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.stride = inputs[0].shape[3]


def _keep_channels(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.channels = inputs[0].shape[1]


# Both are linear, so each is the gradient of the other.
spread.register_autograd(lambda ctx, gradient: (collect(gradient, ctx.stride), None), setup_context=_keep_stride)
collect.register_autograd(lambda ctx, gradient: (spread(gradient, ctx.channels), None), setup_context=_keep_channels)


@triton.jit
def _row_of_taps(row, left, here, right, channel, first, last, inside, channels: tl.constexpr):
    """Return what the three taps of a row of taps give to the output's columns 2j and 2j + 1."""
    a_left = tl.load(row + left + channel, mask=inside, other=0.0).to(tl.float32)
    a_here = tl.load(row + here + channel, mask=inside, other=0.0).to(tl.float32)
    b_left = tl.load(row + left + channels + channel, mask=inside, other=0.0).to(tl.float32)
    b_here = tl.load(row + here + channels + channel, mask=inside, other=0.0).to(tl.float32)
    b_right = tl.load(row + right + channels + channel, mask=inside, other=0.0).to(tl.float32)
    c_here = tl.load(row + here + 2 * channels + channel, mask=inside, other=0.0).to(tl.float32)
    c_right = tl.load(row + right + 2 * channels + channel, mask=inside, other=0.0).to(tl.float32)
    even = tl.where(first, 0.0, 0.75 * a_left + 0.25 * a_here)
    even += 0.25 * b_left + 0.75 * b_here + 0.75 * c_here + 0.25 * c_right
    odd = 0.25 * a_left + 0.75 * a_here + 0.75 * b_here + 0.25 * b_right
    odd += tl.where(last, 0.0, 0.25 * c_here + 0.75 * c_right)
    return even, odd


@triton.jit
def _spread_kernel(taps, y, height, width, stride, channels: tl.constexpr, block: tl.constexpr):
    line = tl.program_id(0).to(tl.int64)  # tensors can have more than 2^31 elements
    i = line % height
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < width * channels
    j, channel = at // channels, at % channels
    here, left, right = j * stride, tl.maximum(j - 1, 0) * stride, tl.minimum(j + 1, width - 1) * stride
    first, last = j == 0, j == width - 1
    row_length = width * stride
    this = taps + line * row_length
    above = tl.where(i > 0, this - row_length, this)
    below = tl.where(i < height - 1, this + row_length, this)
    top, bottom = tl.where(i > 0, 1.0, 0.0), tl.where(i < height - 1, 1.0, 0.0)

    even, odd = _row_of_taps(above, left, here, right, channel, first, last, inside, channels)
    y00, y01, y10, y11 = 0.75 * top * even, 0.75 * top * odd, 0.25 * even, 0.25 * odd
    even, odd = _row_of_taps(this, left, here, right, channel, first, last, inside, channels)
    y00, y01, y10, y11 = y00 + 0.25 * top * even, y01 + 0.25 * top * odd, y10 + 0.75 * even, y11 + 0.75 * odd
    even, odd = _row_of_taps(above + 3 * channels, left, here, right, channel, first, last, inside, channels)
    y00, y01 = y00 + 0.25 * even, y01 + 0.25 * odd
    even, odd = _row_of_taps(this + 3 * channels, left, here, right, channel, first, last, inside, channels)
    y00, y01, y10, y11 = y00 + 0.75 * even, y01 + 0.75 * odd, y10 + 0.75 * even, y11 + 0.75 * odd
    even, odd = _row_of_taps(below + 3 * channels, left, here, right, channel, first, last, inside, channels)
    y10, y11 = y10 + 0.25 * even, y11 + 0.25 * odd
    even, odd = _row_of_taps(this + 6 * channels, left, here, right, channel, first, last, inside, channels)
    y00, y01, y10, y11 = y00 + 0.75 * even, y01 + 0.75 * odd, y10 + 0.25 * bottom * even, y11 + 0.25 * bottom * odd
    even, odd = _row_of_taps(below + 6 * channels, left, here, right, channel, first, last, inside, channels)
    y00, y01 = y00 + 0.25 * even, y01 + 0.25 * odd
    y10, y11 = y10 + 0.75 * bottom * even, y11 + 0.75 * bottom * odd

    out_length = 2 * width * channels
    to = y + 2 * line * out_length + 2 * j * channels + channel
    tl.store(to, y00, mask=inside)
    tl.store(to + channels, y01, mask=inside)
    tl.store(to + out_length, y10, mask=inside)
    tl.store(to + out_length + channels, y11, mask=inside)


@triton.jit
def _columns(row, there, j, channel, width, w0, w1, w2, w3, channels: tl.constexpr):
    """Return what a row of the output's gradient gives to the three taps of a column each."""
    at = row + 2 * j * channels + channel
    left, right = there & (j > 0), there & (j < width - 1)
    g0 = tl.load(at - 2 * channels, mask=left, other=0.0).to(tl.float32)
    g1 = tl.load(at - channels, mask=left, other=0.0).to(tl.float32)
    g2 = tl.load(at, mask=there, other=0.0).to(tl.float32)
    g3 = tl.load(at + channels, mask=there, other=0.0).to(tl.float32)
    g4 = tl.load(at + 2 * channels, mask=right, other=0.0).to(tl.float32)
    g5 = tl.load(at + 3 * channels, mask=right, other=0.0).to(tl.float32)
    return (
        w0 * g2 + w1 * g3 + w2 * g4 + w3 * g5,
        w0 * g1 + w1 * g2 + w2 * g3 + w3 * g4,
        w0 * g0 + w1 * g1 + w2 * g2 + w3 * g3,
    )


@triton.jit
def _collect_kernel(g, taps, height, width, stride, channels: tl.constexpr, block: tl.constexpr):
    line = tl.program_id(0).to(tl.int64)  # tensors can have more than 2^31 elements
    i = line % height
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < width * channels
    j, channel = at // channels, at % channels
    # An enlarged pixel beyond the border is none, and the outermost one is the pixel itself.
    w0, w3 = tl.where(j > 0, 0.25, 0.0), tl.where(j < width - 1, 0.25, 0.0)
    w1, w2 = 1.0 - w0, 1.0 - w3
    v0, v3 = tl.where(i > 0, 0.25, 0.0), tl.where(i < height - 1, 0.25, 0.0)
    v1, v2 = 1.0 - v0, 1.0 - v3
    length = 2 * width * channels
    row = g + 2 * line * length
    above, below = inside & (i > 0), inside & (i < height - 1)

    a, b, c = _columns(row - 2 * length, above, j, channel, width, w0, w1, w2, w3, channels)
    t60, t61, t62 = v0 * a, v0 * b, v0 * c
    a, b, c = _columns(row - length, above, j, channel, width, w0, w1, w2, w3, channels)
    t30, t31, t32 = v0 * a, v0 * b, v0 * c
    t60, t61, t62 = t60 + v1 * a, t61 + v1 * b, t62 + v1 * c
    a, b, c = _columns(row, inside, j, channel, width, w0, w1, w2, w3, channels)
    t00, t01, t02 = v0 * a, v0 * b, v0 * c
    t30, t31, t32 = t30 + v1 * a, t31 + v1 * b, t32 + v1 * c
    t60, t61, t62 = t60 + v2 * a, t61 + v2 * b, t62 + v2 * c
    a, b, c = _columns(row + length, inside, j, channel, width, w0, w1, w2, w3, channels)
    t00, t01, t02 = t00 + v1 * a, t01 + v1 * b, t02 + v1 * c
    t30, t31, t32 = t30 + v2 * a, t31 + v2 * b, t32 + v2 * c
    t60, t61, t62 = t60 + v3 * a, t61 + v3 * b, t62 + v3 * c
    a, b, c = _columns(row + 2 * length, below, j, channel, width, w0, w1, w2, w3, channels)
    t00, t01, t02 = t00 + v2 * a, t01 + v2 * b, t02 + v2 * c
    t30, t31, t32 = t30 + v3 * a, t31 + v3 * b, t32 + v3 * c
    a, b, c = _columns(row + 3 * length, below, j, channel, width, w0, w1, w2, w3, channels)
    t00, t01, t02 = t00 + v3 * a, t01 + v3 * b, t02 + v3 * c

    to = taps + line * width * stride + j * stride + channel
    tl.store(to, t00, mask=inside)
    tl.store(to + channels, t01, mask=inside)
    tl.store(to + 2 * channels, t02, mask=inside)
    tl.store(to + 3 * channels, t30, mask=inside)
    tl.store(to + 4 * channels, t31, mask=inside)
    tl.store(to + 5 * channels, t32, mask=inside)
    tl.store(to + 6 * channels, t60, mask=inside)
    tl.store(to + 7 * channels, t61, mask=inside)
    tl.store(to + 8 * channels, t62, mask=inside)
