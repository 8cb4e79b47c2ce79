"""A rule of a contract as something that can be tried, and the small inputs that plug-ins are tried on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from syncgan.config import SynCGANConfig
from syncgan.data.phantom import Phantom
from syncgan.errors import ContractError, SyncganError
from syncgan.registry import Registry

__all__ = ["IMAGE_SIZE", "Plugin", "Rule", "named", "short_training", "training_set", "try_all", "under_a_name"]

IMAGE_SIZE = 32

Plugin = str | Callable[..., object]

_CHECKED = "plug-in under check"
_SUFFIX = " (rule: "


@dataclass(frozen=True)
class Rule:
    """One rule of a contract: called without arguments, it tries the plug-in.

    Attributes
    ----------
    name : the rule as a sentence.
    trial : returns None, or raises `syncgan.ContractError`.
    """

    name: str
    trial: Callable[[], None]

    def __call__(self) -> None:
        """Try the plug-in.

        Raises
        ------
        ContractError
            What it did, what was expected, and the rule.
        """
        with named(self.name):
            self.trial()

    def __str__(self) -> str:
        return self.name


def try_all(rules: Iterable[Rule]) -> None:
    """Try one rule after the other; the first that is broken raises."""
    for rule in rules:
        rule()


@contextlib.contextmanager
def named(rule: str) -> Iterator[None]:
    """Add the rule to a complaint that does not name one yet."""
    try:
        yield
    except ContractError as error:
        if _SUFFIX in str(error):
            raise
        raise ContractError(f"{error}{_SUFFIX}{rule})") from error


@contextlib.contextmanager
def under_a_name(registry: Registry, plugin: Plugin) -> Iterator[str]:
    """Give the name of a plug-in, which is registered for so long if it has none.

    Raises
    ------
    ContractError
        In place of whatever else but a `SyncganError` the plug-in raises.
    """
    name = plugin if isinstance(plugin, str) else _CHECKED
    if not isinstance(plugin, str):
        registry.register(name)(plugin)
    try:
        yield name
    except SyncganError:
        raise
    except Exception as error:
        raise ContractError(f"{registry.kind} {name!r} raised {type(error).__name__}: {error}") from error
    finally:
        if not isinstance(plugin, str):
            registry.unregister(name)


def training_set(levels: int, per_class: int = 2) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    """Return images (N, 3, S, S), maps (N, S, S) in which every level occurs, and labels of two classes."""
    phantom = Phantom(per_class, image_size=IMAGE_SIZE)
    images = np.stack([phantom.image(index) for index in range(len(phantom))]).transpose(0, 3, 1, 2)
    stripes = np.arange(IMAGE_SIZE, dtype=np.uint8) * (levels - 1) // IMAGE_SIZE
    maps = np.stack([np.where(mask > 0, levels - 1, stripes[None, :]) for mask in phantom.masks]).astype(np.uint8)
    return np.ascontiguousarray(images), maps, phantom.targets


def short_training(levels: int) -> SynCGANConfig:
    """Return a configuration that trains narrow networks for two steps."""
    short = {"steps": 2, "batch_size": 2, "width": 4, "discriminator_width": 4}
    return SynCGANConfig.preset("tiny").merged({"levels": levels, "mask_gan": short, "image_gan": short})
