"""The contracts of mask generators and image generators, tried out by fitting, sampling and restoring small ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from syncgan.errors import ContractError
from syncgan.image_cgan import MaskToImageCGAN
from syncgan.mask_gan import MaskGAN
from syncgan.registry import IMAGE_GENERATORS, MASK_GENERATORS
from syncgan.testing.rules import Plugin, Rule, named, short_training, training_set, try_all, under_a_name

__all__ = ["check_image_generator", "check_mask_generator", "image_generator_rules", "mask_generator_rules"]

_ITEMS = 3
_LEARNS_MASKS = "it learns from masks, told their class or not, and gives masks of the same kind"
_LEARNS_IMAGES = "it learns from pairs of map and image, and gives uint8 images or logits of them"
_SAME = "one seed gives one result"
_PREFIX = "no item depends on how many others are asked for"
_STATE = "its state holds everything that it needs"

Draw = Callable[[int], Tensor]
_Game = tuple[Draw, Callable[[], Draw]]  # how a fitted generator draws, and how one restored from its state does
_Games = tuple[str, list[Callable[[], _Game]]]


def check_mask_generator(factory: Plugin, *, levels: int = 2) -> None:
    """Check that a factory makes a usable mask generator: it is fitted, sampled, and restored from its state.

    Parameters
    ----------
    factory : a name in ``MASK_GENERATORS`` or the factory itself.
    levels : L of the maps that it shall learn.

    Raises
    ------
    ContractError
        What it did, what was expected, and the rule.
    """
    try_all(mask_generator_rules(factory, levels=levels))


def check_image_generator(factory: Plugin, *, levels: int = 2) -> None:
    """Check that a factory makes a usable image generator: it is fitted, renders, and is restored from its state.

    Parameters
    ----------
    factory : a name in ``IMAGE_GENERATORS`` or the factory itself.
    levels : L of the maps that it shall render.

    Raises
    ------
    ContractError
        What it did, what was expected, and the rule.
    """
    try_all(image_generator_rules(factory, levels=levels))


def mask_generator_rules(factory: Plugin, *, levels: int = 2) -> list[Rule]:
    """Return the rules, see `check_mask_generator`, one by one; nothing is fitted before one is called."""
    return _Generator("mask generator", lambda: _mask_games(factory, levels), _LEARNS_MASKS).rules()


def image_generator_rules(factory: Plugin, *, levels: int = 2) -> list[Rule]:
    """Return the rules, see `check_image_generator`, one by one; nothing is fitted before one is called."""
    return _Generator("image generator", lambda: _image_games(factory, levels), _LEARNS_IMAGES).rules()


class _Generator:
    """One generator under check, fitted when a rule is first called; its rules share the fits.

    Parameters
    ----------
    kind : for messages.
    games : context in which the plug-in has a name: gives this name and, for every way to fit it, how it draws and how
        a restored copy does.
    learns : the first rule.
    """

    def __init__(self, kind: str, games: Callable[[], contextlib.AbstractContextManager[_Games]], learns: str) -> None:
        self._kind = kind
        self._games = games
        self._learns = learns
        self._kept: list[_Game] | None = None

    def rules(self) -> list[Rule]:
        return [
            Rule(self._learns, self._draws),
            Rule(_SAME, self._same_again),
            Rule(_PREFIX, self._a_prefix),
            Rule(_STATE, self._restored),
        ]

    def _draws(self) -> None:
        with self._fitted() as (_, games):
            for draw, _ in games:
                draw(_ITEMS)

    def _same_again(self) -> None:
        complaint = "gave two results for one seed; draw from the noise or seed it is given, and from nothing else"
        with self._fitted() as (name, games):
            for draw, _ in games:
                self._require(name, draw(_ITEMS), draw(_ITEMS), complaint)

    def _a_prefix(self) -> None:
        complaint = "gave other items when fewer were asked for; let no item depend on its neighbours"
        with self._fitted() as (name, games):
            for draw, _ in games:
                self._require(name, draw(_ITEMS)[: _ITEMS - 1], draw(_ITEMS - 1), complaint)

    def _restored(self) -> None:
        complaint = "gives other items after loading; put everything that it needs into state_dict"
        with self._fitted() as (name, games):
            for draw, restore in games:
                self._require(name, draw(_ITEMS), restore()(_ITEMS), complaint)

    def _require(self, name: str, one: Tensor, other: Tensor, complaint: str) -> None:
        if not torch.equal(one, other):
            raise ContractError(f"{self._kind} {name!r} {complaint}")

    @contextlib.contextmanager
    def _fitted(self) -> Iterator[tuple[str, list[_Game]]]:
        with self._games() as (name, fits):
            if self._kept is None:
                with named(self._learns):
                    self._kept = [fit() for fit in fits]
            yield name, self._kept


@contextlib.contextmanager
def _mask_games(factory: Plugin, levels: int) -> Iterator[_Games]:
    _, maps, labels = training_set(levels)
    with under_a_name(MASK_GENERATORS, factory) as name:

        def fit(told: list[int] | None) -> _Game:
            config = short_training(levels).merged({"mask_gan": {"generator": name}})
            model = MaskGAN(config, device="cpu").fit(maps, told, levels=levels)
            return model.sample, lambda: MaskGAN.from_state(*model.state(), device="cpu").sample

        yield name, [lambda: fit(None), lambda: fit(labels)]


@contextlib.contextmanager
def _image_games(factory: Plugin, levels: int) -> Iterator[_Games]:
    images, maps, labels = training_set(levels)
    with under_a_name(IMAGE_GENERATORS, factory) as name:

        def draw_of(model: MaskToImageCGAN) -> Draw:
            return lambda count: model.generate(maps[:count], labels[:count])

        def fit() -> _Game:
            config = short_training(levels).merged({"image_gan": {"generator": name}})
            model = MaskToImageCGAN(config, device="cpu").fit(images, maps, labels, levels=levels)
            return draw_of(model), lambda: draw_of(MaskToImageCGAN.from_state(*model.state(), device="cpu"))

        yield name, [fit]
