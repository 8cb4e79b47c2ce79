"""Small games of both GANs in float64, without statistics over the batch, to train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from syncgan.config import ImageGANConfig, MaskGANConfig, TrainingConfig
from syncgan.networks.patchgan import PatchGAN
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.loop import train
from syncgan.training.objectives import ImageBatch, ImageObjective, MaskBatch, MaskObjective
from syncgan.training.state import TrainingState

CPU = torch.device("cpu")
ITEMS = 6


class Renderer(nn.Module):
    """Two convolutions; no statistics over the batch."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, levels, 1))

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        return self.layers(x)


def draw(step: int, *shape: int) -> Tensor:
    return torch.randn(ITEMS, *shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)


def mask_batch(step: int) -> MaskBatch:
    return MaskBatch(step, draw(step, 2, 16, 16).tanh(), draw(step + 1000, 1, 16, 16))


def image_batch(step: int) -> ImageBatch:
    return ImageBatch(step, draw(step, 2, 16, 16).sigmoid(), draw(step + 1000, 3, 16, 16).tanh(), {}, None)


def objective(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Return a small game in float64, and its configuration."""
    channels = 2 if kind == "mask" else 5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        discriminator = PatchGAN(channels, width=4, layers=1, normalisation="instance").double()
        generator = Renderer(1, 2).double() if kind == "mask" else Renderer(2, 3).double()
    options = {"batch_size": ITEMS, "r1_weight": 1.0, "r1_every": 2, **settings}
    if kind == "mask":
        # The variety term compares the items of what it is given, so it alone differs between a batch and its parts.
        config: Any = MaskGANConfig(**{"variety_weight": 0.0, **options})
        return MaskObjective(
            generator, discriminator, config=config, batches=mask_batch, seed=0, address=("m",)
        ), config
    config = ImageGANConfig(**{"feature_matching_weight": 1.0, **options})
    return ImageObjective(generator, discriminator, config=config, batches=image_batch), config


def run(game: Any, config: Any, steps: int = 6, **options: Any) -> TrainingState:
    settings = {"precision": "fp32", "log_every": 2, **options.pop("training", {})}
    return train(
        game,
        stage="stage",
        steps=steps,
        steps_per_epoch=3,
        gan=config,
        training=TrainingConfig(**settings),
        device=CPU,
        **options,
    )


def store(folder: Path, **options: Any) -> CheckpointStore:
    return CheckpointStore(folder, **{"identity": {}, "every_seconds": 0.0, "keep": 2, **options})


def weights(state: TrainingState) -> Tensor:
    groups = state.tensors()
    return torch.cat(
        [groups[group][name].double().flatten() for group in sorted(groups) for name in sorted(groups[group])]
    )
