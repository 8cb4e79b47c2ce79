"""How fast a training is, how long it will still take and how much memory it has used."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

__all__ = ["Clock", "Progress", "peak_memory_mb"]

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Progress:
    """One line of the log, as observers get it.

    Attributes
    ----------
    stage, step, total : name of the training, steps done and in all.
    losses : means since the last line.
    images_per_second : items of the batches over time, since the start or the last resume.
    seconds_left : estimate for this stage.
    seconds : since the start or the last resume.
    peak_memory_mb : most memory so far: of the device on CUDA, else of the process.
    """

    stage: str
    step: int
    total: int
    losses: Mapping[str, float]
    images_per_second: float
    seconds_left: float
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


class Clock:
    """Measures the speed of this process's share of the steps.

    Parameters
    ----------
    total : steps in all.
    batch_size : items in one step.
    """

    def __init__(self, total: int, batch_size: int, device: torch.device) -> None:
        self._taken = 0
        self._total = total
        self._batch_size = batch_size
        self._device = device
        self._started = time.monotonic()

    def tick(self) -> None:
        """Count a step; one that is taken again after a return to an earlier state counts too."""
        self._taken += 1

    def progress(self, stage: str, step: int, losses: Mapping[str, float]) -> Progress:
        """Return the line of the log for `step`."""
        seconds = time.monotonic() - self._started
        seconds_per_step = seconds / max(1, self._taken)
        return Progress(
            stage=stage,
            step=step,
            total=self._total,
            losses=losses,
            images_per_second=self._batch_size / max(seconds_per_step, 1e-9),
            seconds_left=(self._total - step) * seconds_per_step,
            seconds=seconds,
            peak_memory_mb=peak_memory_mb(self._device),
        )


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far in MiB: tensors on CUDA, else all of the process; 0 where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MEBIBYTE if sys.platform == "darwin" else peak / 1024
