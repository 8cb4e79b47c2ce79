"""The report of a run: figures from arrays, and one HTML file that shows them without any other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.data.safe_names import safe_folder_names
from syncgan.evaluation.figures import FactTable, FigureEntry
from syncgan.evaluation.plots import LARGEST_TILE_PX, colour_map, draw_strips
from syncgan.evaluation.training_figures import training_figures
from syncgan.segmentation.overlay import overlay
from syncgan.storage import write_bytes, write_text

if TYPE_CHECKING:
    from jinja2 import Template
    from torch import Tensor

    from syncgan.augmenter import SynCGANAugmenter

__all__ = [
    "FactTable",
    "FigureEntry",
    "ReportFacts",
    "draw_figures",
    "outline_legend",
    "outlined",
    "spoken_duration",
    "write_report",
]

Pixels = NDArray[np.uint8]

_LISTED = 200
_OVERLAY_SIDE_PX = 128
_COLUMNS = 8


@dataclass(frozen=True)
class ReportFacts:
    """What a report says in words and numbers.

    Attributes
    ----------
    title : its heading.
    notice : what a reader must know first.
    classes : (class name, files found, images used).
    left_out, used : headings of the last two columns of that table.
    excluded_title : heading of `excluded`.
    details : rows of the table "How it was made".
    config : the settings as text.
    skipped, excluded : relative name -> reason, for files that could not be read and images whose mask failed.
    doubtful : relative name -> why its mask, which is used, is worth a look.
    notes : what the scan ignored and the decoder decided.
    tables : further tables, above the figures.
    measures : what was measured, below them.
    """

    title: str
    notice: str
    classes: tuple[tuple[str, int, int], ...]
    details: Mapping[str, str]
    config: str
    left_out: str = "left out"
    used: str = "used"
    excluded_title: str = "Images left out because their mask failed"
    skipped: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    doubtful: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tables: tuple[FactTable, ...] = ()
    measures: tuple[FactTable, ...] = ()


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


def draw_figures(
    augmenter: SynCGANAugmenter,
    stats: Sequence[Mapping[str, Any]],
    folder: str | PathLike[str],
    *,
    previews: Path | None = None,
) -> list[FigureEntry]:
    """Draw and write the figures of a fitted augmenter that still has its `pairs_`.

    Parameters
    ----------
    stats : lines of ``stats.jsonl``.
    folder : where the PNG files go; made if needed.
    previews : folder of the pictures that the run made while it learned.
    """
    names = safe_folder_names(augmenter.classes_)
    figures = [
        *_class_figures(augmenter, names),
        _overlay_figure(augmenter),
        *training_figures(stats, names, previews),
    ]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_bytes(folder / figure.file, figure.png)
    return figures


def write_report(
    folder: str | PathLike[str],
    facts: ReportFacts,
    figures: Sequence[FigureEntry],
    gallery: Sequence[FigureEntry] = (),
) -> Path:
    """Write ``report.html``: one file with every figure inside, no script and no address outside; return its path.

    Parameters
    ----------
    figures : shown in the width of the page, by section.
    gallery : small figures of one section, shown side by side.
    """
    sections: dict[str, list[FigureEntry]] = {}
    for figure in figures:
        sections.setdefault(figure.section, []).append(figure)
    style = _resource("report.css")
    path = Path(folder) / "report.html"
    html = _template().render(
        facts=facts,
        sections=sections,
        gallery=gallery,
        listed=_LISTED,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii"),
    )
    write_text(path, html)
    return path


def _resource(name: str) -> str:
    return resources.files("syncgan.evaluation").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("report.html.j2"))


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


# --- figures -------------------------------------------------------------------------------------------------------


def _class_figures(augmenter: SynCGANAugmenter, names: Mapping[str, str]) -> list[FigureEntry]:
    figures = []
    for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True):
        samples = augmenter.sample(name, _COLUMNS, seed=0)
        maps, images = _class_pairs(augmenter, label)
        rows = [
            ("real", _colour_images(images)),
            ("mask of the real image", _coloured(maps, augmenter.levels_)),
            ("synthetic mask", _coloured(samples.masks, augmenter.levels_)),
            ("synthetic image", _colour_images(samples.images)),
        ]
        figures.append(
            FigureEntry(
                section="Real and synthetic, class by class",
                title=name,
                explanation="Synthetic images should look like the real ones of this class, differ from each other, "
                "and show a nucleus wherever their mask is blue; none belongs to a real image above it.",
                png=draw_strips(rows, columns=_COLUMNS),
                file=f"real-and-synthetic-{names[name]}.png",
            )
        )
    return figures


def _overlay_figure(augmenter: SynCGANAugmenter) -> FigureEntry:
    rows = []
    for name, label in zip(augmenter.classes_, augmenter.label_values_, strict=True):
        maps, images = _class_pairs(augmenter, label)
        pairs = zip(_colour_images(images), maps.numpy(), strict=True)
        rows.append((name, [outlined(image, mask, augmenter.levels_) for image, mask in pairs]))
    return FigureEntry(
        section="Masks that the model learned from",
        title="Extracted masks",
        explanation=f"{outline_legend(augmenter.levels_)}; where they do not, "
        "choose another segmenter, because the synthetic masks can only be as good as these.",
        png=draw_strips(rows, columns=_COLUMNS),
        file="mask-overlays.png",
    )


def _class_pairs(augmenter: SynCGANAugmenter, label: int) -> tuple[Tensor, Tensor]:
    """Return up to eight maps and images of a class, spread over it."""
    pairs = augmenter.pairs_
    positions = (pairs.labels == label).nonzero().flatten().tolist()
    chosen = sorted({positions[round(step)] for step in np.linspace(0, len(positions) - 1, _COLUMNS)})
    return pairs.maps[chosen], pairs.images[chosen]


def _colour_images(images: Tensor) -> list[Pixels]:
    return list(images.cpu().numpy().transpose(0, 2, 3, 1))


def _coloured(maps: Tensor, levels: int) -> list[Pixels]:
    return [colour_map(mask, levels) for mask in maps.cpu().numpy()]
