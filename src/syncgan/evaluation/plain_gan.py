"""The control of the paper's Table 3: a plain GAN from noise to colour images, without masks.

It is registered as image generator ``plain_gan``, so that everything which renders masks can be run with it and
compared; the masks that it is given have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syncgan import rng
from syncgan.config import ImageGANConfig, MaskGANConfig, TrainingConfig
from syncgan.data.tensors import to_model, to_uint8
from syncgan.errors import ConfigError
from syncgan.networks.mask_generators import LatentDecoder
from syncgan.training.augmentation import dihedral, draw_augmentation, draw_dihedral
from syncgan.training.batches import batch_indices, stay_on_host
from syncgan.training.discriminators import build_discriminator
from syncgan.training.loop import resolve_device, train
from syncgan.training.objectives import MaskBatch, MaskObjective
from syncgan.training.precision import memory_format

__all__ = ["PlainGAN", "plain_gan"]

_STAGE = "image_gan"
_LATENT_DIM = 64


class PlainGAN:
    """Draw colour images of a class from noise alone (Sec. 4.3, "GAN").

    Generator and discriminator are those of the mask GAN with three colour channels in place of the levels; one
    network learns all classes and is told the class. Steps, batch size, learning rates, augmentation and moving average
    are the renderer's.

    Parameters
    ----------
    config : the section ``image_gan``.
    image_size, classes : S, a power of two, and the number of classes.
    device : where it is trained.

    Raises
    ------
    ConfigError
        S is no power of two.
    """

    def __init__(self, *, config: ImageGANConfig, image_size: int, classes: int, device: str | torch.device) -> None:
        if image_size & (image_size - 1):
            below = 1 << (image_size.bit_length() - 1)
            raise ConfigError(
                f"image generator 'plain_gan': expected image_size to be a power of two, got {image_size}; "
                f"set image_size to {below} or {2 * below}, or choose another image_gan.generator"
            )
        self.config = config
        self.image_size = image_size
        self.classes = classes
        self.device = resolve_device(device)
        self.generator: Any = LatentDecoder(
            latent_dim=_LATENT_DIM, levels=3, resolution=image_size, width=config.width, classes=classes
        )

    def fit(
        self,
        images: NDArray[np.uint8],
        maps: NDArray[np.uint8],
        *,
        labels: NDArray[np.int64],
        seed: int = 0,
        training: TrainingConfig | None = None,
        checkpoints: Any = None,
        observe: Callable[..., None] | None = None,
    ) -> PlainGAN:
        """Learn from images (N, 3, S, S) uint8 of class indices `labels`; `maps` are not looked at."""
        gan, training = self.config, training or TrainingConfig()
        discriminator = build_discriminator(
            gan,
            in_channels=3,
            classes=self.classes,
            image_size=self.image_size,
            seed=seed,
            address=(_STAGE, "plain discriminator"),
        )
        pixels, told = torch.from_numpy(images), torch.from_numpy(labels)
        if not stay_on_host([pixels], self.device, training.data_device):
            pixels = rng.moved(pixels, self.device)
        state = train(
            _PlainObjective(
                self.generator.to(self.device, memory_format=memory_format(training)),
                discriminator.to(self.device).to(memory_format=memory_format(training)),
                config=_game(gan),
                batches=lambda step: self._batch(pixels, told, step, seed),
                seed=seed,
                address=(_STAGE,),
            ),
            stage=_STAGE,
            steps=gan.total_steps(len(images)),
            steps_per_epoch=max(1, len(images) // gan.batch_size),
            gan=gan,
            training=training,
            device=self.device,
            seed=seed,
            checkpoints=checkpoints,
            observe=observe,
        )
        self.generator.load_state_dict(state.chosen_weights())
        self.generator.eval()
        return self

    @torch.no_grad()
    def generate(
        self, maps: NDArray[np.uint8], labels: Sequence[int] | None = None, seed: int = 0
    ) -> NDArray[np.uint8]:
        """Return one image a map, (n, 3, S, S) uint8; only the number of maps matters."""
        self.generator.eval()
        generator = rng.torch_generator(seed, "plain noise")
        noise = torch.randn((len(maps), *self.generator.noise_shape), generator=generator).to(self.device)
        told = torch.as_tensor(list(labels or [0] * len(maps)), device=self.device) if self.classes else None
        return to_uint8(torch.tanh(self.generator(noise, told).float())).cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the generator's weights."""
        weights: dict[str, Tensor] = self.generator.state_dict()
        return weights

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put weights back."""
        self.generator.load_state_dict(dict(state))
        self.generator.to(self.device)

    def _batch(self, pixels: Tensor, labels: Tensor, step: int, seed: int) -> MaskBatch:
        gan = self.config
        indices = batch_indices(step, items=len(pixels), batch_size=gan.batch_size, seed=seed, address=(_STAGE,))
        generator = rng.torch_generator(seed, _STAGE, "batch", step)
        chosen = rng.moved(pixels[indices.to(pixels.device)], self.device)
        if gan.dihedral:
            chosen = dihedral(chosen, draw_dihedral(len(chosen), generator))
        noise = torch.randn((len(chosen), *self.generator.noise_shape), generator=generator).to(self.device)
        augmentation = draw_augmentation(
            gan.augmentation,
            len(chosen),
            self.image_size,
            probability=gan.augmentation_probability,
            generator=generator,
            device=self.device,
        )
        mixing = torch.rand((len(chosen), 1, 1, 1), generator=generator).to(self.device)
        told = {"label": labels[indices].to(self.device)} if self.classes else {}
        return MaskBatch(step, to_model(chosen), noise, told, augmentation=augmentation, mixing=mixing)


class _PlainObjective(MaskObjective):
    """The mask GAN's game on colours in place of level shares."""

    def render(self, batch: MaskBatch) -> Tensor:
        """Return generated images in [-1, 1]."""
        logits: Tensor = self.generator(batch.noise, **batch.conditions)
        return torch.tanh(logits.float())

    def _seen(self, batch: MaskBatch, shares: Tensor) -> Tensor:
        """Return what D sees of real or generated images: unlike level shares they have colours to change."""
        return shares if batch.augmentation is None else batch.augmentation.images(shares)


def _game(gan: ImageGANConfig) -> MaskGANConfig:
    """Return the mask GAN's smoothing and flips with the renderer's losses."""
    shared = ("adversarial", "gradient_penalty_weight", "r1_weight", "r1_every")
    return MaskGANConfig(saturation_window=0, variety_weight=0.0, **{name: getattr(gan, name) for name in shared})


def plain_gan(
    *, config: ImageGANConfig, image_size: int, classes: int, device: str | torch.device = "auto"
) -> PlainGAN:
    """Make the plain GAN, a baseline that takes no notice of masks."""
    return PlainGAN(config=config, image_size=image_size, classes=classes, device=device)
