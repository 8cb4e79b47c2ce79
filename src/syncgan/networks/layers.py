"""Building blocks: the up-sampling convolution of the paper, and normalisation that can be told a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.networks.upsampling import enlarge_and_convolve, load_kernels

__all__ = ["BatchNorm", "ConditionalNorm", "InstanceNorm", "NoiseInjection", "UpsampleConv", "init_weights"]


class UpsampleConv(nn.Module):
    """Enlarge twice by bilinear interpolation, then convolve 3 x 3 (Sec. 3.3, instead of a transposed convolution).

    Parameters
    ----------
    in_channels, out_channels : channels before and after.
    bias : whether the convolution has a bias.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, out_channels, 2H, 2W). A transposed convolution whose kernels overlap
    unevenly leaves a checkerboard; this form cannot. How it is computed depends on sizes and device (`upsampling`); the
    weights do not.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, 2H, 2W)."""
        return enlarge_and_convolve(x, self.convolution.weight, self.convolution.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> UpsampleConv:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # What moves a layer to a GPU passes here, before any compiled code calls it.
        if self.convolution.weight.device.type == "cuda":
            load_kernels(self.convolution.weight.device)
        return self


class InstanceNorm(nn.Module):
    """Give every channel of every item mean zero and variance one.

    Written with two reductions and one fused multiply-add, which keep the memory format and the precision of the
    input; ``nn.InstanceNorm2d`` copies channels_last tensors on the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, H, W)."""
        variance, mean = torch.var_mean(x, dim=(2, 3), keepdim=True, correction=0)
        scale = (variance.float() + 1e-5).rsqrt().to(x.dtype)
        return torch.addcmul(-mean * scale, x, scale)


class BatchNorm(nn.BatchNorm2d):
    """Normalise each channel by the batch in training, by running statistics after it; scale and shift are given.

    They go into the same pass over the pixels, and nothing between is kept for the gradient.

    Parameters
    ----------
    channels : channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False)

    def forward(self, input: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Normalise `input` (N, C, H, W), then multiply by `scale` (C,) and add `shift` (C,)."""
        if self.training:
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return F.batch_norm(
            input, self.running_mean, self.running_var, scale, shift, self.training, self.momentum or 0.0, self.eps
        )


class ConditionalNorm(nn.Module):
    """Normalise, then scale and shift each channel, as learned or as a condition vector says (FiLM).

    A constant input plane is erased by instance normalisation, so class and stain must enter after it.

    Parameters
    ----------
    channels : channels of the input.
    kind : "batch" or "instance".
    condition_dim : length of the condition vector; 0 gives plain learned scale and shift.

    References
    ----------
    Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    """

    def __init__(self, channels: int, *, kind: Literal["batch", "instance"], condition_dim: int = 0) -> None:
        super().__init__()
        self.norm: nn.Module = BatchNorm(channels) if kind == "batch" else InstanceNorm()
        self.film = nn.Linear(condition_dim, 2 * channels) if condition_dim else None
        if self.film is None:
            self.scale = nn.Parameter(torch.zeros(channels))
            self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise `x` (N, C, H, W) under `condition` (N, condition_dim)."""
        normalised: Tensor
        if self.film is None and isinstance(self.norm, BatchNorm):
            normalised = self.norm(x, 1 + self.scale, self.shift)
            return normalised
        normalised = self.norm(x)
        if self.film is None:
            scale, shift = self.scale[None, :, None, None], self.shift[None, :, None, None]
        else:
            scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift.to(x.dtype), normalised, 1 + scale.to(x.dtype))


class NoiseInjection(nn.Module):
    """Add a noise plane to a feature map, as strongly in each place as the features there say.

    Fine texture is random: noise at every scale lets the network draw it instead of inventing a pattern from position
    alone. Nuclei are grainy where plasma is smooth, so the strength is a learned linear function of each channel's
    own value, which starts at zero.

    Parameters
    ----------
    channels : channels of the feature map.

    References
    ----------
    Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019; there the
    strength is the same in all places.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.zeros(channels, 1, 1))
        self.slope = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return `x` (N, channels, H, W) with `noise` (N, 1, k * H, k * W) pooled to its size, variance kept."""
        factor = noise.shape[-1] // x.shape[-1]
        plane = F.avg_pool2d(noise, factor) * factor if factor > 1 else noise
        strength = torch.addcmul(self.base.to(x.dtype), self.slope.to(x.dtype), x)
        return torch.addcmul(x, strength, plane.to(x.dtype))


def init_weights(module: nn.Module) -> None:
    """Initialise as pix2pix does: weights from N(0, 0.02), biases zero; normalisation starts as the identity."""
    if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
