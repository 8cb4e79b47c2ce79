"""Noise -> mask of the class -> mask filter -> image (Sec. 3.5, Eq. 7), item by item addressed by a seed.

The networks come in as arguments: anything that draws maps and anything that renders them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.plausibility import MaskRange
from syncgan.errors import ContractError

__all__ = ["ClassSampler", "Rendered"]

_USER = 7  # stack level of the line that called the augmenter's method


SampleFilter = Callable[[Tensor, Tensor, int], Tensor]


MaskSource = Callable[[Sequence[int]], Tensor]
"""``n seeds -> (n, S, S) uint8 maps`` of one class."""


class Renderer(Protocol):
    """Renders one (3, S, S) uint8 image per map, class index and seed."""

    def render(self, maps: Tensor, classes: Tensor, item_seeds: Sequence[int]) -> Tensor:
        """Return (n, 3, S, S) uint8."""


@dataclass(frozen=True)
class Rendered:
    """Samples as they come from the renderer.

    Attributes
    ----------
    images, maps : (n, 3, S, S) and (n, S, S) uint8.
    scores : name -> (n,) numbers that the sample filters gave the samples.
    """

    images: Tensor
    maps: Tensor
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Return images, maps and scores as NumPy arrays."""
        scores = {name: values.cpu().numpy() for name, values in self.scores.items()}
        return self.images.cpu().numpy(), self.maps.cpu().numpy(), scores


@dataclass(frozen=True)
class ClassSampler:
    """Renders samples of classes; what an item becomes depends on its class and seed alone.

    Attributes
    ----------
    classes : class names.
    mask_sources, mask_ranges : one a class, aligned; without ranges no mask is refused.
    renderer : one for all classes.
    levels, size : L and S.
    max_attempts : draws for one item until it passes.
    sample_filters : name -> ``(images, masks, levels) -> (n,) bool``, True for the samples to keep.
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
    sample_filters: Mapping[str, SampleFilter]

    def item_seeds(self, index: int, seed: int, items: Iterable[int]) -> list[int]:
        """Return the seeds of the items of class `index` with these numbers."""
        return [rng.seed_for(seed, "sample", self.classes[index], item) for item in items]

    def render(self, class_indices: Sequence[int], item_seeds: Sequence[int]) -> Rendered:
        """Render one item per class index and seed."""
        images, maps = self._draw(class_indices, item_seeds)
        refused = self._refused_samples(images, maps)
        for attempt in range(1, self.max_attempts):
            if not refused:
                return Rendered(images, maps)
            seeds = [rng.seed_for(item_seeds[position], "sample attempt", attempt) for position in refused]
            images[refused], maps[refused] = self._draw([class_indices[position] for position in refused], seeds)
            still = self._refused_samples(images[refused], maps[refused])
            refused = [refused[position] for position in still]
        if refused:
            _warn_of_kept(
                self.classes[class_indices[refused[0]]], "samples", len(refused), len(images), self.max_attempts
            )
        return Rendered(images, maps)

    def items(self, index: int, seed: int, items: Sequence[int]) -> Rendered:
        """Render the items of class `index` with these numbers."""
        return self.render([index] * len(items), self.item_seeds(index, seed, items))

    def _draw(self, class_indices: Sequence[int], item_seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        maps = torch.zeros((len(item_seeds), self.size, self.size), dtype=torch.uint8, device=self.device)
        if not item_seeds:
            return maps[:, None].expand(-1, 3, -1, -1), maps
        for index in sorted(set(class_indices)):
            positions = [position for position, own in enumerate(class_indices) if own == index]
            maps[positions] = self.maps(index, [item_seeds[position] for position in positions])
        classes = torch.tensor(list(class_indices), dtype=torch.int64)
        return self.renderer.render(maps, classes, item_seeds), maps

    def maps(self, index: int, item_seeds: Sequence[int]) -> Tensor:
        """Draw maps (n, S, S) of one class.

        Those that the mask filter refuses are drawn again under the item's next seed.
        """
        if not item_seeds:
            return torch.zeros((0, self.size, self.size), dtype=torch.uint8, device=self.device)
        maps = self._tidy(index, self.mask_sources[index](item_seeds))
        refused = self._refused_maps(index, maps)
        for attempt in range(1, self.max_attempts):
            if not refused:
                return maps
            seeds = [rng.seed_for(item_seeds[position], "attempt", attempt) for position in refused]
            again = self._tidy(index, self.mask_sources[index](seeds))
            maps[refused] = again
            refused = [refused[position] for position in self._refused_maps(index, again)]
        if refused:
            _warn_of_kept(self.classes[index], "masks", len(refused), len(maps), self.max_attempts)
        return maps

    def _tidy(self, index: int, maps: Tensor) -> Tensor:
        return maps if self.mask_ranges is None else self.mask_ranges[index].without_specks(maps, self.levels)

    def _refused_maps(self, index: int, maps: Tensor) -> list[int]:
        if self.mask_ranges is None:
            return []
        return _positions(~self.mask_ranges[index].admits(maps, self.levels))

    def _refused_samples(self, images: Tensor, maps: Tensor) -> list[int]:
        refused = torch.zeros(len(images), dtype=torch.bool)
        if not len(images):
            return []
        for name, sample_filter in self.sample_filters.items():
            kept = sample_filter(images, maps, self.levels)
            if not isinstance(kept, Tensor) or kept.shape != refused.shape or kept.dtype != torch.bool:
                shown = f"{kept.dtype} {tuple(kept.shape)}" if isinstance(kept, Tensor) else type(kept).__name__
                raise ContractError(f"sample filter {name!r}: expected a bool tensor ({len(images)},), got {shown}")
            refused |= ~kept.cpu()
        return _positions(refused)


def _positions(flags: Tensor) -> list[int]:
    positions: list[int] = torch.nonzero(flags).flatten().tolist()
    return positions


def _warn_of_kept(name: str, what: str, kept: int, of: int, attempts: int) -> None:
    warnings.warn(
        f"class {name!r}: {kept} of {of} {what} were still refused after {attempts} draws and are kept as they are; "
        "train for longer (mask_gan.steps), or loosen the filters",
        stacklevel=_USER,
    )
