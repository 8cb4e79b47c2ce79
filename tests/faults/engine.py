"""What a fault is, how it is injected so and so many times, and how bytes are damaged."""

from __future__ import annotations

import logging
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass
class Outcome:
    """What was left after some tries.

    Attributes
    ----------
    tries : faults injected.
    lost : one line for each try whose promise was broken.
    """

    tries: int = 0
    lost: list[str] = field(default_factory=list)

    def record(self, kept: bool, told: str) -> None:
        """Count one try; `told` says which, should it be lost."""
        self.tries += 1
        if not kept:
            self.lost.append(told)


@dataclass(frozen=True)
class Fault:
    """One way to do harm.

    Attributes
    ----------
    row : of the table of promises, for example "R6".
    name : what is done.
    promise : what holds nevertheless.
    inject : called with an empty folder and a number of tries; one that is fixed by the fault may differ.
    short, long : tries in the tests, and in the long form.
    apart : it forks, limits or signals processes, and needs one without threads.
    """

    row: str
    name: str
    promise: str
    inject: Callable[[Path, int], Outcome]
    short: int
    long: int
    apart: bool = False

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


def random_damage(kind: str, data: bytes, draw: random.Random) -> bytes:
    """Return `data` damaged in one of the ways in `DAMAGES`; never equal to `data`."""
    while True:
        damaged = DAMAGES[kind](bytearray(data), draw)
        if damaged != data:
            return bytes(damaged)


def _flip(data: bytearray, draw: random.Random) -> bytes:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _zero_page(data: bytearray, draw: random.Random) -> bytes:
    size = min(4096, max(1, len(data) // 4))
    start = draw.randrange(len(data)) // size * size
    stop = min(len(data), start + size)
    data[start:stop] = bytes(stop - start)
    return bytes(data)


def _cut(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data[: draw.randrange(len(data))])


def _append(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data) + draw.randbytes(draw.randrange(1, 64))


def _overwrite(data: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice([1, 1, 4, 32])):
        # Half of the changes go to the start, where they do the most harm.
        end = len(data) if draw.random() < 0.5 else min(400, len(data))
        data[draw.randrange(end)] = draw.randrange(256)
    return bytes(data)


DAMAGES = {
    "a flipped bit": _flip,
    "a zeroed page": _zero_page,
    "a cut": _cut,
    "appended bytes": _append,
    "overwritten bytes": _overwrite,
}


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keep out of the table what the log says of every try."""
    log = logging.getLogger(name)
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


def seeds(tries: int, name: str) -> Iterator[random.Random]:
    """Yield one generator a try; the same fault draws the same whatever else is injected."""
    for index in range(tries):
        yield random.Random(f"{name} {index}")


def in_own_process(program: str, *arguments: object, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a Python program with the arguments, so that a crash, a hang or a foreign exception is seen from outside."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=given)


def limit_file_size(size: int) -> None:
    """Let this process write no file beyond `size` bytes: a disk that is full from here on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
