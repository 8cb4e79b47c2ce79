"""The tasks that `performance.py` times: training step and rendering of syncgan, of pix2pix, and as first written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from baselines.networks import Patches, UNet256, pix2pix_step
from torch import Tensor
from torch.nn import functional as F

from syncgan import SynCGANConfig, rng
from syncgan.data.tensors import binarise, one_hot, to_uint8
from syncgan.networks.folding import folded
from syncgan.networks.image_generators import unet
from syncgan.networks.mask_generators import decoder
from syncgan.networks.patchgan import patchgan
from syncgan.training.distributed import Ranks
from syncgan.training.objectives import ImageBatch, ImageObjective
from syncgan.training.precision import Precision, memory_format
from syncgan.training.state import TrainingState
from syncgan.training.step import Stepper

__all__ = ["STEPS", "forward", "sample", "step"]

LEVELS = 2
_MASK_SIDE = 64
Task = Callable[[], object]


def step(kind: str, *, batch: int, size: int, width: int, precision: str, device: str, compiled: bool = False) -> Task:
    """Return one training step of "syncgan", "pix2pix" or "written" on a batch of random masks and images."""
    maps, images = _batch(batch, size, device)
    return STEPS[kind](maps, images, width=width, precision=precision, device=device, compiled=compiled)


def forward(kind: str, *, batch: int, size: int, width: int, precision: str, device: str) -> Callable[..., Tensor]:
    """Return one rendering of a batch, as each would sample."""
    maps, _ = _batch(batch, size, device)
    if kind == "syncgan":
        network = _config(size, width).image_gan
        generator = unet(config=network, levels=LEVELS, image_size=size, classes=0).eval()
        generator = folded(generator.to(device, memory_format=torch.channels_last))
    else:
        generator = UNet256(LEVELS, 3, up=_UP[kind], width=width, size=size).eval().to(device)
    automatic = Precision(precision, torch.device(device))

    @torch.inference_mode()
    def render(of: Tensor = maps) -> Tensor:
        with automatic.autocast():
            return torch.tanh(generator(of).float())

    return render


def sample(*, batch: int, size: int, width: int, precision: str, device: str) -> Task:
    """Return the drawing of a batch: noise to masks by the mask generator "decoder", masks to uint8 images."""
    config = SynCGANConfig().mask_gan
    masks = folded(decoder(config=config, levels=LEVELS, resolution=_MASK_SIDE, classes=0).eval().to(device))
    render = forward("syncgan", batch=batch, size=size, width=width, precision=precision, device=device)
    noise = torch.randn((batch, *masks.noise_shape), generator=torch.Generator().manual_seed(0)).to(device)

    @torch.inference_mode()
    def draw() -> Tensor:
        return to_uint8(render(one_hot(binarise(masks(noise), size), LEVELS)))

    return draw


def _ours(maps: Tensor, images: Tensor, *, width: int, precision: str, device: str, compiled: bool) -> Task:
    """Return the step of the training loop itself, on the preset ``paper``."""
    size = maps.shape[-1]
    config = _config(size, width).updated([f"training.precision={precision}", f"training.cuda_graphs={compiled}"])
    gan, training, where = config.image_gan, config.training, torch.device(device)
    generator = rng.build(lambda: unet(config=gan, levels=LEVELS, image_size=size, classes=0), 0)
    judge = rng.build(lambda: patchgan(config=gan, in_channels=LEVELS + 3, image_size=size), 0)
    objective = ImageObjective(
        generator.to(where, memory_format=memory_format(training)),
        judge.to(where, memory_format=memory_format(training)),
        config=gan,
        batches=lambda number: ImageBatch(number, maps, images, {}, None),
    )
    automatic = Precision(training.precision, where)
    stepper = Stepper(
        objective,
        TrainingState.start(objective, gan, automatic.scaler),
        gan=gan,
        training=training,
        precision=automatic,
        device=where,
        ranks=Ranks(),
        seed=0,
        stage="benchmark",
        report=lambda event: None,
    )
    return stepper.step


def _pix2pix(maps: Tensor, images: Tensor, **options: Any) -> Task:
    return _theirs(maps, images, "pix2pix", F.l1_loss, **options)


def _written(maps: Tensor, images: Tensor, **options: Any) -> Task:
    return _theirs(maps, images, "written", F.mse_loss, **options)


def _theirs(
    maps: Tensor, images: Tensor, kind: str, loss: Any, *, width: int, precision: str, device: str, compiled: bool
) -> Task:
    torch.manual_seed(0)
    generator = UNet256(LEVELS, 3, up=_UP[kind], width=width, size=maps.shape[-1]).to(device)
    judge = Patches(LEVELS + 3, width=width).to(device)
    dtype = torch.bfloat16 if precision == "bf16" else None
    return pix2pix_step(generator, judge, maps, images, reconstruction=loss, autocast=dtype)


def _batch(batch: int, size: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    nuclei = torch.randint(LEVELS, (batch, size, size), generator=generator)
    images = torch.rand((batch, 3, size, size), generator=generator) * 2 - 1
    return F.one_hot(nuclei, LEVELS).permute(0, 3, 1, 2).float().contiguous().to(device), images.to(device)


def _config(size: int, width: int) -> SynCGANConfig:
    settings = [f"image_size={size}", f"image_gan.width={width}", f"image_gan.discriminator_width={width}"]
    return SynCGANConfig.preset("paper").updated(settings)


_UP: dict[str, Any] = {"pix2pix": "transposed", "written": "bilinear"}
STEPS: dict[str, Callable[..., Task]] = {"syncgan": _ours, "pix2pix": _pix2pix, "written": _written}
