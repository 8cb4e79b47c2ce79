"""The one training loop. It alternates D and G, averages weights, logs, saves; the objective computes the losses.

Nothing here knows which GAN it trains. Everything random comes from the objective by (seed, step), so a run that was
stopped and resumed takes the same path as one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from syncgan.config import GANConfig, TrainingConfig
from syncgan.errors import ConfigError, TrainingError
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.interrupt import deferred_signals
from syncgan.training.state import TrainingState

__all__ = ["Objective", "Progress", "resolve_device", "resolve_precision", "train"]

_log = logging.getLogger(__name__)


class Objective(Protocol):
    """What the loop needs of a GAN."""

    generator: nn.Module
    discriminator: nn.Module

    def draw(self, step: int) -> Any:
        """Return the batch of `step`, a pure function of (seed, step)."""

    def render(self, batch: Any) -> Tensor:
        """Return the generator's output for `batch`, with its graph."""

    def discriminator_loss(self, batch: Any, fake: Tensor) -> Tensor:
        """Return D's loss for the detached `fake`."""

    def generator_losses(self, batch: Any, fake: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of G's loss; the loop adds them."""

    def validate(self, generator: nn.Module) -> float | None:
        """Return the validation generator loss (lower is better), or None when nothing is held out."""

    def saturated(self, history: list[float], interval: int) -> bool:
        """Tell from G's mean losses, one per `interval` steps, whether training no longer moves."""


@dataclass(frozen=True)
class Progress:
    """One line of the log, as observers get it."""

    stage: str
    step: int
    total: int
    losses: Mapping[str, float]
    images_per_second: float
    seconds_left: float


def train(
    objective: Objective,
    *,
    stage: str,
    steps: int,
    steps_per_epoch: int,
    gan: GANConfig,
    training: TrainingConfig,
    device: torch.device,
    checkpoints: CheckpointStore | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> TrainingState:
    """Train one GAN until `steps`, saturation or an interruption.

    Parameters
    ----------
    stage : name for log and checkpoints.
    steps, steps_per_epoch : updates in all, and between two validations.
    checkpoints : where to go on from and save to; None keeps nothing on disk.
    observe : called with a `Progress` every ``training.log_every`` steps.

    Returns
    -------
    The final state; its `best` holds the weights with the lowest validation loss, if there was validation.

    Raises
    ------
    TrainingError
        A loss became NaN or infinite.
    KeyboardInterrupt, SystemExit
        Ctrl-C or SIGTERM, after the state has been saved.
    """
    state = TrainingState.start(objective, gan)
    if checkpoints is not None:
        checkpoints.restore(state)
    clock = _Clock(state.step, steps, gan.batch_size)
    with deferred_signals() as signals:
        while state.step < steps and state.stop_reason is None:
            state.add_losses(_step(objective, state, training, device))
            if state.step % training.log_every == 0 or state.step == steps:
                means = _finite(stage, state)
                state.history.append(means["generator"])
                state.forget_losses()
                _notify(observe, clock.progress(stage, state.step, means))
                if objective.saturated(state.history, training.log_every):
                    state.stop_reason = "saturated"
            if state.step % steps_per_epoch == 0 or state.step == steps:
                state.keep_if_best(objective.validate(state.sampling_generator()))
            if checkpoints is not None and (signals.received or checkpoints.due()):
                _finite(stage, state)  # what cannot go on must not be saved as good
                checkpoints.save(state)
            signals.raise_if_received()
    state.stop_reason = state.stop_reason or "all steps done"
    if checkpoints is not None:
        checkpoints.save(state)
    _log.info("%s: stopped after %d of %d steps: %s", stage, state.step, steps, state.stop_reason)
    return state


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the device for ``"auto"`` (CUDA, else Apple's MPS, else CPU) or for an explicit name.

    Raises
    ------
    ConfigError
        No such device here.
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
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
    """Return the autocast type, or None for plain float32."""
    if name == "bf16":
        return torch.bfloat16
    if name == "fp32" or device.type == "mps":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    # AVX-512 machines without bf16 instructions emulate it, slower than float32.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None


def _step(
    objective: Objective, state: TrainingState, training: TrainingConfig, device: torch.device
) -> dict[str, Tensor]:
    """Update D, then G, on the batch of this step (Sec. 3.3: alternating updates)."""
    dtype = resolve_precision(training.precision, device)
    generator, discriminator = objective.generator, objective.discriminator
    batch = objective.draw(state.step)
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        fake = objective.render(batch)
        d_loss = objective.discriminator_loss(batch, fake.detach())
    _update(state.discriminator_optimiser, d_loss)
    discriminator.requires_grad_(False)  # G's step needs no gradient for D's weights
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        g_losses = objective.generator_losses(batch, fake)
    g_loss = torch.stack(list(g_losses.values())).sum()
    _update(state.generator_optimiser, g_loss)
    discriminator.requires_grad_(True)
    state.advance(generator)
    return {"discriminator": d_loss, "generator": g_loss, **{f"generator_{key}": g_losses[key] for key in g_losses}}


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _notify(observe: Callable[[Progress], None] | None, progress: Progress) -> None:
    if observe is None:
        return
    try:
        observe(progress)
    except Exception:
        _log.exception("an observer of the training failed; training goes on")


def _finite(stage: str, state: TrainingState) -> dict[str, float]:
    """Return the mean losses since the last log line; refuse NaN and infinity."""
    means = state.mean_losses()
    for name, value in means.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{stage}: the {name} loss became {value} at step {state.step}; "
                "lower the learning rate or use training.precision=fp32"
            )
    return means


class _Clock:
    """Measures the speed of this process's share of the steps."""

    def __init__(self, step: int, total: int, batch_size: int) -> None:
        self._first = step
        self._total = total
        self._batch_size = batch_size
        self._started = time.monotonic()

    def progress(self, stage: str, step: int, losses: Mapping[str, float]) -> Progress:
        seconds_per_step = (time.monotonic() - self._started) / max(1, step - self._first)
        return Progress(
            stage=stage,
            step=step,
            total=self._total,
            losses=losses,
            images_per_second=self._batch_size / max(seconds_per_step, 1e-9),
            seconds_left=(self._total - step) * seconds_per_step,
        )
