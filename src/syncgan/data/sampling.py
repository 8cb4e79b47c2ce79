"""Noise -> mask of the class -> mask filter -> image (Sec. 3.5, Eq. 7), item by item addressed by a seed.

The networks come in as arguments: anything that draws maps and anything that renders them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.plausibility import MaskRange

__all__ = ["ClassSampler"]

_USER = 6  # stack level of the line that called the augmenter's method


class MaskSource(Protocol):
    """Draws one (S, S) uint8 map per seed."""

    def draw(self, item_seeds: Sequence[int]) -> Tensor:
        """Return (n, S, S) uint8."""


class Renderer(Protocol):
    """Renders one (3, S, S) uint8 image per map, class index and seed."""

    def render(self, maps: Tensor, classes: Tensor, item_seeds: Sequence[int]) -> Tensor:
        """Return (n, 3, S, S) uint8."""


@dataclass(frozen=True)
class ClassSampler:
    """Renders samples of classes; what an item becomes depends on its class and seed alone.

    Attributes
    ----------
    classes : class names.
    mask_sources, mask_ranges : one a class, aligned; without ranges no mask is refused.
    renderer : one for all classes.
    levels, size : L and S.
    max_attempts : draws for one item until its mask passes.
    device : where results are.
    """

    classes: Sequence[str]
    mask_sources: Sequence[MaskSource]
    mask_ranges: Sequence[MaskRange] | None
    renderer: Renderer
    levels: int
    size: int
    max_attempts: int
    device: torch.device

    def item_seeds(self, index: int, seed: int, first: int, count: int) -> list[int]:
        """Return the seeds of items `first` to ``first + count`` of class `index`."""
        return [rng.seed_for(seed, "sample", self.classes[index], item) for item in range(first, first + count)]

    def render(self, class_indices: Sequence[int], item_seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Render one item per class index and seed.

        Returns
        -------
        images, maps : (n, 3, S, S) and (n, S, S) uint8.
        """
        maps = torch.zeros((len(item_seeds), self.size, self.size), dtype=torch.uint8, device=self.device)
        if not item_seeds:
            return maps[:, None].expand(-1, 3, -1, -1), maps
        for index in sorted(set(class_indices)):
            positions = [position for position, own in enumerate(class_indices) if own == index]
            maps[positions] = self._plausible_maps(index, [item_seeds[position] for position in positions])
        classes = torch.tensor(list(class_indices), dtype=torch.int64)
        return self.renderer.render(maps, classes, item_seeds), maps

    def arrays(
        self, index: int, seed: int, first: int, count: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Render items `first` to ``first + count`` of one class as arrays (n, 3, S, S) and (n, S, S) uint8."""
        images, maps = self.render([index] * count, self.item_seeds(index, seed, first, count))
        return images.cpu().numpy(), maps.cpu().numpy()

    def _plausible_maps(self, index: int, item_seeds: Sequence[int]) -> Tensor:
        """Draw maps of one class; those that the filter refuses are drawn again under the item's next seed."""
        source = self.mask_sources[index]
        maps = source.draw(item_seeds)
        refused = self._refused(index, maps)
        for attempt in range(1, self.max_attempts):
            if not refused:
                return maps
            again = source.draw([rng.seed_for(item_seeds[position], "attempt", attempt) for position in refused])
            maps[refused] = again
            refused = [refused[position] for position in self._refused(index, again)]
        if refused:
            warnings.warn(
                f"class {self.classes[index]!r}: {len(refused)} of {len(item_seeds)} masks stayed implausible after "
                f"{self.max_attempts} draws and were kept; train the mask GAN for longer (mask_gan.steps)",
                stacklevel=_USER,
            )
        return maps

    def _refused(self, index: int, maps: Tensor) -> list[int]:
        if self.mask_ranges is None:
            return []
        admitted = self.mask_ranges[index].admits(maps, self.levels)
        refused: list[int] = torch.nonzero(~admitted).flatten().tolist()
        return refused
