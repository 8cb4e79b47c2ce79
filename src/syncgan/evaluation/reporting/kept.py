"""What a report leaves in its run folder for the next one: sections that only the data, or hours, could make again.

``RUN/report.json`` holds their words and tables, ``RUN/figures/`` their pictures. Those on the data are taken up only
for the same data, those on samples only for the same model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError
from syncgan.evaluation.embedding import read_picture
from syncgan.evaluation.report import FactTable, FigureEntry, Reasons, Section
from syncgan.storage import make_folder, read_json, write_bytes, write_json

__all__ = ["FIGURES", "keep", "kept_sections", "write_figures"]

FIGURES = "figures"

_FILE = "report.json"
_FORMAT, _FORMAT_VERSION = "syncgan-report", 1
_OF_DATA = frozenset({"data", "masks"})
_OF_MODEL = frozenset({"priors", "variety", "metrics"})


def keep(folder: Path, sections: Iterable[Section], *, data: str, model: str) -> None:
    """Write the sections that a later report may need.

    Parameters
    ----------
    data, model : what tells the data and the model from others.
    """
    chosen = [section for section in sections if section.key in _OF_DATA | _OF_MODEL and section.known]
    content = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "data": data, "model": model}
    write_json(folder / _FILE, {**content, "sections": [_plain(section) for section in chosen]})


def write_figures(folder: Path, sections: Iterable[Section], strips: Mapping[str, bytes]) -> None:
    """Write the pictures of sections, and those of real images, to ``FOLDER/figures``."""
    pictures = {figure.file: figure.png for section in sections for figure in section.figures if figure.file} | dict(
        strips
    )
    make_folder(folder / FIGURES)
    for name, png in pictures.items():
        write_bytes(folder / FIGURES / name, png)


def kept_sections(folder: Path, *, data: str, model: str) -> dict[str, Section]:
    """Return key -> section of those that an earlier report kept of the same data and model.

    Raises
    ------
    ArtefactError
        What was kept is damaged.
    """
    file = folder / _FILE
    if not file.is_file():
        return {}
    content = read_json(file)
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        if content["format_version"] > _FORMAT_VERSION:
            raise ArtefactError(f"{file}: was written by a newer syncgan; upgrade syncgan")
        valid = (_OF_DATA if content["data"] == data else frozenset()) | (
            _OF_MODEL if content["model"] == model else frozenset()
        )
        return {entry["key"]: _section(entry, folder) for entry in content["sections"] if entry["key"] in valid}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{file}: is damaged ({error}); delete it, and give the data again with --data") from None


def _plain(section: Section) -> dict[str, Any]:
    content = asdict(section)
    for figure in content["figures"]:
        del figure["png"]
    del content["gallery"], content["listing"]
    return content


def _section(entry: Mapping[str, Any], folder: Path) -> Section:
    # A figure of which it is not said whether it shows real images is taken for one that does.
    figures = [
        FigureEntry(**{"real": True} | figure, png=_picture(folder, figure["file"])) for figure in entry["figures"]
    ]
    tables = [
        FactTable(
            str(table["title"]), _texts(table["header"]), tuple(map(_texts, table["rows"])), str(table["explanation"])
        )
        for table in entry["tables"]
    ]
    if any(len(row) != len(table.header) for table in tables for row in table.rows):
        raise ValueError("a row of another length than its header")
    return Section(
        key=entry["key"],
        title=str(entry["title"]),
        verdict=str(entry["verdict"]),
        text=_texts(entry["text"]),
        terms={str(what): str(how) for what, how in entry["terms"].items()},
        tables=tuple(tables),
        figures=tuple(figures),
        notes=_texts(entry["notes"]),
        reasons=tuple(Reasons(str(one["title"]), dict(one["names"])) for one in entry["reasons"]),
    )


def _picture(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ValueError(f"a figure outside of its folder: {name!r}")
    return read_picture(folder / FIGURES / name)


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f"text where a list was expected: {values[:40]!r}")
    return tuple(map(str, values))
