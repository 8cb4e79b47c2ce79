"""Networks and one training step as published or as one writes them first: the baselines for `syncgan`'s step.

`UNet256("transposed")` with `Patches` is pix2pix (Isola et al., CVPR 2017, Sec. 6.1): encoder C64-C128-C256-C512 and on
to one pixel, a decoder with skips, every convolution 4 x 4 with stride 2, batch normalisation but in the outermost and
innermost scale, dropout in the first three decoder scales; the discriminator sees patches of 70 x 70 pixels.
`UNet256("bilinear")` is the paper's renderer as one writes it: bilinear enlargement and a 3 x 3 convolution instead of
the transposed one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Patches", "UNet256", "pix2pix_step"]


class UNet256(nn.Module):
    """A U-Net with `width` filters that halves the side until one pixel is left: eight times for 256 pixels."""

    def __init__(
        self, in_channels: int, out_channels: int, *, up: Literal["transposed", "bilinear"], width: int, size: int
    ) -> None:
        super().__init__()
        depth = size.bit_length() - 1
        widths = [width * min(2**scale, 8) for scale in range(depth)]
        before = [in_channels, *widths[:-1]]
        dropped = range(depth - 4, depth - 1)  # the scales whose width no longer grows
        self.down = nn.ModuleList(
            nn.Sequential(
                *([nn.LeakyReLU(0.2)] if scale else []),
                nn.Conv2d(before[scale], widths[scale], 4, stride=2, padding=1),
                *([nn.BatchNorm2d(widths[scale])] if 0 < scale < depth - 1 else []),
            )
            for scale in range(depth)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                _enlarging(
                    widths[scale] * (1 if scale == depth - 1 else 2), widths[scale - 1] if scale else out_channels, up
                ),
                *([nn.BatchNorm2d(widths[scale - 1])] if scale else []),
                *([nn.Dropout(0.5)] if scale in dropped else []),
            )
            for scale in reversed(range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the image before tanh."""
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for layer in self.up[1:]:
            x = layer(torch.cat([x, skips.pop()], dim=1))
        return x


def _enlarging(in_channels: int, out_channels: int, up: str) -> nn.Module:
    if up == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, out_channels, 3, padding=1)
    )


class Patches(nn.Sequential):
    """The discriminator C64-C128-C256-C512 and one logit a patch of 70 x 70 pixels."""

    def __init__(self, in_channels: int, *, width: int) -> None:
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after in itertools.pairwise(widths):
            stride = 1 if after == widths[-1] else 2
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))


def pix2pix_step(
    generator: nn.Module,
    discriminator: nn.Module,
    masks: Tensor,
    images: Tensor,
    *,
    reconstruction: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
    autocast: torch.dtype | None = None,
) -> Callable[[], None]:
    """Return one training step on a batch: D on real and fake, then G with 100 times the reconstruction, plain Adam."""
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)
    ]

    def judged(images: Tensor, real: bool) -> Tensor:
        logits = discriminator(torch.cat([masks, images], dim=1)).float()
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def step() -> None:
        with torch.autocast(masks.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            fake = torch.tanh(generator(masks))
            discriminator.requires_grad_(True)
            loss = (judged(fake.detach(), False) + judged(images, True)) / 2
            optimisers[1].zero_grad()
            loss.backward()
            optimisers[1].step()
            discriminator.requires_grad_(False)
            loss = judged(fake, True) + 100 * reconstruction(fake.float(), images)
            optimisers[0].zero_grad()
            loss.backward()
            optimisers[0].step()

    return step
