"""Paired differences as a forest plot: one line an arm, one panel a classifier, zero in the middle of the question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from syncgan.evaluation.benchmark.tables import arms_in_order
from syncgan.evaluation.plots import blank_figure, elided, plain, png_of
from syncgan.evaluation.statistics import Analysis, Comparison, Score, score_named

__all__ = ["draw_differences"]

_WIDTH_PX = 680
_ROW_PX, _PANEL_PX, _HEAD_PX = 40, 100, 70
_FONT_PT = 15.0
_LONGEST_ARM, _LONGEST_TITLE = 18, 44

# Shape and colour both tell the verdict: Okabe and Ito's colours, and marks for who sees none.
_MARKS = {"helps": ("#009E73", "^"), "hurts": ("#D55E00", "v"), "no evidence": ("#555555", "o")}


def draw_differences(analysis: Analysis, score: Score | None = None) -> bytes:
    """Draw the paired differences to the baseline with their 95 % intervals as PNG, wide enough for a phone.

    Parameters
    ----------
    score : the score of the analysis, if it is one of your own.
    """
    how = score or score_named(analysis.score)
    panels = {name: _rows(analysis, name) for name in analysis.classifiers}
    panels = {name: rows for name, rows in panels.items() if rows}
    heights = [_PANEL_PX + _ROW_PX * len(rows) for rows in panels.values()]
    figure = blank_figure(_WIDTH_PX, _HEAD_PX + max(sum(heights), _PANEL_PX))
    figure.set_layout_engine("constrained")
    if panels:
        every = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, rows) in zip(every, panels.items(), strict=True):
            _draw_panel(axes, name, rows, 100.0 if how.percent else 1.0)
        every[-1].set_xlabel(_axis_title(analysis, how), fontsize=_FONT_PT, parse_math=False)
        figure.legend(handles=_legend(), loc="outside upper center", ncols=3, fontsize=_FONT_PT - 2, frameon=False)
    return png_of(figure)


def _rows(analysis: Analysis, classifier: str) -> list[Comparison]:
    own = {one.arm: one for one in analysis.comparisons if one.classifier == classifier}
    return [own[arm] for arm in arms_in_order(own)]


def _draw_panel(axes: Any, name: str, rows: Sequence[Comparison], scale: float) -> None:
    for place, one in enumerate(rows):
        colour, mark = _MARKS[one.verdict]
        found = one.difference
        if math.isfinite(found.low):
            axes.plot([scale * found.low, scale * found.high], [place, place], color=colour, linewidth=3)
        axes.plot(scale * found.estimate, place, color=colour, marker=mark, markersize=11, linestyle="none")
    axes.axvline(0, color="black", linewidth=1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [elided(one.arm, _LONGEST_ARM) for one in rows], parse_math=False)
    axes.tick_params(labelsize=_FONT_PT - 2, labelbottom=True)
    axes.set_title(plain(name, _LONGEST_TITLE), fontsize=_FONT_PT, loc="left", parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _axis_title(analysis: Analysis, score: Score) -> str:
    unit = ", points" if score.percent else ""
    better = "" if score.higher_is_better else " (lower is better)"
    return plain(f"{score.title} minus that of {plain(analysis.baseline, 18)}{unit}{better}", 80)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, marker=mark, markersize=10, linewidth=3, label=verdict)
        for verdict, (colour, mark) in _MARKS.items()
    ]
