"""Mask generator ``shapes``: nuclei drawn from statistics of their number, size, outline, place and surroundings.

No network and no real outline: what it draws says how far simple statistics carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.mask_priors.outlines import OutlineModel, canonical_axes, distance_map, draw_outline
from syncgan.data.mask_priors.regions import place_spread
from syncgan.data.mask_priors.surroundings import StainModel

__all__ = ["ShapeSampler"]

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

_COUNT_BANDWIDTH = 0.1  # of the number of nuclei, relative
_SIMILAR_COUNT = 0.25  # how near the logarithm of a mask's count must be for it to lend sizes and stain
_PLACE_BANDWIDTH = 0.2  # as a share of the spread of the nuclei over the image
_TRIES = 24
_KINDS = ("whole", "cut")


@dataclass(frozen=True)
class ClassStatistics:
    """What is known of the masks of one class.

    Attributes
    ----------
    counts : (N,) nuclei of each mask.
    nuclei : (M, 9), one row a nucleus: its mask, row and column of its centre in sides of the image, whether the top,
        bottom, left and right border cuts it, its position in the outline model of its kind, the side of that outline
        in pixels.
    axes : (M, 2, 2), see `canonical_axes`.
    outlines : kind (whole, or cut by the border) -> the model of those outlines, where there are any.
    spread : (1,), see `place_spread`.
    stain : of the levels between background and nucleus.
    """

    counts: Values
    nuclei: Values
    axes: Values
    outlines: dict[str, OutlineModel]
    spread: Values
    stain: StainModel

    @classmethod
    def of(cls, maps: NDArray[np.uint8], levels: int) -> ClassStatistics:
        """Measure maps (N, S, S)."""
        rows, axes, found = [], [], {kind: ([], []) for kind in _KINDS}  # type: ignore[var-annotated]
        counts = np.zeros(len(maps))
        for index, levels_map in enumerate(maps):
            for nucleus in _regions(levels_map == levels - 1):
                counts[index] += 1
                sides = np.array([edge.any() for edge in (nucleus[0], nucleus[-1], nucleus[:, 0], nucleus[:, -1])])
                side = np.sqrt(nucleus.sum())
                centre = (np.argwhere(nucleus).mean(axis=0) + 0.5) / len(levels_map)
                own = canonical_axes(nucleus, sides)
                maps_of_kind, log_sides = found[_KINDS[int(sides.any())]]
                rows.append([index, *centre, *sides, len(maps_of_kind), side])
                maps_of_kind.append(distance_map(nucleus, sides, own))
                log_sides.append(np.log(side))
                axes.append(own)
        models = {kind: OutlineModel.of(np.array(part), np.array(logs)) for kind, (part, logs) in found.items() if part}
        nuclei, every = np.array(rows).reshape(-1, 9), np.array(axes).reshape(-1, 2, 2)
        spread = np.array([place_spread(maps, levels)])
        return cls(counts, nuclei, every, models, spread, StainModel.of(maps, levels))

    def state(self) -> dict[str, Values]:
        """Return the arrays by dotted name."""
        parts = {f"outlines.{kind}": model.state() for kind, model in self.outlines.items()}
        parts["stain"] = self.stain.state()
        nested = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
        return {"counts": self.counts, "nuclei": self.nuclei, "axes": self.axes, "spread": self.spread, **nested}

    @classmethod
    def from_state(cls, state: Mapping[str, Values]) -> ClassStatistics:
        """Make the statistics from what `state` returned."""
        outlines = {
            kind: OutlineModel.from_state(part) for kind in _KINDS if (part := _part(state, f"outlines.{kind}"))
        }
        stain = StainModel.from_state(_part(state, "stain"))
        return cls(state["counts"], state["nuclei"], state["axes"], outlines, state["spread"], stain)


class ShapeSampler:
    """Draw masks from statistics of a class, without a network and without any real outline.

    The number of nuclei comes from the smoothed counts; the outline of each from a statistical shape model (principal
    components of signed distance maps), its area drawn with it; its place from a kernel density, under any of the 8
    symmetries, drawn again while it lies on another nucleus or, for a whole nucleus, on the border; what is stained
    around and between from its share by distance and a random field of the real grain.

    It saves statistics and shape codes. They are no masks, but the codes describe each training nucleus roughly.

    Parameters
    ----------
    levels : L.
    """

    def __init__(self, *, levels: int) -> None:
        self._levels = levels
        self._classes: list[ClassStatistics] = []

    def fit(self, masks: NDArray[np.uint8], labels: NDArray[np.int64] | None = None, seed: int = 0) -> None:
        """Measure masks (N, S, S) by class index (N,)."""
        told = np.zeros(len(masks), np.int64) if labels is None else np.asarray(labels)
        self._classes = [ClassStatistics.of(masks[told == index], self._levels) for index in range(int(told.max()) + 1)]

    def sample(self, n: int, label: int | None = None, seed: int = 0) -> NDArray[np.uint8]:
        """Draw maps (n, S, S) of one class, or of all in turn; each is a function of `seed` and its position."""
        size = len(self._classes[0].stain.amplitudes)
        drawn = np.zeros((n, size, size), np.uint8)
        for index in range(n):
            own = self._classes[index % len(self._classes) if label is None else label]
            drawn[index] = _draw(own, self._levels, size, rng.numpy_generator(seed, "shapes", index))
        return drawn

    def state_dict(self) -> dict[str, Tensor]:
        """Return the statistics of every class."""
        return {
            f"{index}.{name}": torch.from_numpy(np.ascontiguousarray(value))
            for index, own in enumerate(self._classes)
            for name, value in own.state().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the statistics that `state_dict` returned."""
        arrays = {name: value.cpu().numpy() for name, value in state.items()}
        count = 1 + max(int(name.partition(".")[0]) for name in arrays)
        self._classes = [ClassStatistics.from_state(_part(arrays, str(index))) for index in range(count)]


def _draw(own: ClassStatistics, levels: int, size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    count = float(generator.choice(own.counts))
    count = max(0, round(count * (1 + _COUNT_BANDWIDTH * generator.standard_normal()))) if count else 0
    nearness = np.exp(-0.5 * ((np.log1p(own.counts) - np.log1p(count)) / _SIMILAR_COUNT) ** 2) + 1e-9
    nucleus = np.zeros((size, size), bool)
    if count and len(own.nuclei):
        weights = nearness[own.nuclei[:, 0].astype(int)]
        drawn = [
            _outline(own, int(base), generator) for base in generator.choice(len(weights), count, p=_normal(weights))
        ]
        # The largest first, while there is room for it.
        for base, outline, side in sorted(drawn, key=lambda item: -item[2]):
            nucleus |= _placed(own, base, outline, side, nucleus, generator)
    lender = int(generator.choice(len(nearness), p=_normal(nearness)))
    return own.stain.draw(nucleus, lender, levels, generator)


def _outline(own: ClassStatistics, base: int, generator: np.random.Generator) -> tuple[int, Values, float]:
    row = own.nuclei[base]
    outline, log_side = own.outlines[_KINDS[int(row[3:7].any())]].draw(int(row[7]), generator)
    return base, outline, float(np.exp(log_side))


def _placed(
    own: ClassStatistics, base: int, outline: Values, side: float, taken: Mask, generator: np.random.Generator
) -> Mask:
    """Return a mask of one nucleus where there is room for it, empty when no place was found."""
    size = len(taken)
    kept_clear = cv2.dilate(taken.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    cut = bool(own.nuclei[base, 3:7].any())
    # Where others of the kind lie; later tries look further away.
    same = np.flatnonzero(own.nuclei[:, 3:7].any(axis=1) == cut)
    for attempt in range(_TRIES):
        like = base if attempt < _TRIES // 3 else int(generator.choice(same))
        centre, axes = _pose(own.nuclei[like], own.axes[like], side, float(own.spread[0]), generator)
        nucleus = draw_outline(outline, side, centre * size - 0.5, axes, size)
        on_border = _edge(nucleus)
        if nucleus.any() and on_border == cut and not (nucleus & kept_clear).any():
            return nucleus
    return np.zeros((size, size), bool)


def _pose(
    row: Values, axes: Values, side: float, spread: float, generator: np.random.Generator
) -> tuple[Values, Values]:
    """Draw centre (row, column) in sides of the image, and axes, near those of a training nucleus.

    A nucleus that the border cuts keeps its distance from that border in units of its size, so that it stays cut.
    """
    centre, cut = row[1:3].copy(), row[3:7].reshape(2, 2).astype(bool)
    jitter = _PLACE_BANDWIDTH * spread * generator.standard_normal(2)
    ratio = side / row[8]
    for axis in range(2):
        first, last = cut[axis]
        if first and not last:
            centre[axis] *= ratio
        elif last and not first:
            centre[axis] = 1 - (1 - centre[axis]) * ratio
        elif not first:
            centre[axis] += jitter[axis]
    symmetry = _symmetry(int(generator.integers(8)))
    if not cut.any():
        angle = generator.uniform(0, 2 * np.pi)
        axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return 0.5 + symmetry @ (centre - 0.5), symmetry @ axes


def _symmetry(index: int) -> Values:
    quarter = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), index % 4)
    return np.asarray(quarter @ np.diag([1.0, -1.0 if index >= 4 else 1.0]))


def _edge(nucleus: Mask) -> bool:
    return bool(nucleus[[0, -1]].any() or nucleus[:, [0, -1]].any())


def _normal(weights: Values) -> Values:
    return np.asarray(weights / weights.sum())


def _regions(nuclear: Mask) -> list[Mask]:
    count, labels = cv2.connectedComponents(nuclear.astype(np.uint8), connectivity=8)
    return [labels == number for number in range(1, count)]


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}."): value for name, value in arrays.items() if name.startswith(f"{prefix}.")}
