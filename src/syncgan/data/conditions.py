"""What a renderer is told besides the map: noise, class and stain, put together alike in training and in sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.stain import StainPrior
from syncgan.data.tensors import one_hot

__all__ = ["Conditions"]


@dataclass(frozen=True)
class Conditions:
    """Makes the keyword arguments that a generator takes after its maps.

    Attributes
    ----------
    levels : number L of levels of the maps.
    label : whether the generator is told the class.
    noise_shape : of one item's noise; empty for a generator that takes none.
    style_dim : length of a stain code; 0 for a generator that takes none.
    colours : whether it also takes the map painted in the colours of the code.
    stain : where codes are drawn from; None for a generator that takes none.
    """

    levels: int
    label: bool
    noise_shape: tuple[int, ...]
    style_dim: int
    colours: bool
    stain: StainPrior | None

    @classmethod
    def of(cls, generator: Any, *, levels: int, label: bool, stain: StainPrior | None) -> Conditions:
        """Read from a generator's attributes what it takes."""
        style_dim = int(getattr(generator, "style_dim", 0))
        return cls(
            levels,
            label,
            noise_shape=tuple(getattr(generator, "noise_shape", None) or ()),
            style_dim=style_dim,
            colours=bool(style_dim) and bool(getattr(generator, "from_colours", False)),
            stain=stain,
        )

    def of_batch(
        self, maps: Tensor, classes: Tensor, codes: Tensor | None, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return what is told of a batch in training, with the stain that its images have.

        Parameters
        ----------
        maps, classes : (n, S, S) uint8 and (n,) int64.
        codes : (n, D) stain codes of the images, or None.
        generator : of the noise, on the CPU.
        """
        conditions = self._class(classes)
        if self.noise_shape:
            conditions["noise"] = torch.randn((len(maps), *self.noise_shape), generator=generator).to(maps.device)
        return conditions if codes is None else conditions | self._stain(codes, maps)

    def of_seeds(self, maps: Tensor, classes: Tensor, seeds: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Return what is told of new images, each with noise and stain of its own two seeds.

        Parameters
        ----------
        maps, classes : (n, S, S) uint8 and (n,) int64.
        seeds : n pairs, of noise and stain.
        """
        conditions = self._class(classes)
        if self.noise_shape:
            rows = [
                torch.randn(self.noise_shape, generator=rng.torch_generator(own, "render noise")) for own, _ in seeds
            ]
            conditions["noise"] = rng.moved(torch.stack(rows), maps.device)
        if self.stain is not None:
            codes = self.stain.sample([own for _, own in seeds], classes if self.label else None)
            conditions |= self._stain(rng.moved(codes, maps.device), maps)
        return conditions

    def zeros(self, count: int, size: int) -> dict[str, Tensor]:
        """Return conditions of `count` maps of side `size` that only have the right shapes."""
        conditions = self._class(torch.zeros(count, dtype=torch.int64))
        if self.noise_shape:
            conditions["noise"] = torch.zeros((count, *self.noise_shape))
        if self.style_dim:
            conditions["style"] = torch.zeros((count, self.style_dim))
        if self.colours:
            conditions["colours"] = torch.zeros((count, 3, size, size))
        return conditions

    def _class(self, classes: Tensor) -> dict[str, Tensor]:
        return {"label": classes} if self.label else {}

    def _stain(self, codes: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Return the codes, and the maps in their colours where the generator takes them."""
        if self.stain is None or not self.colours:
            return {"style": codes}
        return {"style": codes, "colours": self.stain.paint(codes, one_hot(maps, self.levels))}
