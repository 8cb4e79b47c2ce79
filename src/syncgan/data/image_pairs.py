"""What the renderer learns from: images and maps of one size, and a share of them that is held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.tensors import Geometry, collect_images, collect_masks, index_labels
from syncgan.errors import DataError

__all__ = ["ImagePairs", "collect_image_pairs", "hold_out", "require_held_out", "spread_over_classes"]


@dataclass(frozen=True)
class ImagePairs:
    """Images and maps of one size, with class indices and, once they are measured, stain codes.

    Attributes
    ----------
    images : (N, 3, S, S) uint8.
    maps : (N, S, S) uint8, values 0 .. L-1.
    classes : (N,) int64, index of each label among the sorted ones; zeros without labels.
    codes : (N, D) float stain codes, or None.
    """

    images: Tensor
    maps: Tensor
    classes: Tensor
    codes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> ImagePairs:
        """Return some of the pairs."""
        return self.each(lambda tensor: tensor[indices])

    def each(self, change: Callable[[Tensor], Tensor]) -> ImagePairs:
        """Return the pairs with every tensor changed alike."""
        codes = None if self.codes is None else change(self.codes)
        return ImagePairs(change(self.images), change(self.maps), change(self.classes), codes)


def collect_image_pairs(
    images: Any, masks: Any, labels: Any, *, size: int, geometry: Geometry, levels: int, maps: bool = False
) -> tuple[ImagePairs, int, tuple[int, ...]]:
    """Bring images, masks and labels to one size; return the pairs, the number of levels found and the label values.

    `levels` and `maps` are those of `collect_masks`.

    Raises
    ------
    DataError
        Wrong shape, dtype or values, or images, masks and labels that differ in number.
    """
    if len(images) != len(masks):
        raise DataError(f"expected one mask an image, got {len(images)} images and {len(masks)} masks")
    pixels = collect_images(images, size, geometry)
    collected, levels = collect_masks(masks, size, geometry, levels, maps=maps)
    values, classes = index_labels(labels, len(pixels))
    return ImagePairs(pixels, collected, classes), levels, values


def hold_out(pairs: ImagePairs, *, classes: int, share: float, seed: int) -> tuple[ImagePairs, ImagePairs]:
    """Return training and held-out pairs: about `share` of each class, at least one and never all.

    Raises
    ------
    DataError
        No class has two pairs.
    """
    chosen: list[int] = []
    for index in range(max(1, classes)):
        members = torch.nonzero(pairs.classes == index).flatten()
        order = torch.randperm(len(members), generator=rng.torch_generator(seed, "validation", index))
        count = min(len(members) - 1, max(1, round(share * len(members))))
        chosen.extend(members[order[: max(0, count)]].tolist())
    if not chosen:
        raise DataError(
            f"expected at least two pairs to hold one out for validation, got {len(pairs)}; "
            'use image_gan.selection = "last"'
        )
    held = torch.zeros(len(pairs), dtype=torch.bool)
    held[chosen] = True
    return pairs.take(torch.nonzero(~held).flatten()), pairs.take(torch.nonzero(held).flatten())


def require_held_out(count: int, selection: str) -> None:
    """Refuse to choose a renderer by fewer held-out pairs than `selection` needs.

    Raises
    ------
    DataError
        A score ("utility") compares two sets of images, and one image is no set.
    """
    if selection == "utility" and count < 2:
        raise DataError(
            f'expected at least 2 held-out pairs for image_gan.selection = "utility", got {count}; give more pairs, '
            'raise image_gan.validation_share, or use "validation" or "last"'
        )


def spread_over_classes(pairs: ImagePairs, count: int) -> ImagePairs:
    """Return up to `count` pairs, the first of every class, then the second, and so on.

    Examples
    --------
    >>> classes = torch.tensor([0, 0, 0, 1, 1])
    >>> spread_over_classes(ImagePairs(classes, classes, classes), 4).classes
    tensor([0, 1, 0, 1])
    """
    seen: Counter[int] = Counter()
    ranks = []
    for position, index in enumerate(pairs.classes.tolist()):
        ranks.append((seen[index], index, position))
        seen[index] += 1
    return pairs.take(torch.tensor([position for _, _, position in sorted(ranks)[:count]]))
