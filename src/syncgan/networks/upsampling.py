"""Bilinear enlargement followed by a 3 x 3 convolution, in the order that costs a quarter of the multiplications.

Enlarging and mixing channels commute: each of the nine taps mixes channels at low resolution (one matrix product), and
fixed stencils do the rest: 2.25 multiplications an output pixel and pair of channels instead of 9. Per axis, the taps
are laid out with stride two, as a transposed convolution does, and blurred by (1, 3, 3, 1) / 4, which is what
bilinear interpolation does to an image with zeros between its pixels. At the borders interpolation clamps and the
convolution pads with zeros; a frame of one or two pixels around the laid-out taps makes the blur give just that.
"""

from __future__ import annotations

import importlib.util
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from syncgan.errors import warn_user

__all__ = ["commuted", "commuted_by_kernels", "commuted_for_compilers", "enlarge_and_convolve", "load_kernels", "plain"]

_BLUR = (0.25, 0.75, 0.75, 0.25)

# Below, some 80 small operations cost more than the multiplications that they save. Measured on one core with channels
# between 3 and 1024 and sides between 1 and 128: forward and backward break even between 1 and 2.4 million.
_WORTH_COMMUTING = 2_000_000

_ALIGNED = 8  # numbers of 16 bits in 16 bytes, by which matrix products on a GPU want their rows to begin


def enlarge_and_convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `plain` returns, up to rounding, by the form that is fastest for these sizes on this device.

    A GPU takes the commuted form with kernels of its own for the stencils, where there is Triton. Other compiled code
    takes a form whose stencils a compiler fuses, other uncompiled code off the CPU the plain one.
    """
    compiling = torch.compiler.is_compiling()
    on_gpu = x.device.type == "cuda" and x.dtype is not torch.float64
    if on_gpu and (_kernels.usable if compiling else load_kernels(x.device)):
        return commuted_by_kernels(x, weight, bias)
    if compiling:
        return commuted_for_compilers(x, weight, bias)
    products = x.shape[0] * x.shape[2] * x.shape[3] * weight.shape[0] * weight.shape[1]
    if x.device.type == "cpu" and products >= _WORTH_COMMUTING:
        return commuted(x, weight, bias)
    return plain(x, weight, bias)


def plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Enlarge `x` (N, C, H, W) twice, then convolve with `weight` (D, C, 3, 3) and zero padding: (N, D, 2H, 2W)."""
    # Autocast would run the interpolation in float32, which costs two copies of the largest tensors.
    with torch.autocast(x.device.type, enabled=False):
        enlarged = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return F.conv2d(enlarged, weight, bias, padding=1)


def commuted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `plain` returns, up to rounding, as one matrix product and two passes over the output."""
    n, _, height, width = x.shape
    taps = _Mix.apply(x.permute(0, 2, 3, 1), weight).view(n, height, width, 3, 3, len(weight))
    laid_out = _LayOut.apply(taps).permute(0, 3, 1, 2)
    y: Tensor = _Blur.apply(laid_out, None if bias is None else bias.to(laid_out.dtype))
    return y


def commuted_by_kernels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `commuted` returns, on a CUDA device: a matrix product and one kernel of `spreading`."""
    channels = len(weight)
    more = -9 * channels % _ALIGNED
    rows = F.pad(_tap_rows(weight), (0, 0, 0, more))
    # The middle tap is never cut off and its weights add to one, so that is where a bias goes.
    shift = None if bias is None else F.pad(bias, (4 * channels, 4 * channels + more))
    y: Tensor = torch.ops.syncgan.spread(F.linear(x.permute(0, 2, 3, 1), rows, shift), channels)
    return y


class _Kernels:
    tried = usable = False


_kernels = _Kernels()


def load_kernels(device: torch.device) -> bool:
    """Try the kernels on a device, once; tell whether they can be used there, with a warning where they fail.

    They need Triton, which torch brings along on Linux, and Triton a C compiler. Compiled code can call them but not
    load them, so layers that are moved to a GPU do.
    """
    if not _kernels.tried:
        _kernels.tried = True
        if importlib.util.find_spec("triton") is not None:
            try:
                spreading = importlib.import_module("syncgan.networks.spreading")
                spreading.spread(torch.zeros((1, 1, 1, 9), device=device), 1)
                _kernels.usable = True
            except Exception as error:  # whatever a compiler or a driver says
                reason = " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
                warn_user(
                    f"the GPU kernels of the up-sampling convolution cannot be used ({reason}); training and "
                    "rendering are slower. Triton needs a C compiler, such as gcc"
                )
    return _kernels.usable


def commuted_for_compilers(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what `commuted` returns, written so that a compiler makes one kernel of all that follows the product."""
    height, width, channels = 2 * x.shape[2], 2 * x.shape[3], len(weight)
    mixed = F.conv2d(x, _tap_rows(weight)[:, :, None, None])
    with torch.autocast(x.device.type, enabled=False):
        taps = F.interpolate(mixed, scale_factor=2, mode="bilinear", align_corners=False)
    taps = F.pad(taps, (1, 1, 1, 1)).reshape(-1, 3, 3, channels, height + 2, width + 2)
    y = sum(taps[:, a, b, :, a : a + height, b : b + width] for a, b in product(range(3), repeat=2))
    assert isinstance(y, Tensor)  # noqa: S101 (for the type checker: sum may be 0)
    return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def _tap_rows(weight: Tensor) -> Tensor:
    """Return (9 D, C): the rows of tap (0, 0), of tap (0, 1), ..."""
    return weight.permute(2, 3, 0, 1).flatten(0, 2)


class _Mix(torch.autograd.Function):
    """(N, H, W, C) and (D, C, 3, 3) -> (N, H, W, 9 D); keeps the weights themselves, not their copy in other order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, _tap_rows(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ _tap_rows(weight).to(gradient.dtype)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            rows = gradient.flatten(0, 2).T @ x.flatten(0, 2).to(gradient.dtype)
            of_weight = rows.view(3, 3, *weight.shape[:2]).permute(2, 3, 0, 1).to(weight.dtype)
        return of_x, of_weight


def _moves(length: int) -> list[tuple[slice, int, slice, float]]:
    """Return where the taps of one axis go: (from pixels, tap, to places, factor).

    Place p holds position p - 2 of the enlarged axis. The first three moves are the transposed convolution. The others
    are the frame: it repeats the first and last pixel, except that the outermost place takes away, after the blur, what
    the tap beyond the border would add to the border pixel.
    """
    first, last, end = slice(0, 1), slice(length - 1, length), 2 * length + 3
    frame = [
        (first, 1, slice(0, 1), 1.0),
        (first, 0, slice(0, 1), -4.0),
        (first, 0, slice(1, 2), 1.0),
        (last, 2, slice(end - 2, end - 1), 1.0),
        (last, 1, slice(end - 1, end), 1.0),
        (last, 2, slice(end - 1, end), -4.0),
    ]
    every = slice(0, length)
    return [(every, tap, slice(3 - tap, 3 - tap + 2 * length, 2), 1.0) for tap in range(3)] + frame


class _LayOut(torch.autograd.Function):
    """(N, H, W, 3, 3, D) taps -> (N, 2H + 3, 2W + 3, D); linear, so each direction's gradient is the other."""

    @staticmethod
    def forward(ctx: Any, taps: Tensor) -> Tensor:
        n, height, width, _, _, channels = taps.shape
        laid_out = taps.new_zeros(n, 2 * height + 3, 2 * width + 3, channels)
        for (rows, a, to_rows, p), (columns, b, to_columns, q) in product(_moves(height), _moves(width)):
            laid_out[:, to_rows, to_columns].add_(taps[:, rows, columns, a, b], alpha=p * q)
        return laid_out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Collect.apply(gradient)


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, laid_out: Tensor) -> Tensor:
        n, rows_out, columns_out, channels = laid_out.shape
        height, width = (rows_out - 3) // 2, (columns_out - 3) // 2
        taps = laid_out.new_empty(n, height, width, 3, 3, channels)
        row_moves, column_moves = _moves(height), _moves(width)
        for (i, (rows, a, to_rows, p)), (j, (columns, b, to_columns, q)) in product(
            enumerate(row_moves), enumerate(column_moves)
        ):
            if i < 3 and j < 3:  # the first three moves of each axis write every element once
                taps[:, :, :, a, b] = laid_out[:, to_rows, to_columns]
            else:
                taps[:, rows, columns, a, b].add_(laid_out[:, to_rows, to_columns], alpha=p * q)
        return taps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _LayOut.apply(gradient)


class _Blur(torch.autograd.Function):
    """(N, D, H + 3, W + 3) -> (N, D, H, W) by (1, 3, 3, 1) / 4 by axis, plus a bias; keeps nothing for gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None) -> Tensor:
        return _depthwise(x, bias, padding=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        of_bias = gradient.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[1] else None
        return _BlurGradient.apply(gradient), of_bias


class _BlurGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return _depthwise(gradient, None, padding=3)  # the kernel is symmetric

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Blur.apply(gradient, None)


def _depthwise(x: Tensor, bias: Tensor | None, *, padding: int) -> Tensor:
    line = torch.tensor(_BLUR, dtype=x.dtype, device=x.device)
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 4, 4).contiguous()
    return F.conv2d(x, kernel, bias, padding=padding, groups=x.shape[1])
