"""What a fit tells its callbacks, and how long it will still take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from syncgan.training.clock import Progress
from syncgan.training.previews import Preview
from syncgan.training.run_folder import RunFolder

__all__ = ["FitEvent", "Forecast", "Notifier"]

_log = logging.getLogger(__name__)

Kind = Literal["masks", "plan", "step", "preview", "event", "fitted"]


@dataclass(frozen=True)
class FitEvent:
    """One moment of a fit, as callbacks get it.

    Attributes
    ----------
    kind : "masks" (an image was segmented), "plan" (pairs are ready, stages are known), "step" (a GAN's losses),
        "preview" (what a GAN makes now), "event" (a line of the run's log that is not of losses, for example scores on
        held-out items; only with a run folder), or "fitted" (all is done).
    augmenter : the augmenter being fitted; from "plan" on its `pairs_` are there, on "fitted" it can sample.
    stage : name of the stage, for example ``"mask_gan/HSIL"`` or ``"image_gan"``.
    done, total : steps (or images) done and in all in this stage.
    losses : mean losses since the last event, for "step".
    images_per_second : speed of the stage, for "step".
    seconds_left : estimate over all stages, None before it is known.
    stages : name -> steps of every stage in order, for "plan".
    preview : masks and images, for "preview".
    line : the line of ``stats.jsonl``, for "event".
    """

    kind: Kind
    augmenter: Any
    stage: str = ""
    done: int = 0
    total: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    images_per_second: float | None = None
    seconds_left: float | None = None
    stages: Mapping[str, int] = field(default_factory=dict)
    preview: Preview | None = None
    line: Mapping[str, Any] = field(default_factory=dict)


class Forecast:
    """Seconds left over all stages.

    Parameters
    ----------
    steps : stage -> number of steps, in the order in which they run. Others may report progress between them, such as
        an object that fits itself: what it says is left of it then counts.
    seconds_per_step : stage -> measured before training; the running stage knows better from its own speed.
    """

    def __init__(self, steps: Mapping[str, int], seconds_per_step: Mapping[str, float]) -> None:
        self._steps = dict(steps)
        self._seconds_per_step = dict(seconds_per_step)
        self._not_begun = list(steps)

    def seconds_left(self, progress: Progress | None = None) -> float:
        """Return the estimate at `progress`, or before the first stage."""
        running = 0.0 if progress is None else progress.seconds_left
        if progress is not None and progress.stage in self._not_begun:
            self._not_begun = self._not_begun[self._not_begun.index(progress.stage) + 1 :]
        return running + sum(self._steps[stage] * self._seconds_per_step[stage] for stage in self._not_begun)


class Notifier:
    """Tells callbacks what happens. One that fails is logged and does not stop the training."""

    def __init__(self, augmenter: Any, callbacks: Iterable[Callable[[FitEvent], None]]) -> None:
        self._augmenter = augmenter
        self._callbacks = tuple(callbacks)

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def tell(self, kind: Kind, **details: Any) -> None:
        """Call every callback with a new event."""
        event = FitEvent(kind, self._augmenter, **details)
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                _log.exception("a callback failed; the fit goes on")

    def masks(self, done: int, total: int) -> None:
        """Report a segmented image."""
        self.tell("masks", stage="masks", done=done, total=total)

    def preview(self, preview: Preview) -> None:
        """Show what a GAN makes now."""
        self.tell("preview", stage=preview.stage, done=preview.step, total=preview.total, preview=preview)

    def recorder(self, run: RunFolder) -> Callable[[Mapping[str, Any]], None]:
        """Return what a stage's events go to: the log of the run, then the callbacks."""

        def record(line: Mapping[str, Any]) -> None:
            run.record(line)
            self.tell("event", stage=line["stage"], done=line["step"], line=line)

        return record

    def observer(self, run: RunFolder | None, forecast: Forecast | None) -> Callable[[Progress], None]:
        """Return what the training loop calls: it logs to the run folder and tells the callbacks."""

        def observe(progress: Progress) -> None:
            if run is not None:
                run.log(progress)
            self.tell(
                "step",
                stage=progress.stage,
                done=progress.step,
                total=progress.total,
                losses=progress.losses,
                images_per_second=progress.images_per_second,
                seconds_left=None if forecast is None else forecast.seconds_left(progress),
            )

        return observe
