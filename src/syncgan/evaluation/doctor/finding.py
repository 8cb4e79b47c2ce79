"""One thing that an examination found; imports nothing heavy, so that it can be said where OpenCV is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level"]

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
