"""Compare textures level by level: patches of nuclei with patches of nuclei, cytoplasm with cytoplasm.

What a mask does not foretell (where a granule lies) must not be averaged away, and what it does (that nuclei are
grainy and plasma is smooth) must be learned from few images. Comparing the distributions of patches within each level
of the map, at several scales, says just that.
"""

from __future__ import annotations

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
    directions : (K, 3, p, p), unit vectors.
    positions : for each scale (factor by which the image is shrunk) and level, (N, M) flat positions.
    """

    directions: Tensor
    positions: tuple[tuple[int, Tensor], ...]


def draw_patches(maps: Tensor, levels: int, generator: torch.Generator) -> PatchDraw:
    """Draw directions, and positions within each level of each map; a level that a map lacks stands for all of it.

    Parameters
    ----------
    maps : (N, S, S) uint8, values 0 .. L-1.
    levels : L.
    generator : of the CPU.
    """
    directions = torch.randn((_DIRECTIONS, 3, _PATCH_PX, _PATCH_PX), generator=generator)
    directions = directions / directions.flatten(1).norm(dim=1)[:, None, None, None]
    positions = []
    for scale in _SCALES:
        flat = maps[:, scale // 2 :: scale, scale // 2 :: scale].flatten(1)
        for level in range(levels):
            where = torch.rand((len(maps), _PATCHES), generator=generator).to(maps.device)
            positions.append((scale, _positions(flat == level, where)))
    return PatchDraw(directions.to(maps.device), tuple(positions))


def texture_distance(rendered: Tensor, real: Tensor, draw: PatchDraw) -> Tensor:
    """Return the patch distribution distance, averaged over scales and levels.

    Parameters
    ----------
    rendered, real : (N, 3, S, S) float in [-1, 1].
    """
    terms = []
    shrunk = {scale: (F.avg_pool2d(rendered, scale), F.avg_pool2d(real, scale)) for scale in _SCALES}
    for scale, positions in draw.positions:
        terms.append(patch_distribution_distance(*shrunk[scale], draw.directions, positions))
    return torch.stack(terms).mean()


def _positions(inside: Tensor, where: Tensor) -> Tensor:
    """Return for each number in [0, 1) of `where` (N, M) the position of a pixel `inside` (N, P)."""
    inside = inside | ~inside.any(dim=1, keepdim=True)
    counts = inside.cumsum(dim=1)
    wanted = (where * counts[:, -1:]).long() + 1
    return torch.searchsorted(counts, wanted.clamp(max=counts[:, -1:]))
