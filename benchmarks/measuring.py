"""Fair timing on a shared machine: two tasks by turns, ratios pair by pair, process time; peak memory in a child."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

__all__ = ["Paired", "in_child", "paired", "peak_growth", "seconds"]

Task = Callable[[], object]


@dataclass(frozen=True)
class Paired:
    """Medians of a comparison: seconds of each, and of the ratios theirs / ours, with the lowest and the highest."""

    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float


def seconds(task: Task, device: str = "cpu") -> float:
    """Return the seconds of one call: of this process's CPU, or of the clock around a synchronised GPU."""
    if device == "cpu":
        started = time.process_time()
        task()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    task()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def paired(ours: Task, theirs: Task, *, pairs: int, device: str = "cpu") -> Paired:
    """Time both by turns, after one call of each that is not counted."""
    ours(), theirs()
    rounds = [(seconds(ours, device), seconds(theirs, device)) for _ in range(pairs)]
    ratios = [b / a for a, b in rounds]
    first, second = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Paired(first, second, statistics.median(ratios), min(ratios), max(ratios))


def in_child(function: Callable[..., Any], *arguments: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return what `function` returns in a fresh process, which has no memory of others to reuse."""
    with mock.patch.dict(os.environ, environment or {}), multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_growth(task: Task) -> int:
    """Return by how many bytes this process's resident memory grows at most during one call."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        task()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return grown if sys.platform == "darwin" else 1024 * grown
    reset.write_text("5")  # the peak starts again from what is resident now
    before = _kilobytes(status, "VmRSS")
    task()
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))
