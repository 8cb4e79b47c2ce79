"""A report: sections of words, tables and figures, and the one HTML file that shows them without any other file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from syncgan.arrays import Pixels
from syncgan.evaluation.embedding import embedded
from syncgan.evaluation.figures import FactTable, FigureEntry
from syncgan.evaluation.pages import content_policy, page_style, page_template
from syncgan.evaluation.plots import LARGEST_TILE_PX
from syncgan.segmentation.overlay import overlay
from syncgan.storage import write_text

__all__ = [
    "FactTable",
    "FigureEntry",
    "Question",
    "Reasons",
    "Report",
    "Section",
    "outline_legend",
    "outlined",
    "spoken_duration",
    "write_report",
]


_LISTED = 200
_OVERLAY_SIDE_PX = 128


@dataclass(frozen=True)
class Reasons:
    """Names with a reason each, such as files that could not be read."""

    title: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes
    ----------
    key : its anchor, which no other section has.
    title : its heading.
    verdict : what it comes to; stands in the summary too.
    missing, commands : of a section that nothing is known of: a sentence, and the commands that fill it.
    text : paragraphs.
    terms : what -> how it is, a few words or sentences each.
    tables, figures : each with a sentence on how to read it.
    notes : what else a reader must know, a sentence each.
    reasons : lists of names.
    gallery : small figures side by side.
    listing : text that is shown as it is, such as settings.
    """

    key: str
    title: str
    verdict: str = ""
    missing: str = ""
    commands: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    terms: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[FactTable, ...] = ()
    figures: tuple[FigureEntry, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[Reasons, ...] = ()
    gallery: tuple[FigureEntry, ...] = ()
    listing: str = ""

    @property
    def known(self) -> bool:
        """Whether there is something to show."""
        return not self.missing


@dataclass(frozen=True)
class Question:
    """A line of the summary: a question, and the key of the section that answers it."""

    question: str
    section: str


@dataclass(frozen=True)
class Report:
    """Everything that one file shows.

    Attributes
    ----------
    title : its heading.
    notice : what a reader must know first.
    sections : in their order.
    questions : the summary at the top.
    thumbnails : the command that shows real images, where none is shown.
    """

    title: str
    notice: str
    sections: tuple[Section, ...]
    questions: tuple[Question, ...] = ()
    thumbnails: str = ""

    @property
    def shows_real(self) -> bool:
        """Whether a figure shows real images."""
        return any(figure.real for section in self.sections for figure in (*section.figures, *section.gallery))

    def without_real(self) -> Report:
        """Return the report without its figures of real images."""
        return replace(
            self,
            sections=tuple(
                replace(
                    section,
                    figures=tuple(figure for figure in section.figures if not figure.real),
                    gallery=tuple(figure for figure in section.gallery if not figure.real),
                )
                for section in self.sections
            ),
        )

    def section(self, key: str) -> Section:
        """Return the section with this key."""
        return next(section for section in self.sections if section.key == key)


def spoken_duration(seconds: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> spoken_duration(8.2), spoken_duration(200), spoken_duration(7300)
    ('8 s', '3 min 20 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def write_report(path: Path | str, report: Report) -> Path:
    """Write a report as one HTML file with every figure inside, no script and no address outside; return its path.

    Pictures are compressed as far as it takes to keep the file below 10 MB, whatever their number.
    """
    style = page_style()
    figures = [figure for section in report.sections for figure in (*section.figures, *section.gallery)]
    html = page_template("report.html.j2").render(
        report=report,
        answers=[(one.question, report.section(one.section)) for one in report.questions],
        pictures=dict(zip(map(id, figures), embedded([figure.png for figure in figures]), strict=True)),
        identity=id,
        listed=_LISTED,
        style=style,
        policy=content_policy(style),
    )
    # A name of a file may hold bytes that are no text.
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return Path(path)


def outline_legend(levels: int) -> str:
    """Say what the outlines of `outlined` should follow, as a clause."""
    others = ", orange ones whatever else is stained" if levels > 2 else ""
    return f"Green outlines should follow the nuclei{others}"


def outlined(image: Pixels, mask: Pixels, levels: int) -> Pixels:
    """Outline a mask on its image at the size of a picture, so that the outline is as thin on small images as on large.

    Small images are enlarged by whole pixels, large ones shrunk.
    """
    side = max(mask.shape)
    factor = max(1, round(_OVERLAY_SIDE_PX / side))
    image, mask = (np.ascontiguousarray(array.repeat(factor, 0).repeat(factor, 1)) for array in (image, mask))
    if side > LARGEST_TILE_PX:
        height, width = (max(1, round(edge * LARGEST_TILE_PX / side)) for edge in mask.shape)
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return overlay(image, mask, levels=levels)
