"""Render the samples that `BatchTransform` puts into a batch: with new masks each time, or with those of a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from syncgan import rng
from syncgan.data.sampling import ClassSampler
from syncgan.errors import ConfigError

__all__ = ["BatchRenderer"]


class BatchRenderer:
    """Renders one image a label and seed; each depends on its own label and seed alone.

    Parameters
    ----------
    sampler : draws and renders.
    label_values : label of each of its classes.
    seed : names the masks of the pool.
    pool : masks a class that are drawn at the first call and used again with new noise and stain; 0 draws a new mask
        for every image.
    autocast : context in which the renderer runs.

    Raises
    ------
    ConfigError
        `pool` is not a whole number of at least 0, or is asked for together with sample filters.
    """

    def __init__(
        self,
        sampler: ClassSampler,
        label_values: Sequence[int],
        *,
        seed: int,
        pool: int,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        if isinstance(pool, bool) or not isinstance(pool, int) or pool < 0:
            raise ConfigError(f"expected a whole number of masks of at least 0 as pool, got {pool!r}")
        if pool and sampler.sample_filters:
            raise ConfigError(
                f"the sample filters {', '.join(sampler.sample_filters)} look at every image, which a pool of masks "
                "renders without; set pool=0, or drop the filters with use_filters([])"
            )
        self._sampler, self._label_values = sampler, tuple(label_values)
        self._seed, self._pool, self._autocast = seed, pool, autocast
        self._masks: Tensor | None = None

    def __call__(self, labels: Tensor, item_seeds: list[int]) -> Tensor:
        """Return (k, 3, S, S) uint8 images on the model's device.

        Parameters
        ----------
        labels : (k,) integers, on any device. Without a pool their values are read back to the host.
        item_seeds : k seeds.
        """
        if not self._pool:
            classes = [self._label_values.index(label) for label in labels.tolist()]
            with self._autocast():
                return self._sampler.render(classes, item_seeds).images
        if self._masks is None:
            self._masks = self._drawn()
        device = self._masks.device
        values = rng.moved(torch.tensor(self._label_values), device)
        indices = (rng.moved(labels, device)[:, None] == values).int().argmax(dim=1)
        picks = torch.tensor([rng.seed_for(seed, "pool") % self._pool for seed in item_seeds])
        with self._autocast():
            return self._sampler.renderer.render(self._masks[indices, rng.moved(picks, device)], indices, item_seeds)

    def _drawn(self) -> Tensor:
        """Draw the pool: (classes, pool, S, S) uint8."""
        seeds = [rng.seed_for(self._seed, "mask pool", number) for number in range(self._pool)]
        return torch.stack([self._sampler.maps(index, seeds) for index in range(len(self._label_values))])
