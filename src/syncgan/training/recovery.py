"""Where a training goes on from: its checkpoints, or the last good state in memory; and what its log is told.

A state is good when it is finite and the last step was not skipped. After several skipped steps in a row, training
returns to the last good state and takes other batches from there, since the same ones would fail again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from syncgan.config import TrainingConfig
from syncgan.errors import TrainingError
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.distributed import Ranks
from syncgan.training.state import TrainingState

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)
_IN_A_ROW = 3

_REMEDY = (
    "lower learning_rate and discriminator_learning_rate of this GAN, use training.precision=fp32, "
    "or raise training.max_rollbacks"
)

Saved = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]


class Keeper:
    """Keeps the good states of one stage.

    Parameters
    ----------
    state : what is kept and put back.
    stage : for messages.
    checkpoints : the store on disk; only the main process uses it, the others are told.
    training : how often to keep a state, and how often to return to one before giving up.
    """

    def __init__(
        self,
        state: TrainingState,
        *,
        stage: str,
        checkpoints: CheckpointStore | None,
        ranks: Ranks,
        training: TrainingConfig,
    ) -> None:
        self._state = state
        self._stage = stage
        self._store = checkpoints if ranks.main else None
        self._ranks = ranks
        self._max_rollbacks = training.max_rollbacks
        self._every_seconds = training.checkpoint_seconds
        self._copied_at = time.monotonic()
        self._skipped = 0
        self._memory: Saved | None = None

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        restored = self._store is not None and self._store.restore(self._state)
        if self._ranks.share(restored):
            self.synchronise()
        elif self._ranks.main:
            self._memory = _copy(self._state)
        self._skipped = int(self._state.skips[0])

    def synchronise(self) -> None:
        """Give every process the main one's state; running statistics may have gone apart."""
        if self._ranks.world > 1:
            saved = self._ranks.share(_copy(self._state) if self._ranks.main else None)
            if saved is not None and not self._ranks.main:
                self._state.load(*saved)

    def record(self, event: Mapping[str, Any]) -> None:
        """Add an event to the stage's log; a log that fails does not stop the training."""
        _log.info("%s: %s", self._stage, event)
        if self._store is None:
            return
        try:
            self._store.record({"stage": self._stage, **event})
        except Exception:
            _log.exception("the log of the training failed; training goes on")

    def recovered(self) -> bool:
        """Look for skipped steps; after too many in a row return to a good state, and say so.

        Raises
        ------
        TrainingError
            It has gone back too often already.
        """
        state = self._state
        total, _, longest = map(int, state.skips.tolist())
        if total > self._skipped:
            self.record({"event": "skipped", "step": state.step, "skipped": total})
            _log.warning("%s: %d steps skipped until step %d: a loss was not finite", self._stage, total, state.step)
            # Running statistics may have caught what was not finite, each process its own.
            longest = self._ranks.agree(longest if state.is_finite() else _IN_A_ROW)
        self._skipped = total
        state.skips[2] = 0
        if longest >= _IN_A_ROW:
            self._roll_back()
        return longest >= _IN_A_ROW

    def validated(self, values: Mapping[str, float], *, by: str | None) -> None:
        """Log scores on held-out items, and keep the weights if they are the best so far by the score `by`."""
        if not values:
            return
        self._state.keep_if_best(values, by=by)
        shown = {name: value if math.isfinite(value) else None for name, value in values.items()}  # as JSON can hold
        self.record({"event": "validated", "step": self._state.step, "validation": shown})

    def close_step(self, *, stopping: bool) -> None:
        """Keep the state if that is due; at the end of the training say why it ended.

        Parameters
        ----------
        stopping : the process is about to end.

        Raises
        ------
        TrainingError
            Training ended in a state that is not finite.
        """
        state = self._state
        if state.stop_reason is not None:
            self.synchronise()
            if not state.is_finite():
                raise TrainingError(f"{self._stage}: the weights are not finite at step {state.step}; {_REMEDY}")
            kept = state.step if state.best_step is None else state.best_step
            # Before the save: a log line may be written twice, and is then dropped, but must not be lost.
            self.record({"event": "stopped", "step": state.step, "reason": state.stop_reason, "kept_step": kept})
            self._save()
        elif self._due(stopping) and not int(state.skips[1]) and state.is_finite():
            self._save()

    def _due(self, stopping: bool) -> bool:
        if self._store is not None:
            return stopping or self._store.due()
        return self._ranks.main and time.monotonic() - self._copied_at >= self._every_seconds

    def _save(self) -> None:
        if self._store is not None:
            self._store.save(self._state)
            self._memory = None
        elif self._state.stop_reason is None:
            self._memory, self._copied_at = _copy(self._state), time.monotonic()

    def _roll_back(self) -> None:
        state = self._state
        attempt, skips, failed_at = state.attempt + 1, state.skips, state.step
        if attempt > self._max_rollbacks:
            raise TrainingError(
                f"{self._stage}: a loss became NaN or infinite again and again, last at step {failed_at}, and also "
                f"after {self._max_rollbacks} returns to an earlier state; {_REMEDY}"
            )
        restored = self._store is not None and self._store.restore(state)
        if not restored and self._memory is not None:
            state.load(*self._memory)
        self.synchronise()
        state.attempt = attempt
        state.skips = skips * skips.new_tensor([1, 0, 0])
        _log.warning("%s: back from step %d to step %d, with other batches", self._stage, failed_at, state.step)
        self.record({"event": "rolled_back", "step": state.step, "failed_at": failed_at, "attempt": attempt})
        if restored and self._store is not None:
            self._store.save(state)  # so that a resumed run knows how often it has gone back


def _copy(state: TrainingState) -> Saved:
    tensors = {
        group: {name: value.detach().cpu().clone() for name, value in members.items()}
        for group, members in state.tensors().items()
    }
    return tensors, state.numbers()
