"""Noise -> mask of the class -> mask filter -> image (Sec. 3.5, Eq. 7), item by item addressed by a seed.

The networks come in as arguments: anything that draws maps and anything that renders them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.plausibility import MaskRange
from syncgan.data.rejections import Rejections, Tally
from syncgan.data.sample_filters import Filter, judge
from syncgan.errors import SamplingError, warn_user

__all__ = ["ClassSampler", "Rendered"]

_TELLING = 8  # so many masks, all refused each time, are no bad luck


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
    rejections : what was drawn and refused on the way; accounts of several calls add up.
    """

    images: Tensor
    maps: Tensor
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    rejections: Rejections = field(default_factory=Rejections)

    def __len__(self) -> int:
        return len(self.images)

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """Return images, maps and scores (to six decimals) as NumPy arrays."""
        scores = {name: values.cpu().numpy().round(6) for name, values in self.scores.items()}
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
    sample_filters : name -> filter, fitted where it learns; see `syncgan.data.sample_filters`.
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
    sample_filters: Mapping[str, Filter]

    def item_seeds(self, index: int, seed: int, items: Iterable[int]) -> list[int]:
        """Return the seeds of the items of class `index` with these numbers."""
        return [rng.seed_for(seed, "sample", self.classes[index], item) for item in items]

    def render(self, class_indices: Sequence[int], item_seeds: Sequence[int]) -> Rendered:
        """Render one item per class index and seed.

        Raises
        ------
        SamplingError
            The sample filters refuse an item `max_attempts` times.
        """
        tally = Tally()
        images, maps = self._draw(class_indices, item_seeds, tally)
        scores, refused = self._judge(images, maps, class_indices, tally)
        for attempt in range(1, self.max_attempts):
            if not refused:
                break
            classes = [class_indices[position] for position in refused]
            seeds = [rng.seed_for(item_seeds[position], "sample attempt", attempt) for position in refused]
            again, again_maps = self._draw(classes, seeds, tally)
            images[refused], maps[refused] = again, again_maps
            own, still = self._judge(again, again_maps, classes, tally)
            for name, values in own.items():
                scores[name][refused] = values
            refused = [refused[position] for position in still]
        if refused:
            names = [self.classes[class_indices[position]] for position in refused]
            raise SamplingError(_cannot_fill(names, len(images), self.max_attempts, tally.rejections()))
        return Rendered(images, maps, scores, tally.rejections())

    def items(self, index: int, seed: int, items: Sequence[int]) -> Rendered:
        """Render the items of class `index` with these numbers, in full precision whatever the caller computes in."""
        with torch.autocast(self.device.type, enabled=False):
            return self.render([index] * len(items), self.item_seeds(index, seed, items))

    def maps(self, index: int, item_seeds: Sequence[int]) -> Tensor:
        """Draw maps (n, S, S) of one class, as the renderer takes them: levels above L-1 are parts of nuclei.

        Those that the mask filter refuses are drawn again under the item's next seed.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self._maps(index, item_seeds, Tally())

    def _draw(self, class_indices: Sequence[int], item_seeds: Sequence[int], tally: Tally) -> tuple[Tensor, Tensor]:
        maps = torch.zeros((len(item_seeds), self.size, self.size), dtype=torch.uint8, device=self.device)
        if not item_seeds:
            return maps[:, None].expand(-1, 3, -1, -1), maps
        for index in sorted(set(class_indices)):
            positions = [position for position, own in enumerate(class_indices) if own == index]
            maps[positions] = self._maps(index, [item_seeds[position] for position in positions], tally)
        classes = torch.tensor(list(class_indices), dtype=torch.int64)
        # Whoever sees a map need not know into what its nuclei are divided.
        return self.renderer.render(maps, classes, item_seeds), maps.clamp(max=self.levels - 1)

    def _maps(self, index: int, item_seeds: Sequence[int], tally: Tally) -> Tensor:
        if not item_seeds:
            return torch.zeros((0, self.size, self.size), dtype=torch.uint8, device=self.device)
        maps = self._tidy(index, self.mask_sources[index](item_seeds))
        refused = self._refused_maps(index, maps, tally)
        for attempt in range(1, self.max_attempts):
            if not refused:
                return maps
            seeds = [rng.seed_for(item_seeds[position], "attempt", attempt) for position in refused]
            again = self._tidy(index, self.mask_sources[index](seeds))
            maps[refused] = again
            refused = [refused[position] for position in self._refused_maps(index, again, tally)]
        if len(refused) == len(maps) >= _TELLING:
            raise SamplingError(
                f"class {self.classes[index]!r}: the mask filter refused all {len(maps)} masks {self.max_attempts} "
                "times in a row; train for longer (mask_gan.steps), take another mask_gan.generator, or set "
                "filters.mask_plausibility=false"
            )
        if refused:
            _warn_of_kept(self.classes[index], len(refused), len(maps), self.max_attempts)
        return maps

    def _tidy(self, index: int, maps: Tensor) -> Tensor:
        return maps if self.mask_ranges is None else self.mask_ranges[index].without_specks(maps, self.levels)

    def _refused_maps(self, index: int, maps: Tensor, tally: Tally) -> list[int]:
        if self.mask_ranges is None:
            return []
        refused = _positions(~self.mask_ranges[index].admits(maps, self.levels))
        tally.masks(self.classes[index], drawn=len(maps), refused=len(refused))
        return refused

    def _judge(
        self, images: Tensor, maps: Tensor, class_indices: Sequence[int], tally: Tally
    ) -> tuple[dict[str, Tensor], list[int]]:
        """Return filter -> scores, and the positions of the samples that any filter refuses."""
        verdict = judge(self.sample_filters, images, maps, torch.tensor(list(class_indices)), self.levels)
        kept = verdict.kept(len(images))
        names = [self.classes[index] for index in class_indices]
        flags = {name: values.tolist() for name, values in verdict.refused.items()}
        tally.samples(names, refused=flags, kept=kept.tolist())
        return dict(verdict.scores), _positions(~kept)


def _positions(flags: Tensor) -> list[int]:
    positions: list[int] = torch.nonzero(flags).flatten().tolist()
    return positions


def _warn_of_kept(name: str, kept: int, of: int, attempts: int) -> None:
    warn_user(
        f"class {name!r}: {kept} of {of} masks were still refused after {attempts} draws and are kept as they are; "
        "train for longer (mask_gan.steps), or loosen the filters",
    )


def _cannot_fill(names: Sequence[str], of: int, attempts: int, rejections: Rejections) -> str:
    """Say which class cannot be filled, which filter is why, and what can be done."""
    name = names[0]
    account = rejections[name]
    shares = ", ".join(f"{filter_name} {rate:.0%}".replace("%", " %") for filter_name, rate in account.rates.items())
    more = f" (and of {', '.join(sorted(set(names[1:]) - {name}))})" if set(names) != {name} else ""
    return (
        f"class {name!r}{more}: {len(names)} of {of} samples were refused {attempts} times in a row; of "
        f"{account.drawn} drawn were refused by filter: {shares}. Loosen the parameters of that filter or leave it out "
        "(filters.parameters and filters.samples, or `use_filters` of a fitted model), draw more often "
        "(sampling.max_attempts), or train for longer"
    )
