"""What a person sees while a command works: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from syncgan.evaluation.report import spoken_duration
from syncgan.evaluation.training_figures import stopping_sentence

if TYPE_CHECKING:
    from syncgan.training.events import FitEvent

__all__ = [
    "Display",
    "FitProgress",
    "PlainDisplay",
    "SilentDisplay",
    "TerminalDisplay",
    "listed",
    "printable",
    "reading_lines",
    "reasons",
]

_PLAIN_SECONDS = 5.0
_SHOWN = 10


def printable(text: str) -> str:
    r"""Return text without control characters and lone surrogates, which could steer a terminal or not be encoded.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def listed(counts: Mapping[str, int], what: str = "images") -> str:
    """Return counts for people.

    Examples
    --------
    >>> listed({"HSIL": 12, "NILM": 20})
    '32 images: 12 HSIL, 20 NILM'
    """
    parts = ", ".join(f"{count} {name}".rstrip() for name, count in counts.items())
    return f"{sum(counts.values())} {what}: {parts}" if any(counts) else f"{sum(counts.values())} {what}"


def reading_lines(counts: Mapping[str, int], skipped: Mapping[str, str], notes: Iterable[str]) -> list[str]:
    """Say what was read, what could not be, and what the reader decided."""
    if not skipped:
        lines = [f"read {listed(counts)}"]
    else:
        total = sum(counts.values()) + len(skipped)
        lines = [f"read {listed(counts, f'of {total} images')}"]
        lines += reasons(f"unreadable files left out: {len(skipped)}", skipped)
    return [*lines, *(f"note: {note}" for note in notes)]


def reasons(title: str, found: Mapping[str, str]) -> list[str]:
    """Return a heading and the first of some names with their reasons."""
    lines = [title, *(f"  {name}: {reason}" for name, reason in list(found.items())[:_SHOWN])]
    return lines if len(found) <= _SHOWN else [*lines, f"  and {len(found) - _SHOWN} more"]


class Display(AbstractContextManager["Display"]):
    """Shows lines and the progress of stages; this one shows nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def say(self, text: str) -> None:
        """Show one line."""

    def update(self, stage: str, done: int, total: int, details: str = "", seconds_left: float | None = None) -> None:
        """Show how far a stage is.

        Parameters
        ----------
        details : losses and speed.
        seconds_left : over the whole command, None when not known.
        """

    def close(self) -> None:
        """Leave the terminal as it was."""


class SilentDisplay(Display):
    """Shows nothing."""


class PlainDisplay(Display):
    """Plain lines for files and pipes: at a change of stage, at its end, and else at most one in five seconds.

    Parameters
    ----------
    stream : where lines go.
    clock : tells seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._stage: str | None = None
        self._last = 0.0

    def say(self, text: str) -> None:
        """Show `text` as one line."""
        self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def update(self, stage: str, done: int, total: int, details: str = "", seconds_left: float | None = None) -> None:
        """Show one line, unless the last one is fresh.

        Parameters
        ----------
        stage, done, total : "masks", and how many of how many steps or items.
        details : losses and speed.
        seconds_left : over the whole command, None when not known.
        """
        now = self._clock()
        if stage == self._stage and done < total and now - self._last < _PLAIN_SECONDS:
            return
        self._stage, self._last = stage, now
        left = "" if seconds_left is None else f"about {spoken_duration(seconds_left)} left"
        self.say("  ".join(part for part in (stage, f"{done}/{total}", details, left) if part))


class TerminalDisplay(Display):
    """One bar a stage, drawn by rich."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=self._console,
            expand=True,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def say(self, text: str) -> None:
        """Show one line above the bars."""
        self._console.print(printable(text), soft_wrap=True)

    def update(self, stage: str, done: int, total: int, details: str = "", seconds_left: float | None = None) -> None:
        """Move the bar of the stage."""
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, left="")
            self._tasks[stage] = self._progress.add_task(printable(stage), total=total, details="", left="")
        left = "" if seconds_left is None else f"{spoken_duration(seconds_left)} left"
        self._progress.update(self._tasks[stage], completed=done, total=total, details=details, left=left)

    def close(self) -> None:
        """Stop drawing and leave the bars as they are."""
        self._progress.stop()


class FitProgress:
    """A callback of `SynCGANAugmenter.fit` that tells a display about the plan and every stage."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def __call__(self, event: FitEvent) -> None:
        """Show one event."""
        if event.kind == "plan":
            for line in _plan(event):
                self._display.say(line)
        elif event.kind in ("masks", "step"):
            self._display.update(event.stage, event.done, event.total, _details(event), event.seconds_left)
        elif event.line.get("event") == "stopped" and not _as_planned(event.line):
            self._display.say(f"{event.stage}: {stopping_sentence([event.line])}")


def _plan(event: FitEvent) -> list[str]:
    augmenter = event.augmenter
    labels = augmenter.pairs_.labels.tolist()
    counts = {
        name: labels.count(label) for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True)
    }
    lines = [f"training on {listed(counts)}"]
    if augmenter.excluded_:
        lines += reasons(f"images left out because their mask failed: {len(augmenter.excluded_)}", augmenter.excluded_)
    masks = f"a mask GAN for each of {len(counts)} classes"
    one_each = any(stage.startswith("mask_gan/") for stage in event.stages)
    if not one_each and "mask_gan" not in event.stages:
        masks = f"a mask generator that fits itself, for {len(counts)} classes"
    elif not one_each:
        masks = f"one mask GAN for all {len(counts)} classes"
    elif "mask_gan" in event.stages:
        masks = f"one mask GAN on all masks as a start, {masks}"
    ours = "image_gan" in event.stages
    renderer = "the renderer" if ours else "the renderer, which fits itself"
    lines.append(f"stages: {masks}, then {renderer}; {event.total} steps in all")
    if event.seconds_left is not None:
        rest = "" if ours else ", without the renderer"
        lines.append(f"estimated time: {spoken_duration(event.seconds_left)} on {augmenter.device_}{rest}")
    return lines


def _as_planned(line: Mapping[str, Any]) -> bool:
    return bool(line["reason"] == "all steps done" and line["kept_step"] == line["step"])


def _details(event: FitEvent) -> str:
    shown = [
        f"{short} {event.losses[name]:.2f}"
        for short, name in (("D", "discriminator"), ("G", "generator"))
        if name in event.losses
    ]
    if event.images_per_second is not None:
        digits = 0 if event.images_per_second >= 10 else 1
        shown.append(f"{event.images_per_second:.{digits}f} images/s")
    return "  ".join(shown)
