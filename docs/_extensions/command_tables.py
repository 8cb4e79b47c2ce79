"""Write the reference of the command line from the commands themselves, so that it cannot go out of date.

The line ``% commands`` of a page is replaced by one section a command.
"""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import typer

import syncgan.cli

MARK = "% commands"
TAKEN = {int: "N", str: "NAME"}


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Replace the mark by the sections."""
    if MARK in source[0]:
        for file in (__file__, *map(str, Path(syncgan.cli.__file__).parent.glob("*.py"))):
            app.env.note_dependency(file)
        source[0] = source[0].replace(MARK, "\n\n".join(sections()))


def sections() -> list[str]:
    """Return one section of Markdown a command, in the order of ``syncgan --help``."""
    return [section(command.callback) for command in syncgan.cli.app.registered_commands]


def section(function: Any) -> str:
    """Return the section of one command: what it does, its arguments, and a table of its options."""
    arguments, options = [], []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        annotation, told = typing.get_args(parameter.annotation)
        is_argument = isinstance(told, typer.models.ArgumentInfo)
        (arguments if is_argument else options).append((told, annotation, parameter.default))
    usage = " ".join(["syncgan", function.__name__, *(told.metavar for told, *_ in arguments), "[OPTIONS]"])
    summary = " ".join((inspect.getdoc(function) or "").split())
    lines = [f"## `{function.__name__}`", "", summary, "", "```text", usage, "```", ""]
    lines += [f"`{told.metavar}`\n: {told.help}\n" for told, *_ in arguments]
    lines += ["| option | default | meaning |", "|---|---|---|"]
    for told, annotation, default in options:
        cells = [shown(told, annotation), default_of(default), meaning(told)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def shown(told: Any, annotation: Any) -> str:
    """Return an option as it is typed, with what it takes."""
    takes = "" if annotation is bool else f" {told.metavar or TAKEN[annotation]}"
    # Inside Annotated, typer keeps the first name where a default would be.
    names = [name for name in (told.default, *(told.param_decls or ())) if isinstance(name, str)]
    return ", ".join(f"`{name}{takes}`" for name in names)


def default_of(default: Any) -> str:
    """Return what an option is when it is not given, where that is a value."""
    if default is inspect.Parameter.empty:
        return "required"
    return "" if default is None or default is False else f"`{default}`"


def meaning(told: Any) -> str:
    """Return the help of an option with its bounds, as text in which nothing is markup."""
    bounds = ""
    if told.min is not None:
        bounds = f" At least {told.min:g}." if told.max is None else f" From {told.min:g} to {told.max:g}."
    return told.help.replace("--", "\\-\\-").replace("*", "\\*") + bounds
