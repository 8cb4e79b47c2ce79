"""Variety among renderings of one mask, compared with that of real images.

A renderer that ignores its noise gives the same image for the same mask again and again. No loss curve shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.evaluation.features import Features
from syncgan.evaluation.metrics import mean_pairwise_distance
from syncgan.preparing import divide_nuclei

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter

__all__ = ["Diversity", "diversity_within_masks", "relative_diversity"]

_PIXELS_SIDE = 64


@dataclass(frozen=True)
class Diversity:
    """Variety among renderings of one mask, in units of the variety among real images of the class.

    0 says that the noise is ignored, 1 that renderings of one mask differ as much as real images do; since one mask
    fixes where things are, a good renderer stays below 1. NaN where real images do not differ.

    Attributes
    ----------
    features : by the distance between features.
    features_without_stain : the same, with the stain's colours held fixed, so that only the noise varies.
    pixels : by the distance between pixels.
    """

    features: float
    features_without_stain: float
    pixels: float


def relative_diversity(renderings: Sequence[NDArray[np.float64]], real: NDArray[np.float64]) -> float:
    """Return the mean pairwise distance among renderings of one mask, divided by that among real images.

    Parameters
    ----------
    renderings : for each mask (K, D) features of its renderings, K of at least 2.
    real : (N, D) features of real images.
    """
    among_real = mean_pairwise_distance(real)
    if not among_real:
        return math.nan
    return float(np.mean([mean_pairwise_distance(points) for points in renderings])) / among_real


def diversity_within_masks(
    augmenter: SynCGANAugmenter,
    features: Features,
    *,
    masks: int = 3,
    renderings: int = 4,
    real: int = 20,
    seed: int = 0,
) -> Mapping[str, Diversity]:
    """Measure the variety within one mask for each class of an augmenter that still has its `pairs_`.

    Parameters
    ----------
    features : see `features.default_features`.
    masks : training masks of each class that are rendered.
    renderings : of each mask.
    real : at most so many real images of the class.
    seed : of the renderings.
    """
    found = {}
    learned = divide_nuclei(augmenter.pairs_, augmenter.stain_classes_)
    for index, (name, label) in enumerate(zip(augmenter.classes_, augmenter.label_values_, strict=True)):
        positions = (augmenter.pairs_.labels == label).nonzero().flatten()
        chosen = positions[_spread(len(positions), real)]
        own = learned.maps[positions[_spread(len(positions), masks)]]
        rendered = [_renderings(augmenter, index, own, renderings, seed, vary_stain=vary) for vary in (True, False)]
        images = augmenter.pairs_.images[chosen]
        seen, real_seen = ([features(part) for part in parts] for parts in rendered), features(images)
        varied, fixed = (relative_diversity(parts, real_seen) for parts in seen)
        pixels = relative_diversity([_pixels(part) for part in rendered[0]], _pixels(images))
        found[name] = Diversity(varied, fixed, pixels)
    return found


def _renderings(
    augmenter: SynCGANAugmenter, index: int, maps: Tensor, count: int, seed: int, *, vary_stain: bool
) -> list[Tensor]:
    """Return for each map `count` renderings (count, 3, S, S) as class number `index`."""
    known = augmenter.image_gan_.label_values_
    classes = torch.full((len(maps) * count,), index if known else 0)
    seeds = [rng.seed_for(seed, "diversity", number, turn) for number in range(len(maps)) for turn in range(count)]
    stains = [rng.seed_for(seed, "diversity", number, 0) for number in range(len(maps)) for _ in range(count)]
    images = augmenter.image_gan_.render(
        maps.repeat_interleave(count, dim=0), classes, seeds, stain_seeds=None if vary_stain else stains
    )
    return list(torch.split(images.cpu(), count))


def _spread(items: int, count: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, items - 1, min(count, items))})


def _pixels(images: Tensor) -> NDArray[np.float64]:
    side = min(_PIXELS_SIDE, images.shape[-1])
    small = torch.nn.functional.interpolate(images.float() / 255, size=(side, side), mode="area")
    return np.asarray(small.flatten(1).double().numpy())
