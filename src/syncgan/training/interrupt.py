"""Ctrl-C and SIGTERM wait for the end of the step, so that a checkpoint is never torn."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["Signals", "deferred_signals"]


class Signals:
    """What has arrived. The first signal is remembered; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, signal.Handlers] = {}

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Keep the signal for the end of the step, and let the next one through."""
        self.received = number
        self.restore()

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is None:  # a handler of the program that embeds Python cannot be put back
                    continue
                self._previous[number] = signal.signal(number, self.remember)  # type: ignore[assignment]

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def act_on(self, number: int) -> None:
        """Act on a signal, 0 for none: `KeyboardInterrupt`, or `SystemExit` with 143 for SIGTERM."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Hold back SIGINT and SIGTERM inside the block; see `Signals`."""
    signals = Signals()
    signals.install()
    try:
        yield signals
    finally:
        signals.restore()
