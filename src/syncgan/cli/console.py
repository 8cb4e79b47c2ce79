"""What every command has: progress and results for people or as JSON, errors as one line, and signals."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Protocol, TextIO

import typer

from syncgan.errors import SyncganError
from syncgan.training.launch import is_main_process

if TYPE_CHECKING:
    from syncgan.evaluation.figures import FactTable
    from syncgan.evaluation.progress import Display

__all__ = ["command", "conclude", "display_for", "say_what_was_read", "stage_of", "table_lines"]

Arguments = ParamSpec("Arguments")

_INTERRUPTED = 130
_TERMINATED = 128 + signal.SIGTERM
_ONCE = ("audit", "doctor")  # write all at their end, and again into a folder of theirs
_WIDTH = 120  # of lines that go to a file or a pipe


class _Read(Protocol):
    """What was read of a data folder."""

    @property
    def classes(self) -> Mapping[str, int]: ...

    @property
    def skipped(self) -> Mapping[str, str]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


def command(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Give a command what all have: errors as one line, warnings and signals for people."""

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            with _for_people():
                function(*args, **kwargs)
        except SyncganError as error:
            _fail(f"error: {error}", 2)
        except KeyboardInterrupt:
            _fail(_how_to_go_on(function.__name__, kwargs), _INTERRUPTED)
        except SystemExit as stop:
            if stop.code != _TERMINATED:
                raise
            _fail(_how_to_go_on(function.__name__, kwargs), _TERMINATED)

    return run


def display_for(as_json: bool, quiet: bool) -> Display:
    """Return what shows progress: a bar on a terminal, plain lines elsewhere, nothing if quiet."""
    from syncgan.evaluation.progress import PlainDisplay, SilentDisplay, TerminalDisplay

    stream: TextIO = sys.stderr if as_json else sys.stdout
    if quiet or not is_main_process():
        return SilentDisplay()
    return TerminalDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def stage_of(display: Display, name: str) -> Callable[[int, int], None]:
    """Return a callback that shows (done, total) as one stage."""
    return lambda done, total: display.update(name, done, total)


def say_what_was_read(display: Display, read: _Read) -> None:
    """Say how many images were read, which files could not be, and what the reader decided."""
    from syncgan.evaluation.progress import reading_lines

    for line in reading_lines(read.classes, read.skipped, read.notes):
        display.say(line)


def conclude(display: Display, as_json: bool, summary: dict[str, Any], lines: list[str]) -> None:
    """Print the result: for people, and as one line of JSON if asked for."""
    for line in lines:
        display.say(line)
    if as_json and is_main_process():
        typer.echo(json.dumps(summary))


def table_lines(table: FactTable) -> list[str]:
    """Return a table as plain lines in columns, as wide as the terminal, and its explanation below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from syncgan.evaluation.progress import printable

    drawn = Table(box=None, pad_edge=False)
    for title in table.header:
        drawn.add_column(Text(title))
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=shutil.get_terminal_size((_WIDTH, 24)).columns, color_system=None)
    with console.capture() as written:
        console.print(drawn, Text(table.explanation), sep="\n")
    return [line.rstrip() for line in written.get().splitlines()]


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(_one_line(message), err=True)
    raise typer.Exit(code)


def _one_line(text: str) -> str:
    from syncgan.evaluation.progress import printable

    return printable(" ".join(text.split()))


def _how_to_go_on(name: str, arguments: dict[str, Any]) -> str:
    """Say what an interrupted command left behind, and the command that goes on with it."""
    out = arguments.get("out")
    if out is None or not out.exists():
        return "stopped; nothing was written"
    if name in _ONCE and (out / f"{name}.json").is_file():
        return "stopped; run the same command again"
    goes_on_by_itself = arguments.get("merge") or "repeats" in arguments
    if "resume" not in arguments and not goes_on_by_itself:
        return f"stopped; {out} is incomplete: delete it and begin again"
    # Merging segments nothing, and a benchmark goes on with its finished splits.
    more = [] if goes_on_by_itself else ["--resume"]
    given = [part for part in sys.argv[1:] if part != "--resume"]
    return f"stopped; go on with: {shlex.join(['syncgan', *given, *more])}"


@contextlib.contextmanager
def _for_people() -> Iterator[None]:
    """Show warnings and log records as one line each, and let SIGTERM unwind like Ctrl-C."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise SystemExit(_TERMINATED)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(_one_line(f"warning: {message}"), err=True)

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    previous = signal.signal(signal.SIGTERM, terminate)
    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            yield
        finally:
            if previous is not None:  # None: a handler that Python did not install, and cannot put back
                signal.signal(signal.SIGTERM, previous)
