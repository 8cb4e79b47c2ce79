"""The contract of discriminators, tried out in the places of both games."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import GANConfig
from syncgan.errors import ContractError
from syncgan.image_cgan import MaskToImageCGAN
from syncgan.mask_gan import MaskGAN
from syncgan.registry import DISCRIMINATORS
from syncgan.testing.rules import (
    IMAGE_SIZE,
    Plugin,
    Rule,
    short_training,
    training_set,
    try_all,
    under_a_name,
)
from syncgan.training.discriminators import build_discriminator, require_logits

__all__ = ["check_discriminator", "discriminator_rules"]

_ITEMS, _CLASSES = 3, 2


def check_discriminator(factory: Plugin, *, levels: int = 2) -> None:
    """Check that a factory makes a usable discriminator, of masks and of masks with images.

    Parameters
    ----------
    factory : a name in ``DISCRIMINATORS`` or the factory itself.
    levels : L of the maps that it shall judge.

    Raises
    ------
    ContractError
        What it did, what was expected, and the rule.

    Examples
    --------
    >>> from torch import nn
    >>> check_discriminator("patchgan")
    >>> check_discriminator(lambda in_channels: nn.Conv2d(in_channels, 2, 4))
    Traceback (most recent call last):
    ...
    syncgan.errors.ContractError: discriminator ...: expected logits (N, 1, h, w), got (1, 2, 29, 29)...(rule: ...
    """
    try_all(discriminator_rules(factory, levels=levels))


def discriminator_rules(factory: Plugin, *, levels: int = 2) -> list[Rule]:
    """Return the rules, see `check_discriminator`, one by one."""
    trial = _Discriminator(factory, levels)
    return [
        Rule("it gives finite logits (N, 1, h, w), told the class or not", trial.gives_logits),
        Rule("a generator can learn from it", trial.passes_gradients),
        Rule("in evaluation mode one input has one judgement", trial.repeats_itself),
        Rule("its features come with the same logits", trial.features_agree),
        Rule("its state holds everything that it needs", trial.can_be_restored),
        Rule("both GANs train with it", trial.trains),
    ]


@dataclass(frozen=True)
class _Place:
    """One place in which a discriminator is used: what it judges, and the classes that it is told."""

    config: GANConfig
    in_channels: int
    classes: int

    def given(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what it judges, (N, in_channels, S, S) in [-1, 1], and its further arguments."""
        generator = rng.torch_generator(0, "discriminator", self.in_channels)
        x = torch.rand(_ITEMS, self.in_channels, IMAGE_SIZE, IMAGE_SIZE, generator=generator) * 2 - 1
        return x, {"label": torch.arange(_ITEMS) % self.classes} if self.classes else {}


class _Discriminator:
    """One discriminator under check.

    Parameters
    ----------
    factory : a name or the factory.
    levels : L.
    """

    def __init__(self, factory: Plugin, levels: int) -> None:
        self._factory = factory
        self._levels = levels

    def gives_logits(self) -> None:
        with self._made_for_every_place() as (name, made):
            for network, place in made:
                x, told = place.given()
                _require_logits(name, network(x, **told))

    def passes_gradients(self) -> None:
        with self._made_for_every_place() as (name, made):
            for network, place in made:
                x, told = place.given()
                x.requires_grad_()
                logits = _require_logits(name, network(x, **told))
                (gradient,) = (
                    torch.autograd.grad(logits.square().mean(), x, allow_unused=True)
                    if logits.requires_grad
                    else (None,)
                )
                if gradient is None or not torch.isfinite(gradient).all() or not gradient.any():
                    raise ContractError(
                        f"discriminator {name!r}: expected a finite gradient that is not zero everywhere, got "
                        f"{'none' if gradient is None else 'another'}; detach nothing, and judge without thresholds"
                    )

    def repeats_itself(self) -> None:
        with self._made_for_every_place() as (name, made):
            for network, place in made:
                x, told = place.given()
                network.eval()
                if not torch.equal(network(x, **told), network(x, **told)):
                    raise ContractError(
                        f"discriminator {name!r} judges one input in two ways in evaluation mode; "
                        "let what is random, as dropout, rest unless `self.training`"
                    )

    def features_agree(self) -> None:
        with self._made_for_every_place() as (name, made):
            for network, place in made:
                judge = getattr(network, "features_and_logits", None)
                if judge is None:
                    continue
                x, told = place.given()
                network.eval()
                returned = judge(x, told.get("label"))
                features, logits = returned if isinstance(returned, tuple) and len(returned) == 2 else (None, None)
                if not isinstance(features, list) or not all(isinstance(item, Tensor) for item in features):
                    raise ContractError(
                        f"discriminator {name!r}: expected features_and_logits to return a list of tensors and the "
                        f"logits, got {type(returned).__name__}"
                    )
                if not isinstance(logits, Tensor) or not torch.equal(logits, network(x, **told)):
                    raise ContractError(f"discriminator {name!r}: features_and_logits gives other logits than forward")

    def can_be_restored(self) -> None:
        with self._made_for_every_place() as (name, made):
            for network, place in made:
                x, told = place.given()
                other = self._made(name, place, seed=1)
                other.load_state_dict(network.state_dict())
                if not torch.equal(network.eval()(x, **told), other.eval()(x, **told)):
                    raise ContractError(
                        f"discriminator {name!r} judges otherwise after loading; put everything that it needs into "
                        "state_dict, as parameters or buffers"
                    )

    def trains(self) -> None:
        images, maps, labels = training_set(self._levels)
        config = short_training(self._levels)
        with under_a_name(DISCRIMINATORS, self._factory) as name:
            place = _Place(config.image_gan, self._levels + 3, _CLASSES)
            matching = hasattr(self._made(name, place), "features_and_logits")
            own = {"discriminator": name}
            matched = own if matching else {**own, "feature_matching_weight": 0}
            config = config.merged({"mask_gan": own, "image_gan": matched})
            MaskGAN(config, device="cpu").fit(maps, labels, levels=self._levels)
            MaskToImageCGAN(config, device="cpu").fit(images, maps, labels, levels=self._levels)

    @contextlib.contextmanager
    def _made_for_every_place(self) -> Iterator[tuple[str, list[tuple[nn.Module, _Place]]]]:
        config = short_training(self._levels)
        places = [
            _Place(section, channels, classes)
            for section, channels in ((config.mask_gan, self._levels), (config.image_gan, self._levels + 3))
            for classes in (0, _CLASSES)
        ]
        with under_a_name(DISCRIMINATORS, self._factory) as name:
            yield name, [(self._made(name, place), place) for place in places]

    def _made(self, name: str, place: _Place, seed: int = 0) -> nn.Module:
        return build_discriminator(
            place.config.model_copy(update={"discriminator": name}),
            in_channels=place.in_channels,
            classes=place.classes,
            image_size=IMAGE_SIZE,
            seed=seed,
            address=("discriminator",),
        )


def _require_logits(name: str, logits: object) -> Tensor:
    checked = require_logits(name, logits, _ITEMS)
    if not torch.isfinite(checked).all():
        raise ContractError(f"discriminator {name!r}: expected finite logits, got NaN or infinite ones")
    return checked
