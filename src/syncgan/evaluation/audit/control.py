"""The positive control: a generator that copies must be flagged, and honest held-out images must not be."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from syncgan import rng
from syncgan.evaluation.audit.judging import Yardstick, copies_among, flags, repeats
from syncgan.evaluation.audit.result import Control
from syncgan.evaluation.nearest_images import STRUCTURE, Nearest
from syncgan.evaluation.same_images import NEAR_COPY
from syncgan.training.augmentation import dihedral, draw_dihedral

__all__ = ["choose_copied", "jittered", "run_control"]

MOST_COPIES = 200

# One near copy flags samples. That the control finds one of its many does not show that copies are seen here.
_FEWEST_SEEN = 0.5

_SHIFT = 1 / 32
_BRIGHTNESS = 0.1
_JPEG_QUALITY = 75


def choose_copied(labels: NDArray[Any], training_labels: NDArray[Any], *, seed: int) -> NDArray[np.int64]:
    """Choose for up to 200 of the samples a training image of their class."""
    draws = rng.numpy_generator(seed, "audit", "control")
    chosen = draws.choice(len(labels), min(len(labels), MOST_COPIES), replace=False)
    return np.array([draws.choice(np.flatnonzero(training_labels == labels[at])) for at in sorted(chosen)])


def jittered(images: Tensor, *, seed: int) -> Tensor:
    """Copy uint8 images (N, 3, S, S) as a generator might: turned, shifted, brighter or darker, and recompressed."""
    draws = rng.numpy_generator(seed, "audit", "jitter")
    turned = dihedral(images.cpu(), draw_dihedral(len(images), rng.torch_generator(seed, "audit", "turn")))
    reach = max(1, round(_SHIFT * images.shape[-1]))
    copies = []
    for pixels in turned.numpy().transpose(0, 2, 3, 1):
        left, top = draws.integers(-reach, reach + 1, size=2)
        room: Any = cv2.copyMakeBorder(np.ascontiguousarray(pixels), *(reach,) * 4, cv2.BORDER_REFLECT)
        side = pixels.shape[0]
        moved = room[reach + top : reach + top + side, reach + left : reach + left + side]
        factor = 1 + draws.uniform(-_BRIGHTNESS, _BRIGHTNESS)
        copies.append(_recompressed(np.clip(np.round(moved * factor), 0, 255).astype(np.uint8)))
    return torch.from_numpy(np.stack(copies)).permute(0, 3, 1, 2).contiguous()


def run_control(
    copies: Mapping[str, Nearest],
    labels: NDArray[Any],
    held_out: Mapping[str, Nearest],
    yardsticks: Mapping[str, Yardstick],
    groups: Sequence[Any] | None,
    *,
    seed: int,
) -> Control:
    """Judge jittered copies, and one half of the held-out images by the other.

    Parameters
    ----------
    copies, labels : space -> nearest training images of the copies, and their labels.
    held_out, yardsticks : space -> the same of the held-out images, and what they are as a yardstick.
    groups : one a held-out image; the halves share none.
    """
    some = next(iter(yardsticks.values()))
    first, second = _halves(held_out[STRUCTURE], some.labels, groups, seed)
    honest = {space: _rows(own, first) for space, own in held_out.items()}
    others = {space: yardstick.take(second) for space, yardstick in yardsticks.items()}
    taken = {space: copies_among(own, labels, yardsticks[space]) for space, own in copies.items()}
    told = np.logical_or.reduce([*taken.values(), repeats(copies[STRUCTURE], yardsticks[STRUCTURE])])
    flagged = any(flags(dict(copies), labels, dict(yardsticks)).values())
    return Control(
        copies=len(labels),
        seen={space: float(own.mean()) for space, own in taken.items()},
        copies_flagged=flagged and bool(told.mean() >= _FEWEST_SEEN),
        honest=len(first),
        honest_flagged=bool(len(first)) and any(flags(honest, some.labels[first], others).values()),
    )


def _halves(
    found: Nearest, labels: NDArray[Any], groups: Sequence[Any] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the held-out images of every class in two, by group where groups are known.

    Near copies of training images are no honest images and are left out, as is what has no class on the other side.
    """
    draws = rng.numpy_generator(seed, "audit", "halves")
    chosen = np.zeros(len(labels), np.bool_)
    if groups is None:
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            chosen[draws.permutation(own)[: len(own) // 2]] = True
    else:
        names, of = np.unique(list(map(str, groups)), return_inverse=True)
        side = np.full(len(names), -1)
        for label in np.unique(labels):  # half of the groups of every class; one of several classes stays where it is
            own = draws.permutation(np.unique(of[labels == label]))
            free = own[side[own] < 0]
            wanted = max(0, len(own) // 2 - int((side[own] == 1).sum()))
            side[free] = 0
            side[free[:wanted]] = 1
        chosen = side[of] == 1
    usable = found.distance > 1 - NEAR_COPY
    first = np.flatnonzero(usable & chosen)
    second = np.flatnonzero(usable & ~chosen)
    return first[np.isin(labels[first], labels[second])], second


def _rows(found: Nearest, rows: NDArray[np.int64]) -> Nearest:
    return Nearest(found.index[rows], found.turn[rows], found.distance[rows], found.second[rows])


def _recompressed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return np.array(Image.open(buffer))
