"""What training draws for a batch of the renderer besides its items: everything random that a loss term needs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from syncgan.config import ImageGANConfig
from syncgan.training.augmentation import draw_augmentation
from syncgan.training.objectives import ImageBatch
from syncgan.training.texture import draw_patches

__all__ = ["with_draws"]


def with_draws(
    batch: ImageBatch, maps: Tensor, *, config: ImageGANConfig, levels: int, generator: torch.Generator
) -> ImageBatch:
    """Return the batch with what D's view goes through and what single terms of the loss compare.

    Parameters
    ----------
    maps : (N, S, S) uint8, the batch's maps as levels.
    generator : of the CPU.
    """
    device, noise = maps.device, batch.conditions.get("noise")
    # What more experiments leave out comes last, so that leaving it out does not change the rest.
    mixing = torch.rand((len(maps), 1, 1, 1), generator=generator).to(device)
    patches = draw_patches(maps, levels, generator) if config.texture_weight else None
    augmentation = draw_augmentation(
        config.augmentation,
        len(maps),
        maps.shape[-1],
        probability=config.augmentation_probability,
        generator=generator,
        device=device,
    )
    second = None
    if config.mode_seeking_weight and noise is not None:
        second = torch.randn(noise.shape, generator=generator).to(device)
    return replace(batch, augmentation=augmentation, mixing=mixing, second_noise=second, patches=patches)
