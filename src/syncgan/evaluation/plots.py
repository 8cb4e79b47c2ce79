"""Pictures as PNG bytes: strips of images under their captions, and curves of losses and scores.

matplotlib is used without pyplot, so nothing global changes. Text that comes from data is never read as markup.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLUMNS",
    "LARGEST_TILE_PX",
    "blank_figure",
    "colour_map",
    "draw_distributions",
    "draw_losses",
    "draw_scores",
    "draw_strips",
    "elided",
    "pixels_of",
    "plain",
    "png_of",
    "uncaptioned_rows",
]


COLUMNS = 6
"""Images in one row of a picture: on a phone each is still half a centimetre wide."""

LARGEST_TILE_PX = 192
"""Longest side of one image in a picture."""

# Okabe and Ito's colours can be told apart by colour-blind readers.
_BLUE, _ORANGE, _GREEN, _VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PURPLE, _SKY = "#CC79A7", "#56B4E9"
_LEVEL_LOW, _LEVEL_MIDDLE, _NUCLEUS = (243, 243, 240), (230, 190, 110), (0, 84, 147)

_DPI = 100
_TILE_PX, _GAP_PX, _MARGIN_PX, _CAPTION_PX = 128, 6, 10, 48
_FONT_PT, _CAPTION_PT = 15.0, 19.0
_NAME_PX, _NAME_PT = 18, 8.0
_NAME_LETTER_PX = 7  # 0.602 em of matplotlib's monospaced font, which is set on whole pixels
_LONGEST_TEXT = 60


def plain(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Return text on one line, without control characters, shortened."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def elided(text: str, longest: int) -> str:
    """Return text on one line, shortened in the middle, as names of files differ at their ends.

    Examples
    --------
    >>> elided("slide-0042-region-0007.png", 14)
    'slide-0…07.png'
    """
    shown = plain(text, len(text))
    if len(shown) <= longest:
        return shown
    tail = (longest - 1) // 2
    return f"{shown[: longest - 1 - tail]}…{shown[len(shown) - tail :]}"


def colour_map(mask: Pixels, levels: int) -> Pixels:
    """Colour an (H, W) map 0..L-1 as (H, W, 3): light background, ochre for what is stained, blue nuclei."""
    inner = np.linspace(0, 1, max(levels - 1, 2))[: levels - 1, None]
    below = (1 - inner) * np.array(_LEVEL_LOW) + inner * np.array(_LEVEL_MIDDLE)
    palette = np.vstack([below, [_NUCLEUS]]).round().astype(np.uint8)
    return np.asarray(palette[mask])


def draw_strips(
    rows: Sequence[tuple[str, Sequence[Pixels]]], names: Sequence[Sequence[str]] = (), columns: int = COLUMNS
) -> bytes:
    """Draw rows of images, each row under its caption.

    Parameters
    ----------
    rows : caption ("" for none) and (H, W, 3) uint8 images of a row. Small images are enlarged by whole pixels.
    names : for each row those of its images, written below them; none if left out.
    columns : images in a row.
    """
    tile_px = _tile_size([image for _, images in rows for image in images])
    below_px = _GAP_PX + (_NAME_PX if names else 0)
    tops, height = [], _MARGIN_PX
    for caption, _ in rows:
        tops.append(height + (_CAPTION_PX if caption else 0))
        height = tops[-1] + tile_px + below_px
    width = 2 * _MARGIN_PX + columns * tile_px + (columns - 1) * _GAP_PX
    canvas = np.full((height + _MARGIN_PX, width, 3), 255, np.uint8)
    lefts = [_MARGIN_PX + column * (tile_px + _GAP_PX) for column in range(columns)]
    for (_, images), top in zip(rows, tops, strict=True):
        for image, left in zip(images, lefts, strict=False):
            canvas[top : top + tile_px, left : left + tile_px] = _tile(image, tile_px)
    captions = [
        _Text(plain(caption), _MARGIN_PX, top - _CAPTION_PX // 4, _CAPTION_PT)
        for (caption, _), top in zip(rows, tops, strict=True)
        if caption
    ]
    below = [
        _Text(elided(name, tile_px // _NAME_LETTER_PX), left, top + tile_px + _NAME_PX - 5, _NAME_PT, "monospace")
        for row, top in zip(names, tops, strict=False)
        for name, left in zip(row, lefts, strict=False)
    ]
    return _with_texts(canvas, captions + below)


def pixels_of(png: bytes) -> Pixels:
    """Return the (H, W, 3) pixels of a picture that was drawn here."""
    decoded: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def uncaptioned_rows(png: bytes, columns: int) -> list[list[Pixels]]:
    """Return the rows of images of a picture that `draw_strips` drew without any text."""
    picture = pixels_of(png)
    tile_px = (picture.shape[1] - 2 * _MARGIN_PX + _GAP_PX) // columns - _GAP_PX
    tops, lefts = (
        range(_MARGIN_PX, length - _MARGIN_PX - tile_px + 1, tile_px + _GAP_PX) for length in picture.shape[:2]
    )
    return [[np.asarray(picture[top : top + tile_px, left : left + tile_px]) for left in lefts] for top in tops]


def draw_losses(title: str, lines: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the losses of one stage against its steps.

    Parameters
    ----------
    title : name of the stage.
    lines : lines of ``stats.jsonl`` of that stage.
    """
    adversarial = {"discriminator": _VERMILION, "generator_adversarial": _BLUE}
    others = {
        "generator_reconstruction": _GREEN,
        "generator_feature_matching": _ORANGE,
        "generator_texture": _PURPLE,
        "generator_mode_seeking": _SKY,
    }
    panels = [series for series in (_present(lines, adversarial), _present(lines, others)) if series]
    figure = blank_figure(680, 60 + 270 * max(len(panels), 1))
    figure.set_layout_engine("constrained")
    steps = [line["step"] for line in lines]
    for number, series in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, number + 1)
        for name, (values, colour) in series.items():
            _draw_series(axes, steps, values, colour, name)
        axes.set_ylabel("loss", fontsize=_FONT_PT)
        if min(np.nanmin(values) for values, _ in series.values()) >= 0:  # wasserstein-gp's may be negative
            axes.set_ylim(bottom=0)
        _style(axes)
    if panels:
        axes.set_xlabel("generator updates", fontsize=_FONT_PT)
    figure.suptitle(plain(title), fontsize=_FONT_PT, parse_math=False)
    return png_of(figure)


def draw_distributions(title: str, panels: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> bytes:
    """Draw cumulative distributions, one panel below the other.

    Parameters
    ----------
    title : of the picture.
    panels : name of the axis -> name of the curve ("real", "synthetic") -> sorted values.
    """
    colours = {"real": _BLUE, "synthetic": _VERMILION}
    figure = blank_figure(680, 60 + 190 * len(panels))
    figure.set_layout_engine("constrained")
    for number, (name, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, number + 1)
        for label, values in curves.items():
            if len(values):
                axes.ecdf(values, color=colours[label], linewidth=2, label=label)
        axes.set_xlabel(name, fontsize=_FONT_PT - 2)
        axes.set_ylabel("share below", fontsize=_FONT_PT - 2)
        axes.tick_params(labelsize=_FONT_PT - 3)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if number == 0:
            axes.legend(fontsize=_FONT_PT - 2, frameon=False, loc="lower right")
    figure.suptitle(plain(title), fontsize=_FONT_PT, parse_math=False)
    return png_of(figure)


def draw_scores(
    title: str, scores: Mapping[str, tuple[Sequence[int], Sequence[float]]], kept_step: int | None
) -> bytes:
    """Draw scores on held-out items against the steps, each in a panel of its own, and mark the step that was kept.

    Parameters
    ----------
    title : name of the stage.
    scores : what it is -> (steps, values).
    kept_step : None to mark nothing.
    """
    figure = blank_figure(680, 60 + 270 * max(len(scores), 1))
    figure.set_layout_engine("constrained")
    for number, (name, (steps, values)) in enumerate(scores.items()):
        axes = figure.add_subplot(len(scores), 1, number + 1)
        axes.plot(steps, values, color=_BLUE, linewidth=1.5, marker="o", markersize=4, label=name)
        if kept_step is not None:
            axes.axvline(kept_step, color=_VERMILION, linewidth=2, linestyle="--", label=f"kept: step {kept_step}")
        _style(axes)
    if scores:
        axes.set_xlabel("generator updates", fontsize=_FONT_PT)
    figure.suptitle(plain(title), fontsize=_FONT_PT, parse_math=False)
    return png_of(figure)


def _style(axes: Any) -> None:
    axes.tick_params(labelsize=_FONT_PT - 2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=_FONT_PT - 2, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    axes.spines[["top", "right"]].set_visible(False)


def _present(lines: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> dict[str, tuple[list[float], str]]:
    """Return name -> (values, colour) of the losses that the stage logged and that are not always zero."""
    found = {}
    for name, colour in wanted.items():
        values = [float(line.get(f"loss_{name}", np.nan)) for line in lines]
        if np.isfinite(values).any() and np.nanmax(np.abs(values)) > 0:
            found[name] = (values, colour)
    return found


def _draw_series(axes: Any, steps: Sequence[int], values: Sequence[float], colour: str, name: str) -> None:
    """Draw every logged value faintly and, where there are many, their running mean over it."""
    window = len(values) // 20
    label = name.replace("generator_", "generator: ").replace("_", " ")
    if window < 2:
        axes.plot(steps, values, color=colour, linewidth=2, marker="o" if len(values) < 3 else None, label=label)
        return
    axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
    means = np.convolve(values, np.ones(window) / window, mode="valid")
    axes.plot(steps[window - 1 :], means, color=colour, linewidth=2.2, label=label)


# --- pixels --------------------------------------------------------------------------------------------------------


def _tile_size(images: Sequence[Pixels]) -> int:
    largest = max((max(image.shape[:2]) for image in images), default=_TILE_PX)
    if largest >= LARGEST_TILE_PX:
        return LARGEST_TILE_PX
    return largest * max(1, round(_TILE_PX / largest))


def _tile(image: Pixels, size: int) -> Pixels:
    """Fit an image into a white square: whole-pixel enlargement, or area interpolation when shrinking."""
    scale = size / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    tile = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=how)
    return tile


class _Text(NamedTuple):
    """Text, where its first letter stands in pixels from the top left, and how it looks."""

    text: str
    left: int
    baseline: int
    size_pt: float
    family: str = "sans-serif"


def _with_texts(canvas: Pixels, texts: Sequence[_Text]) -> bytes:
    if not texts:
        return bytes(cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))[1])
    height, width = canvas.shape[:2]
    figure = blank_figure(width, height)
    figure.figimage(canvas)
    for text, left, baseline, size, family in texts:
        x, y = left / width, 1 - baseline / height
        figure.text(x, y, text, fontsize=size, family=family, va="baseline", parse_math=False)
    return png_of(figure)


def blank_figure(width_px: int, height_px: int) -> Figure:
    """Return a figure that pyplot does not know of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)  # whatever backend the user has chosen for windows
    return figure


def png_of(figure: Figure) -> bytes:
    """Return a figure as PNG, without any metadata."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name may use letters that the font lacks; the report gives it as text besides.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
