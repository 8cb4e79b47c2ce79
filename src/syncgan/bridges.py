"""syncgan where other libraries train: imbalanced-learn's `fit_resample`.

The sampler only translates. imbalanced-learn itself says how many images each class gets, so ``sampling_strategy``
means what it means for SMOTE; the images come from a `SynCGANAugmenter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torchvision.transforms.v2 import functional as F

from syncgan.arrays import Pixels
from syncgan.augmenter import SynCGANAugmenter
from syncgan.config import SynCGANConfig
from syncgan.data.items import ItemTemplate
from syncgan.errors import ConfigError, DataError

__all__ = ["SynCGANSampler"]

SamplingStrategy: TypeAlias = str | float | Mapping[Any, int] | Callable[[NDArray[Any]], Mapping[Any, int]]


class SynCGANSampler(BaseEstimator):  # type: ignore[misc]
    """Over-sample classes with synthetic images, as imbalanced-learn's samplers do with feature vectors.

    It works alone and as a step of ``imblearn.pipeline.Pipeline``: there it learns from the training part of each fold
    alone, and does nothing at prediction. Needs imbalanced-learn (extra ``imbalanced``) when it is used.

    Parameters
    ----------
    sampling_strategy : as for every over-sampler of imbalanced-learn: "auto" or "not majority", "minority", "not
        minority" or "all" bring these classes to the size of the largest; a float is minority : majority after sampling
        (two classes only); a mapping class -> images after sampling; or a callable on `y` that returns such a mapping.
    random_state : seed of training and sampling, or a ``RandomState`` that gives one; None takes a new seed each time.
    config : settings of the augmenter; None for preset ``default``. Not used with `augmenter`.
    device : as for `SynCGANAugmenter`. Not used with `augmenter`.
    augmenter : a fitted `SynCGANAugmenter` to sample from; None fits one on the images given. Give one only if it never
        saw images that the pipeline is tested on.

    Attributes
    ----------
    sampling_strategy_ : class -> number of synthetic images, in order of the classes.
    augmenter_ : the fitted `SynCGANAugmenter`; None where no class needs images, and none was given.
    is_synthetic_ : bool array, which rows of the last result are synthetic.
    seed_ : the seed that `random_state` gave.
    """

    def __init__(
        self,
        *,
        sampling_strategy: SamplingStrategy = "auto",
        random_state: int | np.random.RandomState | None = None,
        config: SynCGANConfig | None = None,
        device: str | torch.device = "auto",
        augmenter: SynCGANAugmenter | None = None,
    ) -> None:
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state
        self.config = config
        self.device = device
        self.augmenter = augmenter

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Decide how many images each class of `X`, `y` gets, and learn to draw them; see `fit_resample`."""
        self._learn(*_checked(X, y))
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Pixels, NDArray[Any]]:  # noqa: N803
        """Return the images and their labels, followed by synthetic ones.

        Parameters
        ----------
        X : (N, H, W, 3) RGB or (N, H, W) or (N, H, W, 1) gray, uint8.
        y : N labels, integers or strings.

        Returns
        -------
        X, y : the images and labels as given, then the synthetic ones class by class, of the same shape.

        Raises
        ------
        ConfigError
            imbalanced-learn is not installed, or it refuses `sampling_strategy` or `random_state` is no seed.
        DataError
            Images or labels of another type or shape, or too few to learn from.
        UnknownNameError
            A label that the given `augmenter` does not know.
        """
        images, labels = _checked(X, y)
        self._learn(images, labels)
        wanted = {label: count for label, count in self.sampling_strategy_.items() if count}
        drawn = [self._draw(label, count, images) for label, count in wanted.items()]
        added = [np.full(count, label, dtype=labels.dtype) for label, count in wanted.items()]
        resampled = np.concatenate([images, *drawn])
        self.is_synthetic_: NDArray[np.bool_] = np.arange(len(resampled)) >= len(images)
        return resampled, np.concatenate([labels, *added])

    def _learn(self, images: Pixels, labels: NDArray[Any]) -> None:
        self.sampling_strategy_ = _numbers_to_add(self.sampling_strategy, labels)
        self.seed_ = _seed(self.random_state)
        self.augmenter_: Any = self.augmenter
        # Learning takes long, so it is left out where nothing would be drawn.
        if self.augmenter_ is None and any(self.sampling_strategy_.values()):
            unfitted = SynCGANAugmenter(self.config, device=self.device, seed=self.seed_)
            self.augmenter_ = unfitted.fit(list(zip(images, labels.tolist(), strict=True)))

    def _draw(self, label: Any, count: int, like: Pixels) -> Pixels:
        """Draw `count` images of one class in the shape of the images `like`."""
        drawn = F.resize(self.augmenter_.sample(label, count, seed=self.seed_).images, list(like.shape[1:3]))
        dress = ItemTemplate.of((like[0], 0)).dress
        return np.stack([dress(pixels) for pixels in drawn.permute(0, 2, 3, 1).cpu().numpy()])


def _numbers_to_add(strategy: SamplingStrategy, labels: NDArray[Any]) -> dict[Any, int]:
    try:
        from imblearn.utils import check_sampling_strategy
    except ImportError as error:
        raise ConfigError(
            f"expected imbalanced-learn, which says how many images each class gets, got {error}; "
            "pip install 'syncgan[imbalanced]', or use SynCGANAugmenter and its `wrap` or `sample`"
        ) from error
    try:
        numbers = check_sampling_strategy(strategy, labels, "over-sampling")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sampling_strategy: {error}") from error
    return {_plain(label): int(count) for label, count in numbers.items()}


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return int(random_state)
    raise ConfigError(f"expected an integer, a RandomState or None as random_state, got {random_state!r}")


def _checked(X: Any, y: Any) -> tuple[Pixels, NDArray[Any]]:  # noqa: N803
    images, labels = np.asarray(X), np.asarray(y)
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
        raise DataError(
            f"expected X as uint8 images (N, H, W, 3) or (N, H, W), got {images.dtype} {images.shape}; "
            "reshape flattened images, and scale or flatten them in a later step of the pipeline"
        )
    if labels.shape != (len(images),):
        raise DataError(f"expected one label an image, got y of shape {labels.shape} for {len(images)} images")
    return images, labels
