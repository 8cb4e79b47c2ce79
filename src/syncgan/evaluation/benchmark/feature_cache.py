"""Features of images that are asked for again and again: computed once, as long as there is room for them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan.evaluation.features import Features, default_features
from syncgan.registry import CLASSIFIERS, accepted

__all__ = ["CachedFeatures", "features_for"]

_CHUNK = 32


class CachedFeatures:
    """Features that remember the images that they were asked for last.

    Parameters
    ----------
    features : what computes them. It always gets whole chunks, filled up with black images: a network's last digits
        depend on how many images pass through it at once, and what is in the cache must not decide a result.
    most_bytes : of remembered features; images that come changed in every pass would fill any memory.

    Attributes
    ----------
    name : that of `features`.
    """

    def __init__(self, features: Features, most_bytes: int = 2**28) -> None:
        self.name = features.name
        self._features = features
        self._most_bytes = most_bytes
        self._known: OrderedDict[bytes, NDArray[np.float64]] = OrderedDict()

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (N, D) of uint8 images (N, 3, H, W)."""
        images = images.cpu().contiguous()
        shape = str(tuple(images.shape[1:])).encode()
        keys = [hashlib.blake2b(shape + image.numpy().tobytes(), digest_size=16).digest() for image in images]
        places = {key: place for place, key in enumerate(keys) if key not in self._known}
        new = list(places)
        for first in range(0, len(new), _CHUNK):
            some = new[first : first + _CHUNK]
            chunk = images[[places[key] for key in some]]
            filling = torch.zeros((_CHUNK - len(chunk), *chunk.shape[1:]), dtype=chunk.dtype)
            points = self._features(torch.cat([chunk, filling]))
            self._known.update(zip(some, points, strict=False))
        found = np.stack([self._known[key] for key in keys])
        self._forget(set(keys), found.nbytes // len(found))
        return found

    def _forget(self, asked: set[bytes], bytes_each: int) -> None:
        """Drop what was not asked for longest."""
        for key in asked:
            self._known.move_to_end(key)
        while len(self._known) * bytes_each > self._most_bytes:
            self._known.popitem(last=False)


def features_for(classifiers: Iterable[str], given: Features | None, device: torch.device) -> CachedFeatures | None:
    """Return features, `given` or the default ones, where one of the classifiers takes some."""
    if not any(accepted(CLASSIFIERS.get(name), {"features": None}) for name in classifiers):
        return None
    return CachedFeatures(given or default_features(device))
