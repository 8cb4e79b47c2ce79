"""Mask generator ``warp``: real masks, warped and recombined.

The honest baseline for every learned prior: whatever a GAN draws should be worth more than this. It stores the
training masks themselves, and so does every model that is saved with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.mask_priors.regions import Map, Nucleus, dihedral, fits, nuclei_of, place, place_spread, remove

__all__ = ["WarpedMasks"]

_EXCHANGED, _MOVED = 0.3, 0.5  # share of the nuclei that lie clear of the border
_SIMILAR_AREA = 2.0
_TRIES = 4
_STEP = 0.15  # standard deviation of a move, as a share of the spread of the nuclei over the image
_SHIFT = 0.05  # and of the whole map
_TURN_DEGREES, _SCALE = 10.0, 0.03
_ELASTIC, _ELASTIC_CELLS = 0.008, 6  # standard deviation in sides of the image; nodes of the grid along a side


class WarpedMasks:
    """Draw a real mask of the class, exchange and move some of its nuclei, and warp what results.

    Some nuclei, with the stained rim around them, are exchanged for nuclei of similar size from other masks of the
    class, others are moved, never onto another nucleus. Then the map is turned or flipped, and stretched by a small
    affine map and a smooth random displacement, all levels alike.

    It stores and saves the real masks: a model with this generator gives away the masks (not the images) of its
    training set, and its samples keep the arrangement of a real mask.

    Parameters
    ----------
    levels : L.
    """

    def __init__(self, *, levels: int) -> None:
        self._levels = levels
        self._masks = np.zeros((0, 1, 1), np.uint8)
        self._labels = np.zeros(0, np.int64)
        # What a mask holds is found once, not for every draw.
        self._nuclei: dict[int, list[Nucleus]] = {}
        self._spreads: dict[int | None, float] = {}

    def fit(self, masks: NDArray[np.uint8], labels: NDArray[np.int64] | None = None, seed: int = 0) -> None:
        """Keep masks (N, S, S) and their class indices (N,)."""
        self._masks = np.array(masks, dtype=np.uint8)
        self._labels = np.zeros(len(masks), np.int64) if labels is None else np.array(labels, dtype=np.int64)
        self._nuclei.clear()
        self._spreads.clear()

    def sample(self, n: int, label: int | None = None, seed: int = 0) -> NDArray[np.uint8]:
        """Draw maps (n, S, S) of one class, or of all; each is a function of `seed` and its position."""
        members = np.flatnonzero(self._labels == label) if label is not None else np.arange(len(self._masks))
        if label not in self._spreads:
            self._spreads[label] = place_spread(self._masks[members], self._levels)
        spread = self._spreads[label]
        drawn = [self._draw(members, spread, rng.numpy_generator(seed, "warp", index)) for index in range(n)]
        return np.stack(drawn) if drawn else np.zeros((0, *self._masks.shape[1:]), np.uint8)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the masks and their class indices."""
        return {"masks": torch.from_numpy(self._masks), "labels": torch.from_numpy(self._labels)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the masks that `state_dict` returned."""
        self.fit(state["masks"].cpu().numpy(), state["labels"].cpu().numpy())

    def _draw(self, members: NDArray[np.int64], spread: float, generator: np.random.Generator) -> Map:
        chosen = int(generator.choice(members))
        levels_map = self._masks[chosen]
        for nucleus in self._nuclei_of(chosen):
            fate = generator.random()
            if not nucleus.inside or fate >= _EXCHANGED + _MOVED:
                continue
            other = self._donor(members, nucleus, generator) if fate < _EXCHANGED else nucleus
            if other is not None:
                levels_map = _put(levels_map, nucleus, other, self._levels, spread, generator)
        levels_map = dihedral(levels_map, int(generator.integers(8)))
        return _warped(levels_map, self._levels, spread, generator)

    def _nuclei_of(self, mask: int) -> list[Nucleus]:
        if mask not in self._nuclei:
            self._nuclei[mask] = nuclei_of(self._masks[mask], self._levels)
        return self._nuclei[mask]

    def _donor(self, members: NDArray[np.int64], like: Nucleus, generator: np.random.Generator) -> Nucleus | None:
        """Return a nucleus of similar size from another mask, turned, where `like` lies; None if there is none."""
        donors = self._nuclei_of(int(generator.choice(members)))
        similar = [
            donor
            for donor in donors
            if donor.inside and 1 / _SIMILAR_AREA <= donor.area_px / like.area_px <= _SIMILAR_AREA
        ]
        if not similar:
            return None
        donor = similar[int(generator.integers(len(similar)))].turned(int(generator.integers(8)))
        rows, columns = np.rint(like.centre - donor.centre).astype(int)
        return donor.moved(int(rows), int(columns))


def _put(
    levels_map: Map, old: Nucleus, new: Nucleus, levels: int, spread: float, generator: np.random.Generator
) -> Map:
    """Return the map with `new` near the place of `old`, or as it is when there is no room."""
    without = remove(levels_map, old, levels)
    for _ in range(_TRIES):
        rows, columns = np.rint(generator.normal(0, _STEP * spread * len(levels_map), 2)).astype(int)
        moved = new.moved(int(rows), int(columns))
        if fits(without, moved, levels):
            return place(without, moved)
    return levels_map


def _warped(levels_map: Map, levels: int, spread: float, generator: np.random.Generator) -> Map:
    """Stretch a map by a small affine map and a smooth displacement; its shares move, so that outlines stay smooth."""
    side = len(levels_map)
    turn = np.deg2rad(generator.normal(0, _TURN_DEGREES))
    stretch = np.exp(generator.normal(0, _SCALE) + generator.normal(0, _SCALE / 2, 2) * (1, -1))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    places = np.stack(np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 2, indexing="ij"), axis=-1)
    nodes = generator.normal(0, _ELASTIC * side, (_ELASTIC_CELLS, _ELASTIC_CELLS, 2))
    displacement = cv2.resize(nodes, (side, side), interpolation=cv2.INTER_CUBIC)
    shift = generator.normal(0, _SHIFT * spread * side, 2)
    places = (places @ (rotation * stretch).T + displacement + shift + (side - 1) / 2).astype(np.float32)
    planes = [(levels_map == level).astype(np.float32) for level in range(levels)]
    # What lies beyond the border repeats the border: a mirror would put new nuclei there.
    shares = [
        cv2.remap(plane, places[..., 1], places[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in planes
    ]
    return np.asarray(np.argmax(shares, axis=0), dtype=np.uint8)
