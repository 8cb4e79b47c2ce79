"""Compare textures level by level: patches of nuclei with patches of nuclei, cytoplasm with cytoplasm.

What a mask does not foretell (where a granule lies) must not be averaged away, and what it does (that nuclei are
grainy and plasma is smooth) must be learned from few images. Comparing the distributions of patches within each level
of the map, at several scales, says just that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from syncgan.training.losses import patch_distribution_distance

__all__ = ["PatchDraw", "draw_patches", "texture_distance"]

_SCALES = (1, 2, 4)
_PATCH_PX = 5
_DIRECTIONS = 32
_PATCHES = 128


@dataclass(frozen=True)
class PatchDraw:
    """Where and along which directions the textures of one batch are compared.

    Attributes
    ----------
    directions : (N, K, 3, p, p), unit vectors, other ones for each item.
    positions : factor by which the image is shrunk -> (N, L, M) flat positions, M within each level.
    """

    directions: Tensor
    positions: Mapping[int, Tensor]


def draw_patches(maps: Tensor, levels: int, generator: torch.Generator) -> PatchDraw:
    """Draw directions, and positions within each level of each map; a level that a map lacks stands for all of it.

    Parameters
    ----------
    maps : (N, S, S) uint8, values 0 .. L-1.
    levels : L.
    generator : of the CPU.
    """
    directions = _directions(len(maps), generator)
    positions = {}
    for scale in _SCALES:
        flat = maps[:, scale // 2 :: scale, scale // 2 :: scale].flatten(1)
        where = torch.rand((levels, len(maps), _PATCHES), generator=generator).to(maps.device)
        positions[scale] = torch.stack([_positions(flat == level, where[level]) for level in range(levels)], dim=1)
    return PatchDraw(directions.to(maps.device), positions)


def _directions(items: int, generator: torch.Generator) -> Tensor:
    """Draw unit vectors (N, K, 3, p, p): each one frequency of the patch's cosine transform in one random colour.

    Directions that mix all frequencies see the total variance of a patch and hardly tell speckle from smooth shading.
    """
    line = torch.arange(_PATCH_PX)
    waves = torch.cos(math.pi * (line + 0.5) * line[:, None] / _PATCH_PX)
    waves = waves / waves.norm(dim=1, keepdim=True)
    down, across = torch.randint(_PATCH_PX, (2, items, _DIRECTIONS), generator=generator)
    colour = torch.nn.functional.normalize(torch.randn((items, _DIRECTIONS, 3), generator=generator), dim=2)
    return torch.einsum("nkc,nki,nkj->nkcij", colour, waves[down], waves[across])


def texture_distance(rendered: Tensor, real: Tensor, draw: PatchDraw) -> Tensor:
    """Return the patch distribution distance, averaged over scales and levels.

    Parameters
    ----------
    rendered, real : (N, 3, S, S) float in [-1, 1].
    """
    terms = [
        patch_distribution_distance(
            F.avg_pool2d(rendered, scale), F.avg_pool2d(real, scale), draw.directions, positions
        )
        for scale, positions in draw.positions.items()
    ]
    return torch.stack(terms).mean()


def _positions(inside: Tensor, where: Tensor) -> Tensor:
    """Return for each number in [0, 1) of `where` (N, M) the position of a pixel `inside` (N, P)."""
    inside = inside | ~inside.any(dim=1, keepdim=True)
    counts = inside.cumsum(dim=1)
    wanted = (where * counts[:, -1:]).long() + 1
    return torch.searchsorted(counts, wanted.clamp(max=counts[:, -1:]))
