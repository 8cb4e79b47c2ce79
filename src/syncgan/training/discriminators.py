"""The discriminator of a game, by its name in ``DISCRIMINATORS``: built, and asked once before it is trained."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import GANConfig
from syncgan.errors import ContractError
from syncgan.registry import DISCRIMINATORS, make
from syncgan.training.previews import evaluating

__all__ = ["build_discriminator", "require_logits"]


def build_discriminator(
    gan: GANConfig, *, in_channels: int, classes: int, image_size: int, seed: int, address: tuple[str, ...]
) -> nn.Module:
    """Return the network, its lazy layers too, with the initial weights that seed and address name.

    Parameters
    ----------
    gan : the settings of its game.
    in_channels : of what it judges, (N, in_channels, S, S) float in [-1, 1].
    classes : how many it is told of; 0 where it is told none.
    image_size : S.

    Raises
    ------
    ContractError
        The factory makes no network, or one whose logits are not (N, 1, h, w).
    """

    def made() -> object:
        return make(
            DISCRIMINATORS.get(gan.discriminator),
            config=gan,
            in_channels=in_channels,
            classes=classes,
            image_size=image_size,
        )

    network = rng.build(made, seed, *address)
    if not isinstance(network, nn.Module):
        raise ContractError(
            f"discriminator {gan.discriminator!r}: expected an nn.Module, got {type(network).__name__}; "
            "let its factory return a network"
        )
    x = torch.zeros(1, in_channels, image_size, image_size)
    told = {"label": torch.zeros(1, dtype=torch.int64)} if classes else {}
    with evaluating(network):
        # The first call is when lazy layers get their weights.
        require_logits(gan.discriminator, rng.build(partial(network, x, **told), seed, *address, "first call"), 1)
    return network


def require_logits(name: str, logits: object, items: int) -> Tensor:
    """Return the logits (items, 1, h, w) of a discriminator of that name.

    Raises
    ------
    ContractError
        It returned something else.
    """
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 4 or tuple(logits.shape[:2]) != (items, 1):
        raise ContractError(
            f"discriminator {name!r}: expected logits (N, 1, h, w), got {shape} for N = {items}; "
            "one channel, one logit for each patch or for the whole"
        )
    return logits
