"""The one training loop. It steps, looks, logs, validates and saves; the objective computes the losses.

Nothing here knows which GAN it trains. Everything random comes from the objective by (seed, step), so a run that was
stopped and resumed takes the same path as one that was not.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from syncgan.config import GANConfig, TrainingConfig
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.clock import Clock, Progress
from syncgan.training.distributed import process_group
from syncgan.training.interrupt import deferred_signals
from syncgan.training.precision import Precision, as_written, resolve_device, resolve_precision, undo_compilation
from syncgan.training.recovery import Keeper
from syncgan.training.state import TrainingState
from syncgan.training.step import Stepper

__all__ = ["Objective", "Progress", "resolve_device", "resolve_precision", "train"]

_log = logging.getLogger(__name__)


class Objective(Protocol):
    """What the loop needs of a GAN."""

    generator: nn.Module
    discriminator: nn.Module

    def draw(self, step: int) -> Any:
        """Return the batch of `step`, a pure function of (seed, step).

        A dataclass whose tensors, also those in dicts, begin with the items, so that it can be cut into parts;
        whatever the losses need that is random is in it.
        """

    def render(self, batch: Any) -> Tensor:
        """Return the generator's output for `batch`, with its graph."""

    def discriminator_losses(self, batch: Any, fake: Tensor) -> Iterator[Tensor]:
        """Yield the terms of D's loss for the detached `fake`, means over the items; the loop adds them.

        It takes the gradient of each before it asks for the next, so that one pass of D is in memory at a time.
        """

    def generator_losses(self, batch: Any, fake: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of G's loss, means over the items; the loop adds them."""

    def validate(self, generator: nn.Module, parts: int = 1) -> dict[str, float]:
        """Return scores on held-out items (lower is better), empty when nothing is held out; batches go in `parts`."""

    def saturated(self, history: list[float], interval: int) -> bool:
        """Tell from G's mean losses, one per `interval` steps, whether training no longer moves."""


def train(
    objective: Objective,
    *,
    stage: str,
    steps: int,
    steps_per_epoch: int,
    gan: GANConfig,
    training: TrainingConfig,
    device: torch.device,
    seed: int = 0,
    select_by: str | None = None,
    checkpoints: CheckpointStore | None = None,
    observe: Callable[[Progress], None] | None = None,
    preview: Callable[[nn.Module, int], None] | None = None,
) -> TrainingState:
    """Train one GAN until `steps`, saturation or an interruption; with the other processes under ``torchrun``.

    Parameters
    ----------
    objective : the networks, their batches and losses.
    stage : name for log and checkpoints.
    gan, training : settings of the game (optimisers, batch size), and of the loop.
    device : where the networks are.
    steps, steps_per_epoch : updates in all, and in one pass over the items.
    seed : of what the networks draw by themselves (dropout).
    select_by : the score of ``objective.validate`` whose lowest value says which weights are kept; None: the last.
    checkpoints : where to go on from and save to; None keeps nothing on disk.
    observe : called with a `Progress` every ``training.log_every`` steps, in the main process.
    preview : called with the sampling network and the step every ``training.preview_every`` steps and at the end, in
        the main process.

    Returns
    -------
    The final state; its `best` holds the weights with the lowest score, if there was one to select by.

    Raises
    ------
    ConfigError
        A precision that the device does not have, or a batch that the processes cannot share evenly.
    TrainingError
        Losses stayed NaN or infinite, memory ran out with one item at a time, or another process died.
    KeyboardInterrupt, SystemExit
        Ctrl-C or SIGTERM, after the state has been saved.
    """
    precision = Precision(training.precision, device)
    validate_every = steps_per_epoch if training.validate_every == "epoch" else training.validate_every
    with (
        process_group(device, training.distributed_timeout_seconds) as ranks,
        deferred_signals() as signals,
        contextlib.ExitStack() as after,
    ):
        # What samples later is the network as it is written: as loaded from a file, and in any thread.
        after.callback(undo_compilation, objective.generator, objective.discriminator)
        state = TrainingState.start(objective, gan, precision.scaler, training.accumulation)
        keeper = Keeper(state, stage=stage, checkpoints=checkpoints, ranks=ranks, training=training)
        keeper.resume()
        if state.stop_reason is not None:
            return state
        stepper = Stepper(
            objective,
            state,
            gan=gan,
            training=training,
            precision=precision,
            device=device,
            ranks=ranks,
            seed=seed,
            stage=stage,
            report=keeper.record,
        )
        clock = Clock(steps, gan.batch_size, device)
        while state.stop_reason is None:
            stepper.step()
            clock.tick()
            last = state.step >= steps
            log = last or state.step % training.log_every == 0
            # To look whether a step was skipped is to wait for the device: CUDA is asked only when the log asks too.
            if (log or device.type != "cuda") and keeper.recovered():
                continue
            if log and (means := ranks.mean(state.close_interval())):
                state.history.append(means["generator"])
                _notify(observe if ranks.main else None, clock.progress(stage, state.step, means))
            if last or state.step % validate_every == 0:
                with as_written(state.sampling_generator()) as sampling:
                    values = objective.validate(sampling, state.accumulation) if ranks.main else {}
                keeper.validated(ranks.share(values), by=select_by)
            if last:
                state.stop_reason = "all steps done"
            elif log and objective.saturated(state.history, training.log_every):
                state.stop_reason = "saturated"
            if state.stop_reason and select_by is not None and state.best_step is None:
                state.stop_reason += f", but no {select_by} score was finite"
            if training.preview_every and (state.stop_reason or state.step % training.preview_every == 0):
                with as_written(state.sampling_generator()) as sampling:
                    _notify(preview if ranks.main else None, sampling, state.step)
            signal = ranks.agree(signals.received or 0)
            keeper.close_step(stopping=bool(signal))
            signals.act_on(signal)
    return state


def _notify(observe: Callable[..., None] | None, *news: Any) -> None:
    if observe is None:
        return
    try:
        observe(*news)
    except Exception:
        _log.exception("an observer of the training failed; training goes on")
