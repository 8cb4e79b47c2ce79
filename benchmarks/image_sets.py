"""The public image sets of the benchmarks: few training images a class, the rest held out, no group on both sides.

A set lies in $SYNCGAN_DATA or ``../shared/data`` beside the project: one folder a class, and ``groups.csv`` where
several images come from one slide.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from syncgan import MaskExtractor, SynCGANConfig, rng
from syncgan.data.folders import load_class_folders, read_groups
from syncgan.data.raw import read_dataset
from syncgan.data.tensors import fit_image, fit_mask
from syncgan.preparing import divide_nuclei, prepare

NAMES = ("cric_fields", "cric_pap", "pbc_wbc4")
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Images (N, 3, S, S) uint8, masks (N, S, S) uint8, class indices (N,), the group of each, and class names.

    Masks are maps of ``levels``, or of nuclei alone where `SynCGANAugmenter.fit` divides the rest into stain classes.
    """

    images: torch.Tensor
    maps: torch.Tensor
    labels: Indices
    groups: NDArray[np.str_]
    classes: tuple[str, ...]

    def take(self, indices: Sequence[int] | Indices) -> ImageSet:
        """Return some of the images."""
        chosen = np.asarray(indices)
        return ImageSet(self.images[chosen], self.maps[chosen], self.labels[chosen], self.groups[chosen], self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dataset(self) -> list[tuple[torch.Tensor, int]]:
        """The images and labels as a map-style dataset."""
        return [(image, int(label)) for image, label in zip(self.images, self.labels, strict=True)]


def root(given: str | None = None) -> Path:
    """Return the folder of the sets."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return Path(given or os.environ.get("SYNCGAN_DATA") or beside)


def load(name: str, config: SynCGANConfig, folder: str | None = None) -> ImageSet:
    """Read a set at the size and with the masks of `config`."""
    place = root(folder) / name
    files, _ = load_class_folders(place)
    table = place / "groups.csv"
    groups = read_groups(table, "group_image_id", files.files) if table.is_file() else list(files.files)
    images = [np.asarray(files[index][0]) for index in range(len(files))]
    levels = 2 if config.stain_classes else config.levels
    extractor = MaskExtractor(config.extractor.segmenter, levels=levels, **config.extractor.parameters)
    maps = [np.asarray(mask) for mask in extractor.extract(images, n_jobs=2)]
    size, geometry = config.image_size, config.geometry
    pixels = np.stack([fit_image(image, size, geometry) for image in images]).transpose(0, 3, 1, 2)
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(pixels)),
        torch.from_numpy(np.stack([fit_mask(mask, size, geometry) for mask in maps])),
        np.array(files.targets),
        np.array(groups),
        tuple(files.classes),
    )


def learned(config: SynCGANConfig, train: ImageSet) -> tuple[torch.Tensor, int]:
    """Return the maps (N, S, S) that the models of `SynCGANAugmenter` learn from, and how many levels they have."""
    raw = read_dataset(train.dataset)
    prepared = prepare(raw, list(train.maps.numpy()), config=config.updated(["extractor.exclude_failed=false"]))
    classes = prepared.stain_classes
    further = 0 if classes is None else classes.nuclear_levels - 1
    return divide_nuclei(prepared.pairs, classes).maps, prepared.levels + further


def split(data: ImageSet, per_class: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return training images, `per_class` of each class or half of what there is, and all images of other groups.

    Groups are taken in random order; within a class the first groups fill the training set.
    """
    generator = rng.numpy_generator(seed, "benchmark split")
    rank = {group: position for position, group in enumerate(generator.permutation(np.unique(data.groups)))}
    order = sorted(range(len(data)), key=lambda index: (rank[data.groups[index]], index))
    chosen: list[int] = []
    for label in np.unique(data.labels):
        members = [index for index in order if data.labels[index] == label]
        chosen.extend(members[: min(per_class, len(members) // 2)])
    taken = set(data.groups[chosen])
    return data.take(chosen), data.take([index for index in order if data.groups[index] not in taken])
