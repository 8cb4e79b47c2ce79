"""The U-Net of pix2pix with bilinear up-sampling and 3 x 3 convolutions (Sec. 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.networks.layers import ConditionalNorm, NoiseInjection, UpsampleConv
from syncgan.networks.winograd import Conv4x4

__all__ = ["UNet", "halvings"]


class UNet(nn.Module):
    """Encode by 4 x 4 strided convolutions, decode by `UpsampleConv`, with a skip at every scale.

    Parameters
    ----------
    in_channels, out_channels : channels of input and output.
    width : filters of the outermost scale; doubled at each halving up to 8 * width.
    downsamplings : how often the side is halved.
    normalisation : "batch" (pix2pix) or "instance".
    dropout : probability in up to three inner decoder scales, in training only (pix2pix: 0.5).
    condition_dim : length of the condition vector that scales and shifts every normalised feature; 0 for none.
    noise : whether a noise plane is added at every scale of the decoder (pix2pix: no).
    head_width : filters of one more convolution at full resolution, which sees the input again; 0 for none (pix2pix).
        Without it the output is a bilinear enlargement followed by one convolution and holds no detail of one pixel.

    Notes
    -----
    Input (N, in_channels, S, S) with S a multiple of ``2 ** downsamplings``; output (N, out_channels, S, S) before the
    output non-linearity. As in pix2pix neither the outermost nor the innermost encoder scale is normalised.

    References
    ----------
    Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        downsamplings: int,
        normalisation: Literal["batch", "instance"] = "batch",
        dropout: float = 0.0,
        condition_dim: int = 0,
        noise: bool = False,
        head_width: int = 0,
    ) -> None:
        super().__init__()
        widths = [width * min(2**depth, 8) for depth in range(downsamplings)]
        self.down = nn.ModuleList()
        self.down_norm = nn.ModuleList()
        for depth, channels in enumerate(widths):
            normalised = 0 < depth < downsamplings - 1
            before = in_channels if depth == 0 else widths[depth - 1]
            self.down.append(Conv4x4(before, channels, stride=2, bias=not normalised))
            self.down_norm.append(
                ConditionalNorm(channels, kind=normalisation, condition_dim=condition_dim)
                if normalised
                else nn.Identity()
            )
        self.up = nn.ModuleList()
        self.up_norm = nn.ModuleList()
        for depth in range(downsamplings - 1, 0, -1):
            before = widths[depth] if depth == downsamplings - 1 else 2 * widths[depth]
            self.up.append(UpsampleConv(before, widths[depth - 1], bias=False))
            self.up_norm.append(ConditionalNorm(widths[depth - 1], kind=normalisation, condition_dim=condition_dim))
        self.out = UpsampleConv(2 * widths[0], head_width or out_channels)
        self.head = nn.Conv2d(head_width + in_channels, out_channels, 3, padding=1) if head_width else None
        scales = [*widths[-2::-1], *([head_width] if head_width else [])] if noise else []
        self.noise = nn.ModuleList(NoiseInjection(channels) for channels in scales)
        inner = range(1, min(4, downsamplings - 4))  # pix2pix: the scales whose width no longer grows
        self.dropout = dict.fromkeys(inner, dropout) if dropout else {}

    def forward(self, x: Tensor, condition: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Return (N, out_channels, S, S) before the output non-linearity; `noise` is (N, 1, S, S)."""
        given = x
        skips = []
        for depth, (convolution, norm) in enumerate(zip(self.down, self.down_norm, strict=True)):
            x = convolution(x if depth == 0 else F.leaky_relu(x, 0.2))
            x = _normalised(norm, x, condition)
            skips.append(x)
        skips.pop()
        joined = False  # what `cat` made is needed nowhere else
        for scale, (convolution, norm) in enumerate(zip(self.up, self.up_norm, strict=True)):
            x = _normalised(norm, convolution(F.relu(x, inplace=joined)), condition)
            joined = True
            if scale in self.dropout:
                x = F.dropout(x, self.dropout[scale], training=self.training)
            if self.noise and noise is not None:
                x = self.noise[scale](x, noise)
            x = torch.cat([x, skips.pop()], dim=1)
        x = self.out(F.relu(x, inplace=True))
        if self.head is None:
            return x
        if self.noise and noise is not None:
            x = self.noise[-1](x, noise)
        out: Tensor = self.head(torch.cat([F.leaky_relu(x, 0.2), given], dim=1))
        return out


def _normalised(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    out: Tensor = norm(x, condition) if isinstance(norm, ConditionalNorm) else norm(x)
    return out


def halvings(side: int) -> int:
    """Return how often `side` pixels can be halved: 8 for 256, 5 for 96."""
    return (side & -side).bit_length() - 1
