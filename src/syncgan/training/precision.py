"""Where and how precisely networks compute: device, autocast, loss scale, memory format, compilation.

Autocast covers the networks' layers alone. Losses, softmax, tanh and gradient penalties are computed in float32.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from syncgan.config import GANConfig, TrainingConfig
from syncgan.errors import ConfigError, warn_user

__all__ = [
    "Precision",
    "as_written",
    "compile_networks",
    "full_precision",
    "memory_format",
    "resolve_device",
    "resolve_precision",
    "undo_compilation",
    "widened",
]

_log = logging.getLogger(__name__)


class Precision:
    """Autocast and loss scale of one training.

    Parameters
    ----------
    name : ``training.precision``.
    device : where the networks are.

    Attributes
    ----------
    dtype : the autocast type, None for plain float32.
    scaler : scales the loss where the type is float16, whose small gradients would otherwise vanish; else disabled.

    Raises
    ------
    ConfigError
        float16 on another device than CUDA.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype = resolve_precision(name, device)
        self._device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which networks run."""
        dtype = self.dtype or torch.bfloat16
        return torch.autocast(self._device.type, dtype=dtype, enabled=self.dtype is not None)


def widened(x: Tensor) -> Tensor:
    """Return `x` in float32, where autocast left it narrower; float64 stays."""
    return x if x.dtype is torch.float64 else x.float()


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return the context for what must not be rounded: gradients of gradients."""
    return torch.autocast(device.type, enabled=False)


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the device for ``"auto"`` (CUDA, else Apple's MPS, else CPU) or for an explicit name.

    Under ``torchrun``, "auto" and "cuda" are the GPU of this process (``LOCAL_RANK``), or the only one that it sees.

    Raises
    ------
    ConfigError
        No such device here.
    """
    if str(name) in ("auto", "cuda") and torch.cuda.is_available():
        if "LOCAL_RANK" not in os.environ:
            return torch.device("cuda")
        # Where a launcher shows each process its own GPU alone, that is number 0 whatever the process's own number.
        seen = torch.cuda.device_count()
        name = f"cuda:{int(os.environ['LOCAL_RANK']) if seen > 1 else 0}"
    if str(name) == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {str(name)!r} cannot be used here ({reason}); expected auto, cpu, cuda, cuda:N or mps"
        ) from error
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast type, or None for plain float32.

    Raises
    ------
    ConfigError
        No such precision, or float16 on another device than CUDA.
    """
    if name not in ("auto", "fp32", "bf16", "fp16"):
        raise ConfigError(f"expected a precision of auto, fp32, bf16 or fp16, got {name!r}")
    if name == "fp16":
        if device.type != "cuda":
            raise ConfigError(
                f"training.precision=fp16 needs a CUDA device, got {device}; use auto, which takes bf16 or fp32"
            )
        return torch.float16
    if name == "bf16":
        return torch.bfloat16
    if name == "fp32" or device.type == "mps":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    # AVX-512 machines without bf16 instructions emulate it, slower than float32.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None


def memory_format(training: TrainingConfig) -> torch.memory_format:
    """Return how the networks' weights and activations lie in memory."""
    return torch.channels_last if training.channels_last else torch.contiguous_format


def compile_networks(
    generator: nn.Module, discriminator: nn.Module, *, gan: GANConfig, training: TrainingConfig, device: torch.device
) -> bool:
    """Compile the networks in place, if the configuration says so; names of weights stay. Return whether any was.

    The discriminator stays as it is under a gradient penalty: compiled graphs have no second derivative.
    """
    graphs = training.cuda_graphs and device.type == "cuda"
    if training.cuda_graphs and not graphs:
        warn_user(f"training.cuda_graphs has no effect on {device.type}; it needs CUDA")
    if not (training.compile or graphs):
        return False
    penalised = gan.r1_weight > 0 or "gp" in gan.adversarial
    for network in (generator,) if penalised else (generator, discriminator):
        network.compile(mode="reduce-overhead" if graphs else None)
    return True


@contextlib.contextmanager
def as_written(network: nn.Module) -> Iterator[nn.Module]:
    """Run a network without its compiled code inside the block, where nothing catches a compiler that fails."""
    compiled, network._compiled_call_impl = network._compiled_call_impl, None
    try:
        yield network
    finally:
        network._compiled_call_impl = compiled


def undo_compilation(*networks: nn.Module) -> None:
    """Run networks as they are written from now on."""
    for network in networks:
        network._compiled_call_impl = None
