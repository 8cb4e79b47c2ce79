"""Features of single images, shared by the filters of one model.

A network's features differ in the last bits with the number of images that it sees at once, and a sample may not
depend on its neighbours: so every image passes by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan.errors import ConfigError
from syncgan.evaluation.features import Features, default_features, features_named

__all__ = ["ItemFeatures"]

_KEY = "item features"
_DESCRIBED = "features"


class ItemFeatures:
    """Turns images into features one by one, and remembers those of the last call.

    Filters that are asked about the same samples one after the other thus pay once.

    Parameters
    ----------
    features : what turns images into points.
    """

    def __init__(self, features: Features) -> None:
        self.name = features.name
        self._features = features
        self._last: dict[bytes, NDArray[np.float64]] = {}

    @classmethod
    def default(cls, shared: MutableMapping[Any, Any], device: torch.device | str) -> ItemFeatures:
        """Return those of `default_features`, made once for all that `shared` is given to."""
        key = (_KEY, "default")
        if key not in shared:
            own = cls(default_features(device))
            shared[key] = shared.setdefault((_KEY, own.name), own)
        found: ItemFeatures = shared[key]
        return found

    @classmethod
    def described(
        cls, description: Mapping[str, Any], shared: MutableMapping[Any, Any], device: torch.device | str
    ) -> ItemFeatures:
        """Return those that a description names, which something was learned in.

        Raises
        ------
        ConfigError
            They are not here; says what to install.
        """
        name = description[_DESCRIBED]
        if (_KEY, name) not in shared:
            try:
                shared[_KEY, name] = cls(features_named(name, device))
            except ConfigError as error:
                raise ConfigError(f"it has learned in {name}: {error}; or fit again here") from error
        found: ItemFeatures = shared[_KEY, name]
        return found

    def description(self) -> dict[str, Any]:
        """Return what `described` needs, JSON-compatible."""
        return {_DESCRIBED: self.name}

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return features (n, D) of uint8 images (n, 3, S, S)."""
        found: dict[bytes, NDArray[np.float64]] = {}
        keys = [hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).digest() for image in images]
        for position, key in enumerate(keys):
            if key not in found:
                known = self._last.get(key)
                found[key] = self._features(images[position : position + 1])[0] if known is None else known
        self._last = found
        return np.stack([found[key] for key in keys])
