"""Symmetries of the microscope slide: drawn once per item, applied alike to mask and image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dihedral", "draw_dihedral"]


def draw_dihedral(count: int, generator: torch.Generator) -> Tensor:
    """Draw one of the 8 flips and quarter turns per item: (count,) int64 on the CPU."""
    return torch.randint(8, (count,), generator=generator)


def dihedral(x: Tensor, elements: Tensor) -> Tensor:
    """Apply symmetry `elements` (N,) to `x` (N, ..., S, S): ``e % 4`` quarter turns, then a flip if ``e >= 4``."""
    turned = [torch.rot90(item, int(element) % 4, (-2, -1)) for item, element in zip(x, elements, strict=True)]
    return torch.stack(
        [item.flip(-1) if element >= 4 else item for item, element in zip(turned, elements, strict=True)]
    )
