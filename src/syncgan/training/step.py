"""One step: D's updates, then G's (Sec. 3.3: alternating updates), each over the parts of a batch.

An update whose loss or gradient is not finite changes nothing, nor does the rest of its step. That is decided on the
device, where a fused optimiser can be told, so that no step waits for the host.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from syncgan import rng
from syncgan.config import GANConfig, TrainingConfig
from syncgan.errors import TrainingError, warn_user
from syncgan.training.batches import batch_length, cut, parts_of
from syncgan.training.distributed import Ranks
from syncgan.training.precision import Precision, compile_networks, undo_compilation
from syncgan.training.state import TrainingState

if TYPE_CHECKING:
    from syncgan.training.loop import Objective

__all__ = ["Stepper"]

_log = logging.getLogger(__name__)
Terms = Callable[[Any], Iterator[dict[str, Tensor]]]
"""Gives the terms of a loss on part of a batch, pass by pass."""
_G, _D = 0, 1
_ATTEMPT = 2**40  # batch addresses of one attempt; no training has so many steps


class Stepper:
    """Takes steps that change `state`.

    Parameters
    ----------
    seed, stage : address of what only torch's global generator can draw (dropout).
    report : called with an event for the log when memory runs out.
    """

    def __init__(
        self,
        objective: Objective,
        state: TrainingState,
        *,
        gan: GANConfig,
        training: TrainingConfig,
        precision: Precision,
        device: torch.device,
        ranks: Ranks,
        seed: int,
        stage: str,
        report: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._objective = objective
        self._state = state
        self._precision = precision
        self._device = device
        self._ranks = ranks
        self._address = (seed, stage, "step")
        self._discriminator_steps = gan.discriminator_steps
        self._report = report
        self._plain = objective.generator, objective.discriminator
        self._compiled = compile_networks(*self._plain, gan=gan, training=training, device=device)
        self._wrapped = ranks.wrap(objective.generator), ranks.wrap(objective.discriminator)
        self._optimisers = state.generator_optimiser, state.discriminator_optimiser
        self._trained = [part for part in objective.discriminator.parameters() if part.requires_grad]
        self._fake: Tensor | None = None

    def step(self) -> None:
        """Update D `discriminator_steps` times and G once, and count the step."""
        state, device = self._state, self._device
        buffers = [buffer.clone() for buffer in self._buffers()]
        failed = skipped = torch.zeros((), dtype=torch.bool, device=device)
        number = state.attempt * _ATTEMPT + state.step * self._discriminator_steps
        if self._compiled:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        self._optimisers[_G].zero_grad(set_to_none=True)  # D's update needs the memory
        with self._ranks.waiting(), rng.seeded(device, *self._address, number, self._ranks.rank):
            for turn in range(self._discriminator_steps):
                batch = self._draw(number + turn)
                last = turn == self._discriminator_steps - 1
                losses = self._gradients(batch, partial(self._discriminator_terms, keep=last), _D)
                failed, skipped = self._update(_D, losses["discriminator"], failed, skipped)
            terms = self._gradients(batch, self._generator_terms, _G)
            losses["generator"] = torch.stack(list(terms.values())).sum()
            failed, skipped = self._update(_G, losses["generator"], failed, skipped)
            losses |= {f"generator_{name}": value for name, value in terms.items()}
        # Running statistics have seen what was not finite. To ask CUDA whether they have is to wait for it.
        if device.type == "cuda" or (buffers and bool(skipped)):
            for buffer, before in zip(self._buffers(), buffers, strict=True):
                buffer.copy_(torch.where(skipped, before, buffer))
        state.advance(skipped)
        state.add_losses(losses, skipped)
        state.count_skips(failed)

    def _draw(self, number: int) -> Any:
        """Return this process's slice of the batch that `number` names."""
        batch = self._objective.draw(number)
        return batch if self._ranks.world == 1 else cut(batch, *self._ranks.slice_of(batch_length(batch)))

    def _discriminator_terms(self, part: Any, *, keep: bool) -> Iterator[dict[str, Tensor]]:
        # A whole batch is rendered once, for D and for G; parts again for G, which saves memory at the cost of time.
        with contextlib.nullcontext() if keep and self._state.accumulation == 1 else torch.no_grad():
            fake = self._objective.render(part)
        self._fake = fake if fake.requires_grad else None
        terms = self._objective.discriminator_losses(part, fake.detach())
        if self._ranks.world > 1:  # gradients are exchanged once
            terms = iter([torch.stack(list(terms)).sum()])
        for term in terms:
            yield {"discriminator": term}

    def _generator_terms(self, part: Any) -> Iterator[dict[str, Tensor]]:
        fake, self._fake = self._fake, None
        if fake is None:
            fake = self._objective.render(part)
        yield self._objective.generator_losses(part, fake)

    def _gradients(self, batch: Any, terms_of: Terms, which: int) -> dict[str, Tensor]:
        """Leave the gradients of one network over the whole batch; return the mean terms of the loss."""
        while True:
            try:
                with self._in_play(which):
                    return self._summed(batch, terms_of, which)
            except torch.OutOfMemoryError as error:
                reason = str(error).splitlines()[0]
            except Exception as error:
                if not self._compiled:
                    raise
                kind = type(error).__name__
                warn_user(f"the networks cannot be compiled ({kind}); they run as they are")
                self._compiled, self._fake = False, None
                undo_compilation(*self._plain)
                continue
            self._halve(batch, reason)  # outside of the handler, whose traceback holds the memory

    def _summed(self, batch: Any, terms_of: Terms, which: int) -> dict[str, Tensor]:
        state = self._state
        self._optimisers[which].zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        parts = list(parts_of(batch, state.accumulation))
        for index, (part, share) in enumerate(parts):
            with self._exchanging(which, index == len(parts) - 1):
                for terms in self._in_turn(terms_of(part)):
                    loss = torch.stack(list(terms.values())).sum()
                    state.scaler.scale(loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
                    for name, term in terms.items():
                        value = term.detach() if share == 1 else term.detach() * share
                        sums[name] = sums[name] + value if name in sums else value
        return sums

    def _in_turn(self, passes: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """Compute one pass after the other, in the training's precision; gradients are taken outside of it."""
        while True:
            with self._precision.autocast():
                terms = next(passes, None)
            if terms is None:
                return
            yield terms

    def _update(self, which: int, loss: Tensor, failed: Tensor, skipped: Tensor) -> tuple[Tensor, Tensor]:
        """Let an optimiser step unless this or an earlier update of the step is not finite; return the flags.

        Under a loss scale, gradients that overflow are expected: such a step is skipped, the scale falls, and it
        counts as failed only when the scale cannot be to blame.
        """
        optimiser, scaler = self._optimisers[which], self._state.scaler
        scale = scaler.scale(torch.ones((), device=self._device))
        scaler.unscale_(optimiser)
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        lost = ~torch.isfinite(loss)
        overflowed = ~torch.isfinite(torch.nn.utils.get_total_norm(gradients))
        flags = torch.stack([failed | lost | (overflowed & (scale <= 1)), skipped | lost | overflowed])
        failed, skipped = self._ranks.any_of(flags)
        if self._device.type in ("cpu", "cuda"):
            optimiser.found_inf = skipped.float()  # type: ignore[attr-defined]
            optimiser.step()
        elif not bool(skipped):  # Metal's fused Adam takes the flag without heeding it
            optimiser.step()
        scaler.update()
        return failed, skipped

    @contextlib.contextmanager
    def _in_play(self, which: int) -> Iterator[None]:
        """Give the objective the networks of one update: the trained one wrapped, and D frozen in G's."""
        objective, discriminator = self._objective, self._plain[1]
        objective.generator = self._wrapped[0]
        objective.discriminator = self._wrapped[1] if which == _D else discriminator
        self._require_gradients(which == _D)  # G's step needs no gradient for D's weights
        try:
            yield
        finally:
            objective.generator, objective.discriminator = self._plain
            self._require_gradients(True)

    def _require_gradients(self, wanted: bool) -> None:
        for part in self._trained:  # what its author froze in D stays frozen
            part.requires_grad_(wanted)

    def _exchanging(self, which: int, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients with other processes only after the last part."""
        network = self._wrapped[which]
        return contextlib.nullcontext() if last or self._ranks.world == 1 else network.no_sync()  # type: ignore[operator]

    def _halve(self, batch: Any, reason: str) -> None:
        """Cut batches into twice as many parts, which has the same result, except for what depends on the batch."""
        state, items = self._state, batch_length(batch)
        self._fake = None
        if self._ranks.world > 1:  # the others are waiting for these gradients already
            raise TrainingError(
                f"out of memory at step {state.step} ({reason}); start all processes again with --resume "
                f"and training.accumulation={2 * state.accumulation}"
            )
        if state.accumulation >= items:
            raise TrainingError(
                f"out of memory at step {state.step} with one item at a time ({reason}); "
                "lower image_size or the networks' width, or use a device with more memory"
            )
        state.accumulation = min(2 * state.accumulation, items)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        _log.warning("out of memory at step %d: batches now pass in %d parts", state.step, state.accumulation)
        self._report({"event": "out_of_memory", "step": state.step, "accumulation": state.accumulation})

    def _buffers(self) -> list[Tensor]:
        return [buffer for network in self._plain for buffer in network.buffers()]
