"""One thing that an examination found; imports nothing heavy, so that it can be said where OpenCV is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "are", "count", "plural"]

Level = Literal["problem", "worth a look", "fine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    level : "problem" (`fit` would refuse it, it leaks, or most masks of a class are doubtful), "worth a look", or
        "fine".
    topic : "folders", "images", "files", "pixels", "stain", "groups", "duplicates", "masks", "fit" or "environment".
    text : one clause, without names of files.
    details : lines below it: names with reasons, rows of a table.
    remedy : what to do, "" where nothing is to be done.
    """

    level: Level
    topic: str
    text: str
    details: tuple[str, ...] = ()
    remedy: str = ""


def count(number: int, one: str, several: str) -> str:
    """Return a number and the word that goes with it."""
    return f"{number} {one if number == 1 else several}"


def plural(what: str) -> str:
    """Return the plural of what images can have."""
    return "kinds of file" if what == "kind of file" else f"{what}s"


def are(names: Sequence[str], one: str, several: str) -> str:
    """Return the words for one, or how many there are and those for several."""
    return one if len(names) == 1 else f"{len(names)} {several}"
