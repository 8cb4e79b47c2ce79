"""What the priors that keep the real masks themselves have in common: they store them, and draw one map at a time."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.mask_priors.regions import Map, Nucleus, nuclei_of, place_spread, remove

__all__ = ["StoredMasks", "warped"]

_SHIFT = 0.05  # standard deviation of a shift of the whole map, as a share of the spread of the nuclei over the image
_TURN_DEGREES, _SCALE = 10.0, 0.03
_ELASTIC, _ELASTIC_CELLS = 0.008, 6  # standard deviation in sides of the image; nodes of the grid along a side


class StoredMasks(ABC):
    """A mask generator that draws from the real masks.

    It stores and saves them: a model with such a generator gives away the masks (not the pixels) of its training set.

    Parameters
    ----------
    levels, nuclear_levels : number of levels, of which the last so many are nucleus.
    """

    address: str
    """Of the randomness."""

    learns_all_classes = True
    """One is fitted on all classes with their labels, so that what it finds in the set is the same for all of them."""

    def __init__(self, *, levels: int, nuclear_levels: int = 1) -> None:
        self._levels = levels - nuclear_levels + 1  # L, as if nuclei had one
        self._masks = np.zeros((0, 1, 1), np.uint8)
        self._labels = np.zeros(0, np.int64)
        # What a mask holds is found once, not for every draw.
        self._nuclei: dict[int, list[Nucleus]] = {}
        self._whole: dict[int, list[Nucleus]] = {}
        self._subjects: dict[int, Nucleus | None] = {}
        self._bare: dict[int, Map] = {}
        self._objects: dict[int, NDArray[np.int32]] = {}
        self._spreads: dict[int | None, float] = {}

    def fit(self, masks: NDArray[np.uint8], labels: NDArray[np.int64] | None = None, seed: int = 0) -> None:
        """Keep masks (N, S, S) and their class indices (N,)."""
        self._masks = np.array(masks, dtype=np.uint8)
        self._labels = np.zeros(len(masks), np.int64) if labels is None else np.array(labels, dtype=np.int64)
        self._nuclei.clear()
        self._whole.clear()
        self._subjects.clear()
        self._bare.clear()
        self._objects.clear()
        self._spreads.clear()
        for derived in ("_empty", "_is_about_the_middle", "_shows_single_cells"):
            vars(self).pop(derived, None)

    def sample(self, n: int, label: int | None = None, seed: int = 0) -> NDArray[np.uint8]:
        """Draw maps (n, S, S) of one class, or of all; each is a function of `seed` and its position."""
        members = np.flatnonzero(self._labels == label) if label is not None else np.arange(len(self._masks))
        if label not in self._spreads:
            self._spreads[label] = place_spread(self._masks[members], self._levels)
        spread = self._spreads[label]
        drawn = [self._draw(members, spread, rng.numpy_generator(seed, self.address, index)) for index in range(n)]
        return np.stack(drawn) if drawn else np.zeros((0, *self._masks.shape[1:]), np.uint8)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the masks and their class indices."""
        return {"masks": torch.from_numpy(self._masks), "labels": torch.from_numpy(self._labels)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the masks that `state_dict` returned."""
        self.fit(state["masks"].cpu().numpy(), state["labels"].cpu().numpy())

    @abstractmethod
    def _draw(self, members: NDArray[np.int64], spread: float, generator: np.random.Generator) -> Map:
        """Draw one map from the masks at `members`, whose nuclei spread over so much of the image."""

    def _nuclei_of(self, mask: int) -> list[Nucleus]:
        if mask not in self._nuclei:
            self._nuclei[mask] = self._cut(self._masks[mask])
        return self._nuclei[mask]

    def _cut(self, levels_map: Map) -> list[Nucleus]:
        """Return the nuclei of a map, each with what goes with it."""
        return nuclei_of(levels_map, self._levels)

    @functools.cached_property
    def _empty(self) -> int:
        """The commonest level outside of nuclei: that of the background."""
        counts = np.bincount(self._masks.ravel(), minlength=self._levels)
        return int(counts[: self._levels - 1].argmax())

    def _without_nuclei(self, mask: int) -> Map:
        if mask not in self._bare:
            bare = self._masks[mask]
            for nucleus in self._nuclei_of(mask):
                bare = remove(bare, nucleus, self._levels)
            self._bare[mask] = bare
        return self._bare[mask]


def warped(levels_map: Map, spread: float, generator: np.random.Generator) -> Map:
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
    planes = [(levels_map == level).astype(np.float32) for level in range(int(levels_map.max()) + 1)]
    # What lies beyond the border repeats the border: a mirror would put new nuclei there.
    shares = [
        cv2.remap(plane, places[..., 1], places[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in planes
    ]
    return np.asarray(np.argmax(shares, axis=0), dtype=np.uint8)
