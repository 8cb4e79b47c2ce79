"""Built-in arms: what a classifier is trained on, ``(dataset, augmenter, seed) -> dataset`` (Sec. 4.1, Table 2).

An arm gets the real training set and a fitted augmenter and returns a training set. Orig: the real images; Prop:
SynCGAN's; Trad: flips, rotation and Gaussian noise as the images are read.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset, Subset

from syncgan.augmenter import SynCGANAugmenter

__all__ = ["orig", "orig_prop", "orig_trad", "orig_trad_prop", "prop", "traditional"]

_RATIO = 2.0  # synthetic : real (Table 1)


def orig(dataset: Any, augmenter: SynCGANAugmenter, seed: int = 0) -> Dataset[Any]:
    """Return the real images alone."""
    return augmenter.wrap(dataset, strategy=0.0, seed=seed)


def orig_prop(dataset: Any, augmenter: SynCGANAugmenter, seed: int = 0) -> Dataset[Any]:
    """Return the real images and twice as many synthetic ones."""
    return augmenter.wrap(dataset, strategy=_RATIO, seed=seed)


def prop(dataset: Any, augmenter: SynCGANAugmenter, seed: int = 0) -> Dataset[Any]:
    """Return the synthetic images of `orig_prop` alone."""
    wrapped = augmenter.wrap(dataset, strategy=_RATIO, seed=seed)
    return Subset(wrapped, range(len(dataset), len(wrapped)))


def orig_trad(dataset: Any, augmenter: SynCGANAugmenter, seed: int = 0) -> Dataset[Any]:
    """Return the real images under traditional augmentation."""
    return augmenter.wrap(dataset, strategy=0.0, transform=traditional(), seed=seed)


def orig_trad_prop(dataset: Any, augmenter: SynCGANAugmenter, seed: int = 0) -> Dataset[Any]:
    """Return real and synthetic images under traditional augmentation."""
    return augmenter.wrap(dataset, strategy=_RATIO, transform=traditional(), seed=seed)


def traditional() -> Any:
    """Return the paper's traditional augmentation as a torchvision transform of images to uint8 tensors.

    Horizontal and vertical flips, rotation by any angle, Gaussian noise (Sec. 4.2; the amounts are ours).
    """
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(180, interpolation=v2.InterpolationMode.BILINEAR),
            v2.GaussianNoise(sigma=0.02),
        ]
    )
