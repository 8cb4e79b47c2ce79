"""What an audit is given: images brought to one size, with numbers for their classes, and groups that lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.data.tensors import collect_images
from syncgan.errors import DataError

__all__ = ["ImageSets", "collect_sets", "require_apart", "require_unseen", "same_pixels"]

Labels = NDArray[np.int64]

_MOST_SPREAD = 500
_FEWEST_TRAINING, _FEWEST_HELD_OUT = 8, 2
_NAMED = 3


@dataclass(frozen=True)
class ImageSets:
    """Images of one size with class numbers, and class number -> name."""

    synthetic: Tensor
    training: Tensor
    held_out: Tensor | None
    synthetic_labels: Labels
    training_labels: Labels
    held_out_labels: Labels
    names: tuple[str, ...]

    def spread_rows(self, seed: int) -> Labels:
        """Return which training images are compared with the others: all, or 500 of many, of every class some."""
        count = len(self.training)
        if count <= _MOST_SPREAD:
            return np.arange(count)
        draws = rng.numpy_generator(seed, "audit", "spread")
        kept = [
            draws.permutation(own)[: max(2, round(_MOST_SPREAD * len(own) / count))]
            for own in (np.flatnonzero(self.training_labels == label) for label in np.unique(self.training_labels))
        ]
        return np.sort(np.concatenate(kept))


def collect_sets(
    synthetic: Any, training: Any, held_out: Any | None, labels: Sequence[Sequence[Any] | None]
) -> ImageSets:
    """Bring images to the side of the first synthetic one, and number their classes.

    Parameters
    ----------
    labels : of synthetic, training and held-out images.

    Raises
    ------
    DataError
        Too few images, or labels that do not fit.
    """
    given = [images for images in (synthetic, training, held_out) if images is not None]
    if any(len(images) == 0 for images in given):
        raise DataError("expected synthetic, training and held-out images, got none of one kind; give some of each")
    first = synthetic[0]
    side = int(first.shape[-1] if isinstance(synthetic, Tensor) else first.shape[0])
    tensors = [collect_images(images, side, "resize") for images in given]
    if held_out is None:
        tensors.append(tensors[1][:0])
    wanted = labels if held_out is not None else labels[:2]
    if any(own is None for own in wanted) and any(own is not None for own in wanted):
        raise DataError("expected labels of synthetic, training and held-out images, or of none of them; give all")
    columns = [[0] * len(images) if own is None else list(own) for own, images in zip(labels, tensors, strict=True)]
    for what, column, images in zip(("synthetic", "training", "held-out"), columns, tensors, strict=True):
        if len(column) != len(images):
            raise DataError(f"expected one label a {what} image, got {len(column)} for {len(images)}")
    keys = {key: number for number, key in enumerate(dict.fromkeys(columns[1]))}
    of_synthetic, of_training, of_held_out = (np.array([keys.get(key, -1) for key in column]) for column in columns)
    _require_enough(of_synthetic, of_training, None if held_out is None else of_held_out, list(keys), columns)
    return ImageSets(
        tensors[0],
        tensors[1],
        None if held_out is None else tensors[2],
        of_synthetic,
        of_training,
        of_held_out,
        tuple("all images" if labels[1] is None else str(key) for key in keys),
    )


def _require_enough(
    synthetic: Labels, training: Labels, held_out: Labels | None, keys: list[Any], given: Sequence[Sequence[Any]]
) -> None:
    for own, names in ((synthetic, given[0]), (() if held_out is None else held_out, given[2])):
        unknown = [name for name, label in zip(names, own, strict=False) if label < 0]
        if unknown:
            raise DataError(
                f"expected images of the classes {', '.join(map(repr, keys))}, got {unknown[0]!r}; leave them out, or "
                "give training images of the class"
            )
    if len(training) < _FEWEST_TRAINING:
        raise DataError(f"expected at least {_FEWEST_TRAINING} training images, got {len(training)}; give more")
    real = training if held_out is None else held_out
    for label in np.unique(synthetic):
        count = int((real == label).sum())
        if count < _FEWEST_HELD_OUT or int((training == label).sum()) < _FEWEST_HELD_OUT:
            raise DataError(
                f"class {keys[label]!r}: expected at least {_FEWEST_HELD_OUT} training and held-out images, got "
                f"{int((training == label).sum())} and {count}; give more, or leave its samples out"
            )


def same_pixels(images: Tensor, others: Tensor) -> list[int]:
    """Return the positions of the images that have the very pixels of one of the others."""
    known = {image.cpu().numpy().tobytes() for image in others}
    return [at for at, image in enumerate(images) if image.cpu().numpy().tobytes() in known]


def require_unseen(sets: ImageSets, names: Sequence[str] | None = None) -> None:
    """Refuse held-out images that have the very pixels of a training image: beside these no copy is near.

    Parameters
    ----------
    names : of the held-out images; None for numbers.

    Raises
    ------
    DataError
        Names the first of them.
    """
    same = [] if sets.held_out is None else same_pixels(sets.held_out, sets.training)
    if same:
        named = [f"image {at}" if names is None else names[at] for at in same[:_NAMED]]
        more = f" and {len(same) - _NAMED} more" if len(same) > _NAMED else ""
        raise DataError(
            f"expected held-out images that the model has not seen, but {', '.join(named)}{more} "
            f"{'has' if len(same) == 1 else 'have'} the pixels of training images; leave them out, or give other real "
            "images"
        )


def require_apart(sets: ImageSets, training: Sequence[Any] | None, held_out: Sequence[Any] | None) -> None:
    """Refuse groups that do not fit the images, or that have images on both sides.

    Raises
    ------
    DataError
        Names the groups.
    """
    if sets.held_out is not None and (training is None) != (held_out is None):
        raise DataError("expected the groups of training and held-out images, got only one of them; give both")
    for what, groups, images in (("training", training, sets.training), ("held-out", held_out, sets.held_out)):
        if groups is not None and images is not None and len(groups) != len(images):
            raise DataError(f"expected one group a {what} image, got {len(groups)} for {len(images)}")
    shared = sorted(set(map(str, training or ())) & set(map(str, held_out or ())))
    if shared:
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise DataError(
            f"expected training and held-out images of different groups, both have {', '.join(shared[:3])}{more}; "
            "hold whole groups out"
        )
