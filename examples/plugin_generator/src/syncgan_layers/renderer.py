"""A renderer of residual blocks: down by four, blocks, up by four (Johnson et al. 2016), told the class by a plane."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncgan.config import ImageGANConfig

__all__ = ["ResidualRenderer"]

_BLOCKS = 4


class ResidualRenderer(nn.Module):
    """Render one-hot maps (N, L, S, S) and a plane of noise to images (N, 3, S, S) before tanh; S a multiple of 4.

    Parameters
    ----------
    config : section ``image_gan``; its `width` counts.
    levels, image_size, classes : L, S and the number of classes, 0 when it is not told them.

    References
    ----------
    Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
    """

    def __init__(self, *, config: ImageGANConfig, levels: int, image_size: int, classes: int) -> None:
        super().__init__()
        width = config.width
        self.noise_shape = (1, image_size, image_size)  # syncgan draws it, by the seed of the item
        self.embedding = nn.Embedding(classes, 4 * width) if classes else None
        self.down = nn.Sequential(
            nn.Conv2d(levels + 1, width, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
        )
        self.blocks = nn.ModuleList(_Residual(4 * width) for _ in range(_BLOCKS))
        self.up = nn.Sequential(_Enlarged(4 * width, 2 * width), _Enlarged(2 * width, width))
        self.out = nn.Conv2d(width, 3, 7, padding=3)

    def forward(self, onehot: Tensor, noise: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """Return (N, 3, S, S) before tanh."""
        plane = torch.zeros_like(onehot[:, :1]) if noise is None else noise
        x = self.down(torch.cat([onehot, plane], dim=1))
        if self.embedding is not None and label is not None:
            x = x + self.embedding(label)[:, :, None, None]
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(self.up(x))
        return out


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class _Enlarged(nn.Module):
    """Bilinear enlargement and a 3 x 3 convolution: no checkerboard."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.relu(self.convolution(x))
