"""Images and masks on their way between processes, in few and small pieces.

What a pipe or a file costs is mostly a price per piece, so the images of a group travel as one array, which joblib
hands over through shared memory; and masks, which come back through a pipe, travel as bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from syncgan.segmentation.recipe import Masks

__all__ = ["PackedImages", "PackedMasks"]

Mask = NDArray[np.uint8]


class PackedImages(NamedTuple):
    """Numbered (H, W, 3) uint8 images as one array.

    Attributes
    ----------
    indices, shapes : number and shape of each image.
    pixels : (K,) uint8, all images one after the other.
    """

    indices: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    pixels: Mask

    @classmethod
    def of(cls, items: Sequence[tuple[int, Mask]]) -> PackedImages:
        """Pack (index, image) pairs."""
        indices, images = zip(*items, strict=True)
        return cls(indices, tuple(image.shape for image in images), np.concatenate([image.ravel() for image in images]))

    def items(self) -> Iterator[tuple[int, Mask]]:
        """Yield (index, image) pairs; the images are views."""
        start = 0
        for index, shape in zip(self.indices, self.shapes, strict=True):
            end = start + int(np.prod(shape))
            yield index, self.pixels[start:end].reshape(shape)
            start = end


class PackedMasks(NamedTuple):
    """A map as bit planes, and its instances in as few bytes as hold them.

    Attributes
    ----------
    shape : (H, W) of the map.
    planes : packed bits, lowest first, without the planes that are empty.
    instances : (H, W) labels, or None.
    """

    shape: tuple[int, ...]
    planes: tuple[Mask, ...]
    instances: NDArray[np.integer] | None

    @classmethod
    def of(cls, masks: Masks) -> PackedMasks:
        """Pack a map and its instances."""
        mask, instances = masks
        bits = int(mask.max(initial=0)).bit_length()
        if instances is not None:
            instances = instances.astype(np.min_scalar_type(int(instances.max(initial=0))))
        return cls(mask.shape, tuple(np.packbits(mask & (1 << bit)) for bit in range(bits)), instances)

    def masks(self) -> Masks:
        """Return what was packed."""
        count = int(np.prod(self.shape))
        planes = [np.unpackbits(plane, count=count) for plane in self.planes]
        mask = planes[0] if planes else np.zeros(count, np.uint8)
        for bit, plane in enumerate(planes[1:], start=1):
            mask |= plane << bit
        labels = None if self.instances is None else self.instances.astype(np.int32)
        return Masks(mask.reshape(self.shape), labels)
