"""What a report shows: figures and tables, each with a sentence on how to read it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

__all__ = ["FactTable", "FigureEntry"]

_NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)? ?%?( \(.*\))?|[–-]|n/a|inf|nan|< ?[\d.]+|")


@dataclass(frozen=True)
class FigureEntry:
    """One figure of a report.

    Attributes
    ----------
    section : heading under which it stands.
    title : what it shows.
    explanation : one sentence on how to read it.
    png : the picture.
    file : its name in ``figures/``.
    real : whether it shows real images, which only those who asked for them are to see.
    """

    section: str
    title: str
    explanation: str
    png: bytes
    file: str
    real: bool = False

    @property
    def data_uri(self) -> str:
        """The picture as it stands in the HTML file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class FactTable:
    """A table of a report.

    Attributes
    ----------
    title : its heading.
    header : names of the columns, the first of which names the row.
    rows : cells as text.
    explanation : one sentence on how to read it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    explanation: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold figures, to be set to the right; never the first."""
        return tuple(
            column > 0 and bool(self.rows) and all(_NUMBER.fullmatch(row[column]) for row in self.rows)
            for column in range(len(self.header))
        )
