"""The images of a benchmark, read once, and the guard that keeps test images from whatever is fitted.

Augmenters are fitted on the images at their own sizes; classifiers see all images, real and synthetic, at the size that
synthetic ones have, so that sharpness tells them nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from syncgan.config import SynCGANConfig
from syncgan.data.items import label_of, rgb_pixels, split_item
from syncgan.data.raw import class_names, item_groups
from syncgan.data.tensors import fit_image
from syncgan.data.views import locate, name_of, naming, raw_view, require_map_style
from syncgan.errors import DataError
from syncgan.evaluation.benchmark.splits import Split
from syncgan.evaluation.same_images import ImagePrint, SameImages, digest_of, find_same, print_of_pixels

__all__ = ["BenchmarkData", "Guard", "ImageSet", "across", "read_benchmark_data"]

Progress = Callable[[int, int], None]


class ImageSet(Dataset[Any]):
    """Images (N, 3, S, S) uint8 and class indices as a map-style dataset.

    Attributes
    ----------
    images, targets : the tensor, and one class index an image.
    classes, class_to_idx : class names and their indices.
    """

    def __init__(self, images: Tensor, targets: Sequence[int], classes: Sequence[str]) -> None:
        self.images = images
        self.targets = [int(target) for target in targets]
        self.classes = list(classes)
        self.class_to_idx = {name: label for label, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


@dataclass
class Guard:
    """Knows by their pixels all images that something was fitted on.

    Attributes
    ----------
    seen : digest of the pixels -> name of the image.
    """

    seen: dict[str, str] = field(default_factory=dict)

    def require_unseen(self, names: Sequence[str], digests: Sequence[str]) -> None:
        """Refuse images to test on that something was fitted on.

        Raises
        ------
        DataError
            Names such an image, and the one that it equals.
        """
        for name, digest in zip(names, digests, strict=True):
            if digest in self.seen:
                raise DataError(
                    f"{name}: is to be tested on, but the augmenter was fitted on the same pixels "
                    f"({self.seen[digest]}); no result of this split could be believed"
                )


class _Watched(Dataset[Any]):
    """Some raw items of a dataset; whatever is read of them is noted by a guard."""

    def __init__(self, data: BenchmarkData, indices: Sequence[int], guard: Guard) -> None:
        self._data, self._indices, self._guard = data, list(indices), guard
        self.targets = [int(data.labels[index]) for index in self._indices]
        self.classes = list(data.classes)
        self.class_to_idx = {name: label for label, name in enumerate(data.classes)}
        self.samples = [(data.names[index], label) for index, label in zip(self._indices, self.targets, strict=True)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        pixels = self._data.pixels(self._indices[index])
        self._guard.seen[digest_of(pixels)] = self.samples[index][0]
        return pixels, self.targets[index]


@dataclass(frozen=True)
class BenchmarkData:
    """All images of a benchmark.

    Attributes
    ----------
    source : the dataset without its transforms.
    images : (N, 3, S, S) uint8, at the size of synthetic images.
    labels : (N,) class indices.
    classes, names : of the classes, and of the items for messages.
    groups : patient or slide of every item, or None.
    prints : what tells copies and near copies.
    """

    source: Any
    images: Tensor
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    prints: tuple[ImagePrint, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return one image at its own size, (H, W, 3) uint8."""
        with naming(self.names[index]):
            return rgb_pixels(split_item(self.source[index])[0])

    def part(self, indices: NDArray[np.int64]) -> ImageSet:
        """Return some images for classifiers."""
        return ImageSet(self.images[torch.from_numpy(indices)], self.labels[indices].tolist(), self.classes)

    def watched(self, indices: Sequence[int], guard: Guard) -> Dataset[Any]:
        """Return some images at their own sizes for a fit; `guard` notes those that are read."""
        return _Watched(self, indices, guard)

    def digests(self, indices: Sequence[int]) -> list[str]:
        """Return what tells the pixels of some images from others."""
        return [self.prints[index].digest for index in indices]

    def same_images(self) -> list[SameImages]:
        """Return the sets of images that are one image, copies and near copies."""
        return find_same(self.prints)

    def fingerprint(self) -> str:
        """Return a sha256 over pixels, labels, names and groups of all items, in their order."""
        groups = self.groups or ("",) * len(self)
        rows = zip(self.digests(range(len(self))), self.labels.tolist(), self.names, groups, strict=True)
        return hashlib.sha256(repr((self.classes, list(rows))).encode("utf-8", "surrogateescape")).hexdigest()


def read_benchmark_data(
    dataset: Any,
    config: SynCGANConfig,
    *,
    groups: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> BenchmarkData:
    """Read every image once: its pixels at the size of synthetic images, its label and its print.

    Parameters
    ----------
    dataset : map-style dataset as for `SynCGANAugmenter.fit`; its transforms are left out.
    config : says the size, and how images are brought to it.
    groups : patient or slide of every item.
    names : of the items; None for the ends of their paths.
    progress : called with (items read, items).

    Raises
    ------
    DataError
        As `SynCGANAugmenter.fit`; also a wrong number of groups.
    """
    require_map_style(dataset)
    view = raw_view(dataset)
    known = tuple(names or (name_of(index, place) for index, place in enumerate(locate(dataset))))
    groups = item_groups(groups, len(known))
    images, labels, prints = [], [], []
    for index, name in enumerate(known):
        with naming(name):
            image, label = split_item(view[index])
            pixels = rgb_pixels(image)
            labels.append(label_of(label))
        images.append(torch.from_numpy(fit_image(pixels, config.image_size, config.geometry)).permute(2, 0, 1))
        prints.append(print_of_pixels(pixels))
        if progress is not None:
            progress(index + 1, len(known))
    values = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(values) < 2:
        raise DataError(f"expected at least two classes, got {len(values)} in {len(known)} items")
    own = class_names(dataset) or {}
    return BenchmarkData(
        source=view,
        images=torch.stack(images).contiguous(),
        labels=np.array([values.index(label) for label in labels], dtype=np.int64),
        classes=tuple(label if isinstance(label, str) else own.get(label, str(label)) for label in values),
        names=known,
        groups=None if groups is None else tuple(groups),
        prints=tuple(prints),
    )


def across(split: Split, same: Sequence[SameImages], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the sets of near copies that a split takes apart: where each image lies, and how alike they are."""
    side_of = {index: name for name, part in split.parts().items() for index in part.tolist()}
    found = []
    for images in same:
        members = {index: side_of[index] for index in images.members if index in side_of}
        if len(set(members.values())) > 1:
            found.append(
                {
                    "items": [{"name": names[index], "side": side} for index, side in members.items()],
                    "likeness": round(images.likeness, 4),
                }
            )
    return found
