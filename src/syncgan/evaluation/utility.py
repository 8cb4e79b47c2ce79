"""One number for choosing the model during training: near to held-out images, and no copies of training images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from syncgan.evaluation.features import Features, default_features
from syncgan.evaluation.metrics import kernel_distance
from syncgan.training.augmentation import dihedral

__all__ = ["UtilityScore", "copy_rate", "thumbnails", "turns"]

_SIDE = 16
_PERCENTILE = 5.0


class UtilityScore:
    """Kernel distance of rendered to real validation images, plus a weighted rate of copies; lower is better.

    The rendered images have the validation images' masks, so the score judges the renderer on masks that it has not
    seen.

    Parameters
    ----------
    features : what turns images into points; None for `default_features`.
    copy_weight : what a rate of copies of one counts, in units of kernel distance.

    Examples
    --------
    >>> from syncgan.evaluation.features import TextureFeatures
    >>> images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    >>> score = UtilityScore(TextureFeatures())
    >>> score(images[:4], images[4:8], images[8:]) < score(images[:4] // 2, images[4:8], images[8:])
    True
    """

    def __init__(self, features: Features | None = None, *, copy_weight: float = 1.0) -> None:
        self._features = features
        self._copy_weight = copy_weight
        # Real images are the same at every call of one training.
        self._known: dict[int, tuple[Tensor, NDArray[np.float64]]] = {}

    def __call__(self, rendered: Tensor, real: Tensor, training: Tensor) -> float:
        """Return the score.

        Parameters
        ----------
        rendered, real : (N, 3, S, S) uint8, renderings of the validation maps and the validation images.
        training : (M, 3, S, S) uint8, the training images.
        """
        if self._features is None:
            self._features = default_features()
        distance = kernel_distance(self._features(rendered), self._features_of(real))
        return distance + self._copy_weight * copy_rate(rendered, training, real)

    def _features_of(self, images: Tensor) -> NDArray[np.float64]:
        known = self._known.get(id(images))
        if known is None or known[0] is not images:
            assert self._features is not None  # noqa: S101 - set by the caller
            known = self._known[id(images)] = (images, self._features(images))
        return known[1]


def copy_rate(images: Tensor, training: Tensor, held_out: Tensor) -> float:
    """Return the share of images that lie nearer to a training image than nearly all held-out real images do.

    Distances are between 16 x 16 thumbnails, over the 8 flips and quarter turns; the threshold is the 5th percentile of
    the held-out images' own distances to the training images. So an honest model has a rate of about 0.05, and one that
    repeats its training images a rate of 1. It is cheap enough for use during training, and no audit.

    Parameters
    ----------
    images, training, held_out : uint8 (N, 3, H, W) of one size.
    """
    turned = torch.cat(list(turns(thumbnails(training))))
    threshold = np.percentile(_nearest(held_out, turned), _PERCENTILE)
    return float((_nearest(images, turned) < threshold).mean())


def thumbnails(images: Tensor) -> Tensor:
    """Shrink uint8 images (N, 3, H, W) to float (N, 3, 16, 16) in [0, 1] on the CPU."""
    return F.interpolate(images.cpu().float() / 255, size=(_SIDE, _SIDE), mode="area")


def turns(images: Tensor) -> Iterator[Tensor]:
    """Yield images (N, ..., S, S) under each of the 8 flips and quarter turns."""
    return (dihedral(images, torch.full((len(images),), element)) for element in range(8))


def _nearest(images: Tensor, known: Tensor) -> NDArray[np.float64]:
    distances = torch.cdist(thumbnails(images).flatten(1), known.flatten(1))
    return np.asarray(distances.amin(dim=1).double().numpy())
