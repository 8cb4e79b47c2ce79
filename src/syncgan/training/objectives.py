"""The two objectives: the mask GAN's (Sec. 3.4, Eq. 4-6) and the renderer's (Sec. 3.3, Eq. 1-3).

An objective holds two networks and says what they are penalised for. Batches come in as a function of the step, with
everything random in them already drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import GANConfig, ImageGANConfig, MaskGANConfig
from syncgan.training import losses
from syncgan.training.augmentation import Augmentation
from syncgan.training.batches import parts_of
from syncgan.training.precision import full_precision, widened
from syncgan.training.texture import PatchDraw, texture_distance

__all__ = ["ImageBatch", "ImageObjective", "MaskBatch", "MaskObjective"]

_WINDOWS = 3  # that must agree before a loss counts as saturated


@dataclass(frozen=True)
class MaskBatch:
    """One batch of the mask GAN.

    Attributes
    ----------
    step : number of the update.
    real : (N, L, R, R) float in [-1, 1], level probabilities of real masks.
    noise : the generator's input.
    conditions : further keyword arguments of both networks (``label``), empty for a GAN of one class.
    real_target, fake_target : (N, 1, 1, 1) labels for D, drawn for the whole batch so that it can be cut.
    flipped : whether real is labelled fake in this step and vice versa.
    augmentation : what D's items go through, real and generated alike; None for nothing.
    mixing : (N, 1, 1, 1) in [0, 1], where between real and generated the gradient penalty is taken.
    """

    step: int
    real: Tensor
    noise: Tensor
    conditions: dict[str, Tensor] = field(default_factory=dict)
    real_target: Tensor | float = 1.0
    fake_target: Tensor | float = 0.0
    flipped: bool = False
    augmentation: Augmentation | None = None
    mixing: Tensor | None = None


@dataclass(frozen=True)
class ImageBatch:
    """One batch of the renderer.

    Attributes
    ----------
    step : number of the update.
    maps : (N, L, S, S) float one-hot semantic maps.
    images : (N, 3, S, S) float in [-1, 1], the real images of those maps.
    conditions : further keyword arguments of the generator (``noise``, ``label``, ``style``).
    label : (N,) class indices for the discriminator, or None when it is not told.
    augmentation, mixing : as in `MaskBatch`.
    second_noise : noise like that in `conditions`, but other, for the mode-seeking term.
    patches : where and along which directions textures are compared, for the texture term.
    """

    step: int
    maps: Tensor
    images: Tensor
    conditions: dict[str, Tensor]
    label: Tensor | None
    augmentation: Augmentation | None = None
    mixing: Tensor | None = None
    second_noise: Tensor | None = None
    patches: PatchDraw | None = None


class MaskObjective:
    """Adversarial game on masks, with label smoothing and label flips for D only (Sec. 3.4).

    Parameters
    ----------
    generator : ``forward(noise, label=None)`` -> logits (N, L, R, R).
    discriminator : ``forward(x, label=None)`` -> logits (N, 1, h, w).
    batches : step -> `MaskBatch`.
    seed, address : stream of the label noise.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        config: MaskGANConfig,
        batches: Callable[[int], MaskBatch],
        seed: int,
        address: tuple[str | int, ...],
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._config = config
        self._batches = batches
        self._seed = seed
        self._address = address

    def draw(self, step: int) -> MaskBatch:
        """Return the batch of `step`, with the labels of its items for D."""
        batch = self._batches(step)
        real, fake, flipped = self._targets(step, batch.real)
        return replace(batch, real_target=real, fake_target=fake, flipped=flipped)

    def render(self, batch: MaskBatch) -> Tensor:
        """Return level probabilities of generated masks, scaled to [-1, 1]."""
        logits: Tensor = self.generator(batch.noise, **batch.conditions)
        return widened(logits).softmax(dim=1) * 2 - 1

    def discriminator_losses(self, batch: MaskBatch, fake: Tensor) -> Iterator[Tensor]:
        """Yield the terms of Eq. 5 with smoothed, sometimes flipped labels, and the penalties that are on."""
        config, told = self._config, batch.conditions
        real, fake = self._seen(batch, batch.real), self._seen(batch, fake)
        swapped = batch.flipped and config.adversarial != "bce"  # else the targets are

        def adversarial(logits: Tensor, *, of_real: bool) -> Tensor:
            target = batch.real_target if of_real else batch.fake_target
            return losses.discriminator_loss(
                logits, real=of_real is not swapped, kind=config.adversarial, target=target
            )

        logits, penalty = _real_logits(self.discriminator, real, told, batch.step, config)
        yield adversarial(logits, of_real=True) + penalty
        yield adversarial(self.discriminator(fake, **told), of_real=False)
        yield from _mixed_penalties(self.discriminator, real, fake, told, batch.mixing, config)

    def generator_losses(self, batch: MaskBatch, fake: Tensor) -> dict[str, Tensor]:
        """Return Eq. 6, the non-saturating loss with hard labels, and the variety term when it is on."""
        logits = self.discriminator(self._seen(batch, fake), **batch.conditions)
        terms = {"adversarial": losses.generator_loss(logits, kind=self._config.adversarial)}
        if self._config.variety_weight:
            shortfall = losses.variety_shortfall(fake, batch.real, batch.conditions.get("label"))
            terms["variety"] = self._config.variety_weight * shortfall
        return terms

    def validate(self, generator: nn.Module, parts: int = 1) -> dict[str, float]:
        """Return nothing: the paper's mask GAN stops by saturation, not by validation."""
        return {}

    def saturated(self, history: list[float], interval: int) -> bool:
        """Tell whether G's mean loss stayed where it is over the last three windows: neither trend nor turn.

        Both must lie within the tolerance, relative to the mean: how far the fitted straight line moves over the three
        windows, and the largest difference between the means of two of them. Two windows alone would also agree where
        the loss turns round.
        """
        window = self._config.saturation_window // interval
        if not window or len(history) < _WINDOWS * window:
            return False
        recent = torch.tensor(history[-_WINDOWS * window :], dtype=torch.float64)
        means = recent.reshape(_WINDOWS, window).mean(dim=1)
        steps = torch.arange(len(recent), dtype=torch.float64) - (len(recent) - 1) / 2
        trend = (steps @ recent / (steps @ steps)).abs() * len(recent)
        moved = max(float(trend), float(means.max() - means.min()))
        return moved <= self._config.saturation_tolerance * abs(float(recent.mean()))

    def _seen(self, batch: MaskBatch, shares: Tensor) -> Tensor:
        """Return what D sees of real or generated level shares."""
        return shares if batch.augmentation is None else batch.augmentation.masks(shares)

    def _targets(self, step: int, items: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Draw smoothed labels per item, and whether real is labelled fake in this step and vice versa."""
        generator = rng.torch_generator(self._seed, *self._address, "labels", step)
        count = items.shape[0]
        real = _uniform(self._config.real_label_range, count, generator)
        fake = _uniform(self._config.fake_label_range, count, generator)
        flipped = float(torch.rand((), generator=generator)) < self._config.flip_probability
        if flipped:
            real, fake = fake, real
        return real.to(items.device), fake.to(items.device), flipped


class ImageObjective:
    """Adversarial game on (mask, image) pairs plus reconstruction (Eq. 1-3).

    Parameters
    ----------
    generator : ``forward(onehot, noise=None, label=None, ...)`` -> (N, 3, S, S) before tanh.
    discriminator : ``forward(x, label=None)`` on mask and image concatenated -> logits (N, 1, h, w).
    batches : step -> `ImageBatch`.
    validation : batches of held-out pairs, empty for none.
    score : further score of all renderings of the held-out maps, (n, 3, S, S) in [-1, 1]; lower is better.
    perceptual : distance of rendered from real images, (N, 3, S, S) in [-1, 1]; None for none.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        config: ImageGANConfig,
        batches: Callable[[int], ImageBatch],
        validation: Callable[[], Iterable[ImageBatch]] = tuple,
        score: Callable[[Tensor], float] | None = None,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._config = config
        self._batches = batches
        self._validation = validation
        self._score = score
        self._perceptual = perceptual

    def draw(self, step: int) -> ImageBatch:
        """Return the batch of `step`."""
        return self._batches(step)

    def render(self, batch: ImageBatch) -> Tensor:
        """Return rendered images in [-1, 1]."""
        return _render(self.generator, batch)

    def discriminator_losses(self, batch: ImageBatch, fake: Tensor) -> Iterator[Tensor]:
        """Yield the terms of D's loss on mask and image concatenated (Eq. 2), and the penalties that are on."""
        config, told = self._config, _told(batch.label)
        real, fake = _seen(batch, batch.images), _seen(batch, fake)
        logits, penalty = _real_logits(self.discriminator, real, told, batch.step, config)
        yield losses.discriminator_loss(logits, real=True, kind=config.adversarial) + penalty
        logits = self.discriminator(fake, **told)
        yield losses.discriminator_loss(logits, real=False, kind=config.adversarial)
        yield from _mixed_penalties(self.discriminator, real, fake, told, batch.mixing, config)

    def generator_losses(self, batch: ImageBatch, fake: Tensor) -> dict[str, Tensor]:
        """Return Eq. 3, adversarial and weighted reconstruction terms, and those further terms that are on."""
        config = self._config
        terms = self._adversarial_terms(batch, _seen(batch, fake))
        if config.reconstruction_weight:
            reconstruction = losses.reconstruction_loss(
                fake, batch.images, kind=config.reconstruction, cell=config.reconstruction_cell
            )
            terms["reconstruction"] = config.reconstruction_weight * reconstruction
        if self._perceptual is not None:
            terms["perceptual"] = config.perceptual_weight * self._perceptual(fake, batch.images)
        if batch.patches is not None:
            terms["texture"] = config.texture_weight * texture_distance(fake, batch.images, batch.patches)
        if batch.second_noise is not None:
            terms["mode_seeking"] = config.mode_seeking_weight * self._mode_seeking(batch, fake, batch.second_noise)
        return terms

    def _adversarial_terms(self, batch: ImageBatch, fake: Tensor) -> dict[str, Tensor]:
        """Return the adversarial term and, when it is on, feature matching, from one pass of D."""
        config = self._config
        if not config.feature_matching_weight:
            logits = self.discriminator(fake, **_told(batch.label))
            return {"adversarial": losses.generator_loss(logits, kind=config.adversarial)}
        fake_features, logits = self.discriminator.features_and_logits(fake, batch.label)  # type: ignore[operator]
        with torch.no_grad():
            real = _seen(batch, batch.images)
            real_features, _ = self.discriminator.features_and_logits(real, batch.label)  # type: ignore[operator]
        matching = losses.feature_matching(fake_features, real_features)
        return {
            "adversarial": losses.generator_loss(logits, kind=config.adversarial),
            "feature_matching": config.feature_matching_weight * matching,
        }

    def _mode_seeking(self, batch: ImageBatch, fake: Tensor, second_noise: Tensor) -> Tensor:
        again = _render(self.generator, replace(batch, conditions={**batch.conditions, "noise": second_noise}))
        return losses.mode_seeking(fake, again, batch.conditions["noise"], second_noise)

    @torch.no_grad()
    def validate(self, generator: nn.Module, parts: int = 1) -> dict[str, float]:
        """Return scores on held-out pairs, in eval mode; empty when nothing is held out.

        "generator" is the mean generator loss (Eq. 3), "utility" the further score, if there is one. Batches pass
        through the networks in `parts`, and one at a time is on the device.
        """
        modes = generator.training, self.discriminator.training
        generator.eval()
        self.discriminator.eval()
        total, items, rendered = 0.0, 0, []
        for batch in self._validation():
            for part, _ in parts_of(batch, parts):
                fake = _render(generator, part)
                total += float(sum(self.generator_losses(part, fake).values())) * len(part.maps)
                items += len(part.maps)
                if self._score is not None:
                    rendered.append(fake.cpu())
        generator.train(modes[0])
        self.discriminator.train(modes[1])
        if not items:
            return {}
        values = {"generator": total / items}
        if self._score is not None:
            values["utility"] = self._score(torch.cat(rendered))
        return values

    def saturated(self, history: list[float], interval: int) -> bool:
        """Return False: the renderer stops after its epochs."""
        return False


def _render(generator: nn.Module, batch: ImageBatch) -> Tensor:
    out: Tensor = generator(batch.maps, **batch.conditions)
    return torch.tanh(widened(out))


def _seen(batch: ImageBatch, images: Tensor) -> Tensor:
    """Return what D sees of real or rendered images: map and image concatenated, both augmented alike."""
    if batch.augmentation is None:
        return torch.cat([batch.maps, images], dim=1)
    return batch.augmentation.pair(batch.maps, images)


def _told(label: Tensor | None) -> dict[str, Tensor]:
    return {} if label is None else {"label": label}


def _real_logits(
    discriminator: nn.Module, real: Tensor, told: dict[str, Any], step: int, config: GANConfig
) -> tuple[Tensor, Tensor]:
    """Return D's logits on real items and the lazily applied R1 penalty (zero between)."""
    penalised = config.r1_weight > 0 and step % config.r1_every == 0
    if not penalised:
        return discriminator(real, **told), real.new_zeros(())
    real = real.detach().requires_grad_(True)
    with full_precision(real.device):
        logits = discriminator(real, **told)
    return logits, losses.r1_penalty(logits, real) * (config.r1_weight / 2 * config.r1_every)


def _mixed_penalties(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    told: dict[str, Any],
    mixing: Tensor | None,
    config: GANConfig,
) -> Iterator[Tensor]:
    """Yield the weighted gradient penalty of ``wasserstein-gp``, nothing for the other losses."""
    if config.adversarial != "wasserstein-gp" or mixing is None:
        return
    mixed = (mixing * real + (1 - mixing) * fake).detach().requires_grad_(True)
    with full_precision(mixed.device):
        logits = discriminator(mixed, **told)
    yield config.gradient_penalty_weight * losses.gradient_penalty(logits, mixed)


def _uniform(bounds: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    low, high = bounds
    return torch.rand((count, 1, 1, 1), generator=generator) * (high - low) + low
