"""What makes synthetic images in one split: fitted on its training part, when an arm first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from syncgan import rng
from syncgan.augmenter import SynCGANAugmenter
from syncgan.config import SynCGANConfig
from syncgan.evaluation.benchmark.data import BenchmarkData, Guard
from syncgan.evaluation.benchmark.splits import Split
from syncgan.evaluation.runs import score_for

if TYPE_CHECKING:
    from syncgan.training.events import FitEvent

__all__ = ["LazyAugmenter", "SplitSources"]


class LazyAugmenter:
    """Stands for an augmenter that is fitted when something of it is first used.

    Parameters
    ----------
    fit : returns the fitted augmenter.
    """

    def __init__(self, fit: Callable[[], SynCGANAugmenter]) -> None:
        self._fit = fit
        self._fitted: SynCGANAugmenter | None = None
        self._wrapped: dict[Any, Any] = {}

    def get(self) -> SynCGANAugmenter:
        """Return the augmenter, fitted."""
        if self._fitted is None:
            self._fitted = self._fit()
        return self._fitted

    def wrap(self, dataset: Any, strategy: Any = 2.0, transform: Any = None, seed: int = 0, **more: Any) -> Any:
        """Do as `SynCGANAugmenter.wrap`; the same request is rendered once, and one for nothing needs no fit."""
        counts = tuple(sorted(strategy.items(), key=str)) if isinstance(strategy, Mapping) else strategy
        nothing = not any(strategy.values()) if isinstance(strategy, Mapping) else strategy == 0
        if nothing and transform is None and not more:
            return dataset
        if transform is not None or more or callable(strategy):
            return self.get().wrap(dataset, strategy, transform, seed, **more)
        key = (id(dataset), counts, seed)
        if key not in self._wrapped:
            self._wrapped[key] = self.get().wrap(dataset, strategy, None, seed)
        return self._wrapped[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.get(), name)


class SplitSources:
    """The augmenters of one split.

    Parameters
    ----------
    data, split : the images, and which of them train.
    config : of the augmenter.
    work : folder of the runs, in which an interrupted fit goes on; None keeps nothing on disk.
    seed : names everything random in the fits.
    device, callbacks : see `SynCGANAugmenter`.

    Attributes
    ----------
    guard : knows what was fitted on.
    augmenter : SynCGAN's.
    plain_gan : one from noise to colours, without masks (Sec. 4.3).
    warped : one with the renderer of `augmenter` and real masks, warped, in place of the mask GAN's.
    """

    def __init__(
        self,
        data: BenchmarkData,
        split: Split,
        *,
        config: SynCGANConfig,
        work: Path | None,
        seed: int,
        device: str | torch.device = "auto",
        callbacks: Iterable[Callable[[FitEvent], None]] = (),
    ) -> None:
        self.guard = Guard()
        self.augmenter = LazyAugmenter(lambda: self._fit(config, "augmenter"))
        self.plain_gan = LazyAugmenter(lambda: self._fit(plain(config), "plain_gan"))
        is_warped = config.mask_gan.generator == "warp"
        self.warped = self.augmenter if is_warped else LazyAugmenter(self._warped)
        self._data, self._split, self._config, self._work = data, split, config, work
        self._seed, self._device, self._callbacks = seed, device, tuple(callbacks)

    def require_unseen_test(self) -> None:
        """Refuse the split if anything was fitted on a test image."""
        test = self._split.test.tolist()
        self.guard.require_unseen([self._data.names[index] for index in test], self._data.digests(test))

    def _fit(self, config: SynCGANConfig, name: str) -> SynCGANAugmenter:
        chosen = config.image_gan.selection != "last"
        validation = self._data.watched(self._split.validation.tolist(), self.guard) if chosen else None
        train, groups = self._split.train.tolist(), self._data.groups
        # What is held out for a filter is whole patients then, as where users give groups to `fit`.
        held_out_by = [groups[index] for index in train] if groups and config.filters.samples else None
        fitted = SynCGANAugmenter(config, device=self._device, seed=rng.seed_for(self._seed, name)).fit(
            self._data.watched(train, self.guard),
            validation=validation,
            groups=held_out_by,
            run_dir=None if self._work is None else self._work / name,
            callbacks=self._callbacks,
            score=score_for(config, self._device),
        )
        self.require_unseen_test()
        return fitted

    def _warped(self) -> SynCGANAugmenter:
        """Fit the warp alone: the renderer learns from real masks whatever the prior, so one serves both."""
        short = self._config.merged({"mask_gan": {"generator": "warp"}, "image_gan": {"steps": 1, "selection": "last"}})
        renderer = self.augmenter.get().image_gan_
        fitted = self._fit(short, "warped")
        fitted.image_gan_ = renderer
        return fitted


def plain(config: SynCGANConfig) -> SynCGANConfig:
    """Return the settings of a plain GAN: no mask matters, so none is learned or judged."""
    return config.merged(
        {
            "mask_gan": {"generator": "warp"},
            "image_gan": {"generator": "plain_gan", "selection": "last"},
            "filters": {"mask_plausibility": False, "samples": []},
        }
    )
