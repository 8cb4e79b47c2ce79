"""Nearest neighbours of images among others under the 8 flips and quarter turns, in several spaces.

One search serves the audit and the sample filter ``not_a_copy``. A space says what is kept of an image and how two of
these are compared. A chunk of queries is compared with all known images at once, so memory grows with the number of
known images only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan.arrays import Floats32
from syncgan.errors import DataError
from syncgan.evaluation.features import Features
from syncgan.evaluation.same_images import find_same, joined, print_of_pixels, structure_of
from syncgan.evaluation.utility import thumbnails, turns

__all__ = [
    "STRUCTURE",
    "Nearest",
    "Space",
    "euclidean",
    "feature_space",
    "image_sets",
    "nearest",
    "structures",
    "thumbnail_space",
]

Indices = NDArray[np.int64]

STRUCTURE: Final = "structure"
"""Name of the space whose distance is 1 minus a correlation."""

_TURNS = 8
_SHIFT_PX = 2
_CHUNK_NUMBERS = 2**22  # 16 MiB of distances at once
_IMAGES_AT_ONCE = 256
_FEWEST_SETS = 3  # with one left out, a nearest and a next one


@dataclass(frozen=True)
class Space:
    """Where images are compared.

    Attributes
    ----------
    name : in a word or two.
    meaning : what lies near to what, as a clause.
    points : uint8 images (N, 3, S, S) -> (N, D) float32.
    compare : (Q, D) and (K, D) -> (Q, K) distances.
    """

    name: str
    meaning: str
    points: Callable[[Tensor], Floats32]
    compare: Callable[[Floats32, Floats32], Floats32]

    def known(self, images: Tensor) -> Floats32:
        """Return the points of images under each of the flips and quarter turns, (8, N, D)."""
        return np.stack([self.points(turned) for turned in turns(images)])


@dataclass(frozen=True)
class Nearest:
    """The nearest known image of each query.

    Attributes
    ----------
    index : (Q,) which one.
    turn : (Q,) the flip or quarter turn under which it is nearest, as `syncgan.training.augmentation.dihedral` counts.
    distance : (Q,) how near.
    second : (Q,) distance to the nearest known image of another set than the first; infinite where there is none.
    """

    index: Indices
    turn: Indices
    distance: Floats32
    second: Floats32

    @property
    def ratio(self) -> Floats32:
        """Distance by `second`: 1 where no known image stands out, 0 for a copy."""
        comparable = (self.second > 0) & np.isfinite(self.second)
        return np.divide(self.distance, self.second, out=np.ones_like(self.distance), where=comparable)


def thumbnail_space() -> Space:
    """Compare colours and layout: Euclidean distance of 16 x 16 thumbnails."""
    return Space(
        "thumbnails",
        "colours and layout of 16 x 16 pixels",
        lambda images: np.asarray(thumbnails(images).flatten(1).numpy(), dtype=np.float32),
        euclidean,
    )


def structures() -> Space:
    """Compare edges and texture whatever the brightness, contrast and colour, shifted by up to 1/16 of the side.

    The distance is 1 minus the greatest correlation over the shifts; see `syncgan.evaluation.same_images`.
    """
    return Space(
        STRUCTURE,
        "edges and texture of 32 x 32 pixels in gray, whatever the brightness and shifted by up to 2 pixels",
        lambda images: np.stack([structure_of(np.ascontiguousarray(pixels)) for pixels in _rows(images)]),
        _structural,
    )


def feature_space(features: Features) -> Space:
    """Compare what a network or descriptor sees: Euclidean distance of its features."""

    def points(images: Tensor) -> Floats32:
        parts = [features(some) for some in torch.split(images, _IMAGES_AT_ONCE)]
        return np.asarray(np.concatenate(parts), dtype=np.float32)

    return Space("features", features.name, points, euclidean)


def euclidean(points: Floats32, known: Floats32) -> Floats32:
    """Return the distances of (Q, D) and (K, D) points, (Q, K); each is the same whatever the others are."""
    # A product of matrices would lose the small distances, on which everything hangs here.
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(points, known), dtype=np.float32)


def nearest(
    points: Floats32,
    known: Floats32,
    compare: Callable[[Floats32, Floats32], Floats32],
    sets: Indices,
    *,
    own: Indices | None = None,
) -> Nearest:
    """Return the nearest known image of each query, and how far the next one is.

    Parameters
    ----------
    points : (Q, D), the queries.
    known : (8, N, D), of `Space.known`.
    compare : of the space.
    sets : (N,) names of the sets that known images belong to: copies of each other (see `image_sets`), or a patient.
    own : (Q,) set of each query that is itself among the known images; it is left out. None leaves nothing out.

    Raises
    ------
    DataError
        No known images, or none of another set.
    """
    count, members = known.shape[1], np.unique(sets)
    if len(members) < (1 if own is None else 2):
        raise DataError(f"expected images of other sets to compare with, got {len(members)} in all; give more")
    order = np.argsort(sets, kind="stable")
    starts = np.searchsorted(sets[order], members)
    flat = known.reshape(-1, known.shape[-1])
    rows = max(1, _CHUNK_NUMBERS // len(flat))
    parts = []
    for start in range(0, len(points), rows):
        chunk = slice(start, start + rows)
        turned = compare(points[chunk], flat).reshape(-1, _TURNS, count)
        least = turned.min(axis=1)
        if own is not None:
            least[sets[None] == own[chunk, None]] = np.inf
        found = least.argmin(axis=1)
        of_set = np.minimum.reduceat(least[:, order], starts, axis=1)
        nowhere = np.full((len(of_set), 1), np.inf, np.float32)
        two = np.partition(np.concatenate([of_set, nowhere], axis=1), 1, axis=1)[:, :2]
        turn = turned[np.arange(len(found)), :, found].argmin(axis=1)
        parts.append((found, turn, two[:, 0], two[:, 1]))
    if not parts:
        none, far = np.empty(0, np.int64), np.empty(0, np.float32)
        return Nearest(none, none, far, far)
    index, turns_, distance, second = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Nearest(index, turns_, distance, second)


def image_sets(images: Tensor) -> Indices:
    """Return (N,) names of sets of uint8 images (N, 3, S, S) that are one image, by the rule of ``syncgan doctor``."""
    prints = [print_of_pixels(np.ascontiguousarray(pixels)) for pixels in _rows(images)]
    # Sets may overlap, as the frames of a film do; what hangs together is one.
    sets = joined(np.arange(len(prints)), [same.members for same in find_same(prints)])
    # Where nearly all images are one, none stands out, and the control of the audit will tell.
    return sets if len(np.unique(sets)) >= _FEWEST_SETS else np.arange(len(prints))


def _rows(images: Tensor) -> Sequence[NDArray[np.uint8]]:
    """Return images as (H, W, 3) arrays."""
    return list(images.cpu().numpy().transpose(0, 2, 3, 1))


def _structural(points: Floats32, known: Floats32) -> Floats32:
    side = round(points.shape[1] ** 0.5)
    room = np.pad(points.reshape(-1, side, side), ((0, 0), (_SHIFT_PX,) * 2, (_SHIFT_PX,) * 2))
    best = np.full((len(points), len(known)), -1, np.float32)
    for top in range(2 * _SHIFT_PX + 1):
        for left in range(2 * _SHIFT_PX + 1):
            moved = room[:, top : top + side, left : left + side].reshape(len(points), -1)
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            np.maximum(best, (moved / np.maximum(length, 1e-6)) @ known.T, out=best)
    return np.maximum(1 - best, 0)
