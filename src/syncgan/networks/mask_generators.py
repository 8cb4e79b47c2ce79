"""Built-in mask generators: factories of networks from Gaussian noise to semantic maps (Sec. 3.4)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.config import MaskGANConfig
from syncgan.networks.layers import UpsampleConv, init_weights
from syncgan.networks.unet import UNet, halvings

__all__ = ["LatentDecoder", "NoiseUNet", "decoder", "unet"]


class LatentDecoder(nn.Module):
    """Decode a latent vector to a map: linear to 4 x 4, then `UpsampleConv` blocks.

    Input noise (N, latent_dim) and, when `classes` is not 0, class indices (N,); output (N, levels, R, R) logits, R a
    power of two of at least 8.
    """

    def __init__(self, *, latent_dim: int, levels: int, resolution: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.noise_shape = (latent_dim,)
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        doublings = int(math.log2(resolution)) - 2
        widths = [width * min(2**scale, 8) for scale in range(doublings, -1, -1)]
        self.project = nn.Linear(latent_dim, widths[0] * 16)
        self.blocks = nn.ModuleList(
            UpsampleConv(before, after, bias=False) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in widths[1:])
        self.out = nn.Conv2d(widths[-1], levels, 3, padding=1)
        self.apply(init_weights)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (N, levels, R, R)."""
        if self.embedding is not None:
            noise = noise + self.embedding(label)
        x = F.relu(self.project(noise).unflatten(1, (-1, 4, 4)))
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = F.relu(norm(block(x)))
        out: Tensor = self.out(x)
        return out


class NoiseUNet(nn.Module):
    """Pass a Gaussian noise image through the U-Net: the literal reading of Sec. 3.4.

    Input noise (N, 1, R, R) and, when `classes` is not 0, class indices (N,), which enter as one-hot planes; output
    (N, levels, R, R) logits.
    """

    def __init__(self, *, levels: int, resolution: int, width: int, classes: int = 0) -> None:
        super().__init__()
        self.noise_shape = (1, resolution, resolution)
        self.classes = classes
        self.unet = UNet(1 + classes, levels, width=width, downsamplings=halvings(resolution))
        self.apply(init_weights)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (N, levels, R, R)."""
        if self.classes and label is not None:
            planes = F.one_hot(label, self.classes).to(noise)[:, :, None, None].expand(-1, -1, *noise.shape[-2:])
            noise = torch.cat([noise, planes], dim=1)
        out: Tensor = self.unet(noise)
        return out


def decoder(*, config: MaskGANConfig, levels: int, resolution: int, classes: int) -> nn.Module:
    """Make a generator that decodes a latent vector (the usual reading of "a random draw from a Gaussian")."""
    return LatentDecoder(
        latent_dim=config.latent_dim, levels=levels, resolution=resolution, width=config.width, classes=classes
    )


def unet(*, config: MaskGANConfig, levels: int, resolution: int, classes: int) -> nn.Module:
    """Make a generator that turns a noise image into a mask by a U-Net (the literal reading of Sec. 3.4)."""
    return NoiseUNet(levels=levels, resolution=resolution, width=config.width, classes=classes)
