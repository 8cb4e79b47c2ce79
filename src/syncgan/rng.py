"""Randomness is addressed, not consumed.

Every random stream is named by a seed and an address, for example ``(seed, "mask_gan", "HSIL", step)``. Order of
calls, number of workers, batch size and resuming therefore cannot change a result, and no global random state is read
or written.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, TypeVar

from syncgan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import torch

__all__ = ["build", "moved", "numpy_generator", "require_plain_defaults", "seed_for", "seeded", "torch_generator"]

T = TypeVar("T")


def seed_for(seed: int, *address: str | int) -> int:
    """Derive the seed of one random stream.

    Parameters
    ----------
    seed : the user's seed.
    address : names and numbers of the stream, from general to particular.

    Returns
    -------
    An integer in [0, 2**63), the same on every machine and Python version.

    Examples
    --------
    >>> seed_for(0, "sample", "HSIL", 3) == seed_for(0, "sample", "HSIL", 3)
    True
    >>> seed_for(0, "sample", "HSIL", 3) == seed_for(0, "sample", "HSIL", "3")
    False
    """
    # repr separates 3 from "3" and quotes separators inside names, so two addresses never share a text.
    text = repr((int(seed), *(str(part) if isinstance(part, str) else int(part) for part in address)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *address: str | int) -> np.random.Generator:
    """Return NumPy's generator of one random stream (see `seed_for`)."""
    import numpy as np

    return np.random.default_rng(seed_for(seed, *address))


def torch_generator(seed: int, *address: str | int) -> torch.Generator:
    """Return torch's CPU generator of one random stream (see `seed_for`).

    Noise is always drawn on the CPU and then moved, so that one seed gives the same noise on every device.
    """
    import torch

    return torch.Generator().manual_seed(seed_for(seed, *address))


def require_plain_defaults() -> None:
    """Refuse to draw or build where torch makes tensors on another device than the CPU, or others than float32.

    Networks and noise would be of two kinds then, and the first operation on both would fail.

    Raises
    ------
    ConfigError
        Says which default it is, and what to put around the call.
    """
    import torch

    device, kind = torch.get_default_device(), torch.get_default_dtype()
    if device.type != "cpu":
        raise ConfigError(
            f"expected torch's default device to be the CPU, got {device}; put `with torch.device('cpu'):` around this "
            "call: syncgan takes a device of its own (device=)"
        )
    if kind is not torch.float32:
        raise ConfigError(
            f"expected torch's default type to be float32, got {kind}; "
            "call torch.set_default_dtype(torch.float32) before"
        )


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on the device; on the way to CUDA through pinned memory, so that the host need not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextlib.contextmanager
def seeded(device: torch.device, seed: int, *address: str | int) -> Iterator[None]:
    """Seed torch's global generators (CPU and `device`: CUDA or MPS) from the address in the block; restore them after.

    For what can draw from nowhere else: the initialisers of ``nn.Module``, and dropout.
    """
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed_for(seed, *address))
        for own in devices:
            with torch.cuda.device(own):
                torch.cuda.manual_seed(seed_for(seed, *address))
        if device.type != "mps":
            yield
            return
        before = torch.mps.get_rng_state()
        torch.mps.manual_seed(seed_for(seed, *address))
        try:
            yield
        finally:
            torch.mps.set_rng_state(before)


def build(factory: Callable[[], T], seed: int, *address: str | int) -> T:
    """Call `factory`, which makes a network or its lazy layers, with the initial weights that the address names."""
    import torch

    require_plain_defaults()
    with seeded(torch.device("cpu"), seed, *address):
        return factory()
