"""Built-in mask generators: factories of networks from Gaussian noise to semantic maps (Sec. 3.4)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.config import MaskGANConfig
from syncgan.errors import ConfigError
from syncgan.networks.layers import UpsampleConv, init_weights
from syncgan.networks.unet import UNet, halvings

__all__ = ["LatentDecoder", "NoiseUNet", "decoder", "unet"]

_SMALLEST_SIDE = 8


class LatentDecoder(nn.Module):
    """Decode Gaussian noise to a map: a latent vector to 4 x 4, then `UpsampleConv` blocks with noise at every scale.

    The latent vector says what the field as a whole is like; a noise plane at every scale, scaled by learned channel
    weights, says where things are, so that one small network can place nuclei anywhere.

    Input noise (N, latent_dim + planes) and, when `classes` is not 0, class indices (N,); output (N, levels, R, R)
    logits, R a power of two of at least 8.

    References
    ----------
    Noise planes: Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019.
    """

    def __init__(self, *, latent_dim: int, levels: int, resolution: int, width: int, classes: int = 0) -> None:
        super().__init__()
        sides = [2**power for power in range(3, int(math.log2(resolution)) + 1)]
        widths = [width * min(resolution // side, 4) for side in (4, *sides)]
        self.sections = [latent_dim, *[side * side for side in sides]]
        self.noise_shape = (sum(self.sections),)
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        self.project = nn.Linear(latent_dim, widths[0] * 16)
        self.blocks = nn.ModuleList(
            UpsampleConv(before, after, bias=False) for before, after in itertools.pairwise(widths)
        )
        self.noise_weights = nn.ParameterList(nn.Parameter(torch.zeros(channels, 1, 1)) for channels in widths[1:])
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in widths[1:])
        self.out = nn.Conv2d(widths[-1], levels, 3, padding=1)
        self.apply(init_weights)
        for weight in self.noise_weights:
            nn.init.normal_(weight, 0.0, 0.2)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits (N, levels, R, R)."""
        latent, *planes = torch.split(noise, self.sections, dim=1)
        if self.embedding is not None:
            latent = latent + self.embedding(label)
        x = F.relu(self.project(latent).reshape(len(latent), -1, 4, 4))
        for block, weight, plane, norm in zip(self.blocks, self.noise_weights, planes, self.norms, strict=True):
            x = norm(block(x))
            x = F.relu(x + weight * plane.reshape(-1, 1, *x.shape[-2:]))
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
    """Make a generator that decodes a latent vector (the usual reading of "a random draw from a Gaussian").

    Raises
    ------
    ConfigError
        `resolution` is no power of two of at least 8.
    """
    if resolution < _SMALLEST_SIDE or resolution & (resolution - 1):
        below = 1 << max(_SMALLEST_SIDE.bit_length() - 1, resolution.bit_length() - 1)
        raise ConfigError(
            "mask generator 'decoder': expected mask_gan.resolution (or, for 'image', image_size) to be a power of two "
            f"of at least {_SMALLEST_SIDE}, got {resolution}; set mask_gan.resolution={below}"
        )
    return LatentDecoder(
        latent_dim=config.latent_dim, levels=levels, resolution=resolution, width=config.width, classes=classes
    )


def unet(*, config: MaskGANConfig, levels: int, resolution: int, classes: int) -> nn.Module:
    """Make a generator that turns a noise image into a mask by a U-Net (the literal reading of Sec. 3.4)."""
    return NoiseUNet(levels=levels, resolution=resolution, width=config.width, classes=classes)
