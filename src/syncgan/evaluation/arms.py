"""Built-in arms: what a classifier is trained on, a function of the real training set (Sec. 4.1, Tables 2 and 3).

An arm is called as ``arm(dataset, augmenter, seed)`` with the real training set and what makes synthetic images. It
returns a training set, or an `ArmPlan` where training itself differs. Further parameters are given by name to arms that
have them: ``ratio`` (synthetic : real), ``lots`` (of synthetic images, of which each pass shows another), ``held_back``
(a dataset of real images that nothing else sees), ``plain_gan`` (an augmenter without masks) and ``warped`` (one whose
masks are real ones, warped). Augmenters are fitted when they are first used, so an arm that needs none costs no fit.

Orig: the real images; Prop: SynCGAN's; Trad: flips, rotation and Gaussian noise as the images are read; GAN: a plain
GAN's images; Oracle: real images that were held back, the ceiling for synthetic ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from syncgan import rng
from syncgan.data.raw import read_targets

__all__ = [
    "ArmPlan",
    "LotByPass",
    "cutmix",
    "gan",
    "mixup",
    "oracle",
    "oracle_trad",
    "orig",
    "orig_gan",
    "orig_prop",
    "orig_trad",
    "orig_trad_prop",
    "orig_warp",
    "oversample",
    "plan_of",
    "pretrain",
    "pretrain_trad",
    "prop",
    "traditional",
]

_RATIO = 2.0  # synthetic : real (Table 1)
_MIXUP_ALPHA, _CUTMIX_ALPHA = 0.2, 1.0
_CHANGED = 0.75  # of the images
_NOISE = 0.01  # of the range from black to white


@dataclass(frozen=True)
class ArmPlan:
    """What a classifier is trained on, and how training differs from plain reading of batches.

    Attributes
    ----------
    dataset : items (image, class index); images uint8 (3, H, W) tensors, arrays (H, W, 3) or PIL images. One with
        ``set_epoch`` is told the number of each pass over it, from 0.
    transform : random change of each image whenever it is read, uint8 (3, S, S) tensor to the same.
    batch_transform : ``(images, labels) -> (images, labels)`` on a batch of floats (N, 3, S, S) in [0, 1], with labels
        as class indices before and as indices or shares (N, classes) after.
    pretrain : dataset for the first half of the steps, before `dataset` has the other half.
    """

    dataset: Any
    transform: Callable[[Tensor], Tensor] | None = None
    batch_transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    pretrain: Any = None


class LotByPass(Dataset[Any]):
    """Some items of a dataset in every pass, and with them in each pass another lot of its other items.

    Parameters
    ----------
    dataset : map-style dataset.
    always : indices of the items of every pass; they come first.
    lots : indices of each lot, all of the same number; after the last one comes the first again.
    """

    def __init__(self, dataset: Any, always: Sequence[int], lots: Sequence[Sequence[int]]) -> None:
        self.dataset = dataset
        self._passes = [[*always, *lot] for lot in lots]
        self._indices = self._passes[0]

    def set_epoch(self, epoch: int) -> None:
        """Show the lot of a pass."""
        self._indices = self._passes[epoch % len(self._passes)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self._indices[index]]


def plan_of(returned: Any) -> ArmPlan:
    """Return what an arm returned as a plan."""
    return returned if isinstance(returned, ArmPlan) else ArmPlan(returned)


def orig(dataset: Any, augmenter: Any = None, seed: int = 0) -> Any:
    """Return the real images alone."""
    return dataset


def orig_prop(dataset: Any, augmenter: Any, seed: int = 0, *, ratio: float = _RATIO, lots: int = 1) -> Dataset[Any]:
    """Return the real images and twice as many synthetic ones; of several `lots`, another in each pass."""
    return _with_synthetic(range(len(dataset)), dataset, augmenter, seed, ratio, lots)


def prop(dataset: Any, augmenter: Any, seed: int = 0, *, ratio: float = _RATIO, lots: int = 1) -> Dataset[Any]:
    """Return the synthetic images of `orig_prop` alone."""
    return _with_synthetic((), dataset, augmenter, seed, ratio, lots)


def orig_trad(dataset: Any, augmenter: Any = None, seed: int = 0) -> ArmPlan:
    """Return the real images under traditional augmentation."""
    return ArmPlan(dataset, transform=traditional())


def orig_trad_prop(dataset: Any, augmenter: Any, seed: int = 0, *, ratio: float = _RATIO, lots: int = 1) -> ArmPlan:
    """Return real and synthetic images under traditional augmentation."""
    return ArmPlan(orig_prop(dataset, augmenter, seed, ratio=ratio, lots=lots), transform=traditional())


def gan(
    dataset: Any, augmenter: Any, seed: int = 0, *, plain_gan: Any, ratio: float = _RATIO, lots: int = 1
) -> Dataset[Any]:
    """Return the images of a plain GAN alone."""
    return prop(dataset, plain_gan, seed, ratio=ratio, lots=lots)


def orig_gan(
    dataset: Any, augmenter: Any, seed: int = 0, *, plain_gan: Any, ratio: float = _RATIO, lots: int = 1
) -> Dataset[Any]:
    """Return the real images and those of a plain GAN."""
    return orig_prop(dataset, plain_gan, seed, ratio=ratio, lots=lots)


def orig_warp(
    dataset: Any, augmenter: Any, seed: int = 0, *, warped: Any, ratio: float = _RATIO, lots: int = 1
) -> Dataset[Any]:
    """Return the real images, and renderings of real masks that were warped."""
    return orig_prop(dataset, warped, seed, ratio=ratio, lots=lots)


def oracle(dataset: Any, augmenter: Any, seed: int = 0, *, held_back: Any) -> Dataset[Any]:
    """Return the real images and further real ones, as many as synthetic ones are added elsewhere."""
    return ConcatDataset([dataset, held_back])


def oracle_trad(dataset: Any, augmenter: Any, seed: int = 0, *, held_back: Any) -> ArmPlan:
    """Return the images of `oracle` under traditional augmentation."""
    return ArmPlan(oracle(dataset, augmenter, seed, held_back=held_back), transform=traditional())


def oversample(dataset: Any, augmenter: Any = None, seed: int = 0, *, ratio: float = _RATIO) -> Dataset[Any]:
    """Return the real images with copies, until every class has as many as the largest one with synthetic images."""
    targets = np.array(read_targets(dataset))
    labels, counts = np.unique(targets, return_counts=True)
    wanted = round((1 + ratio) * int(counts.max()))
    chosen: list[int] = []
    for label in labels.tolist():
        # Whole rounds, then a random part of one: no image occurs more than once more than another.
        order = rng.numpy_generator(seed, "oversample", int(label)).permutation(np.flatnonzero(targets == label))
        chosen += np.resize(order, wanted).tolist()
    return Subset(dataset, chosen)


def mixup(dataset: Any, augmenter: Any = None, seed: int = 0) -> ArmPlan:
    """Return the real images, mixed in pairs (Zhang et al., "mixup", ICLR 2018)."""
    from torchvision.transforms import v2

    return ArmPlan(dataset, batch_transform=v2.MixUp(alpha=_MIXUP_ALPHA, num_classes=len(dataset.classes)))


def cutmix(dataset: Any, augmenter: Any = None, seed: int = 0) -> ArmPlan:
    """Return the real images with patches of each other (Yun et al., "CutMix", ICCV 2019)."""
    from torchvision.transforms import v2

    return ArmPlan(dataset, batch_transform=v2.CutMix(alpha=_CUTMIX_ALPHA, num_classes=len(dataset.classes)))


def pretrain(dataset: Any, augmenter: Any, seed: int = 0, *, ratio: float = _RATIO, lots: int = 1) -> ArmPlan:
    """Return the real images, after a first stage on synthetic ones alone."""
    return ArmPlan(dataset, pretrain=prop(dataset, augmenter, seed, ratio=ratio, lots=lots))


def pretrain_trad(dataset: Any, augmenter: Any, seed: int = 0, *, ratio: float = _RATIO, lots: int = 1) -> ArmPlan:
    """Return what `pretrain` does, both stages under traditional augmentation."""
    return replace(pretrain(dataset, augmenter, seed, ratio=ratio, lots=lots), transform=traditional())


def traditional() -> Any:
    """Return the paper's traditional augmentation as a torchvision transform of images to uint8 tensors.

    Horizontal and vertical flips, rotation by any angle, Gaussian noise (Sec. 4.2; the amounts are ours). One image in
    four stays as it is, and what turns in from outside is mirrored: black corners, or images that are all blurred a
    little by turning, as no test image is, would make this a baseline that is easy to beat.
    """
    from torchvision.transforms import v2

    changes = [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.Lambda(_turned),
        v2.GaussianNoise(sigma=_NOISE),
    ]
    return v2.Compose([v2.ToImage(), v2.RandomApply(changes, p=_CHANGED)])


def _with_synthetic(
    real: Sequence[int], dataset: Any, augmenter: Any, seed: int, ratio: float, lots: int
) -> Dataset[Any]:
    """Return those items of a dataset with synthetic ones, of each class its lots of equal size."""
    counts = Counter(read_targets(dataset))
    in_a_lot = {label: math.floor(ratio * count + 0.5) for label, count in sorted(counts.items())}
    wrapped = augmenter.wrap(dataset, {label: lots * count for label, count in in_a_lot.items()}, seed=seed)
    chosen: list[list[int]] = [[] for _ in range(lots)]
    first = len(dataset)
    for count in in_a_lot.values():
        for lot in chosen:
            lot.extend(range(first, first + count))
            first += count
    return LotByPass(wrapped, real, chosen) if lots > 1 and chosen[0] else Subset(wrapped, [*real, *chosen[0]])


def _turned(image: Tensor) -> Tensor:
    """Rotate an image by a random angle, as if it went on beyond its border."""
    from torchvision.transforms import v2

    height, width = image.shape[-2:]
    # As far as a corner reaches beyond a side when it turns, and a pixel to interpolate with.
    margin = min(math.ceil((math.hypot(height, width) - min(height, width)) / 2) + 1, height, width)
    wider = v2.functional.pad(image, [margin], padding_mode="symmetric")
    turned = v2.RandomRotation(180, interpolation=v2.InterpolationMode.BILINEAR)(wider)
    cropped: Tensor = v2.functional.center_crop(turned, [height, width])
    return cropped
