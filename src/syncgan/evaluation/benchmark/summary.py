"""What the finished splits of a benchmark say: tables with intervals and verdicts, and a plot of the differences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError
from syncgan.evaluation.benchmark.difference_plots import draw_differences
from syncgan.evaluation.benchmark.judging import analysis_of, beyond_traditional
from syncgan.evaluation.benchmark.notes import left_out, notes_of
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.tables import csv_table, json_table, latex_tables, markdown_tables
from syncgan.evaluation.statistics import Analysis
from syncgan.storage import write_bytes, write_json, write_text

__all__ = ["BenchmarkSummary", "summarise"]

_TABLE, _DIFFERENCES = "table", "differences"
_USUAL = "balanced_accuracy"


@dataclass(frozen=True)
class BenchmarkSummary:
    """What the finished splits say.

    Attributes
    ----------
    folder, table : the benchmark, and the file with the tables (``.tex``, ``.csv`` and ``.json`` lie beside it).
    splits : numbers of the finished splits.
    balanced_accuracy : classifier -> arm -> mean over splits.
    analysis : every mean and paired difference with its interval and verdict.
    beyond_traditional : differences to ``Orig+Trad``, where it and arms that add images to it were run.
    notes : what a reader of the tables must know beside the figures, a sentence each.
    ratios : split -> the ratio that it chose, where splits do.
    skipped : why an arm was not run with a classifier, one sentence each.
    markdown : the tables.
    """

    folder: Path
    table: Path
    splits: tuple[int, ...]
    balanced_accuracy: dict[str, dict[str, float]]
    analysis: Analysis
    skipped: tuple[str, ...]
    markdown: str
    ratios: dict[int, float] = field(default_factory=dict)
    beyond_traditional: Analysis | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what a program that started the benchmark wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "table": str(self.table),
            "splits": list(self.splits),
            "balanced_accuracy": self.balanced_accuracy,
            "verdicts": _verdicts(self.analysis),
            **(
                {}
                if self.beyond_traditional is None
                else {"verdicts_beyond_traditional": _verdicts(self.beyond_traditional)}
            ),
            "notes": list(self.notes),
            "skipped": list(self.skipped),
            "ratios": {str(split): ratio for split, ratio in self.ratios.items()},
        }


def summarise(out: str | PathLike[str], *, score: str = _USUAL) -> BenchmarkSummary:
    """Read all finished splits of a benchmark; write its tables and the plot of the differences.

    Parameters
    ----------
    out : folder of the benchmark.
    score : that the tables tell; see `syncgan.evaluation.statistics.score_named`. Files of another than
        balanced accuracy have its name in theirs.

    Raises
    ------
    ArtefactError
        There is no finished split, or a file is damaged.
    """
    store = BenchmarkStore(out)
    identity, splits = store.description()["identity"], store.splits()
    if not splits:
        raise ArtefactError(f"{out}: expected at least one finished split, found none; run the benchmark on")
    compared = {
        "arms": identity["arms"],
        "classifiers": identity["classifiers"],
        "three_one_one": identity["per_class"] is None,
    }
    analysis = analysis_of(splits, **compared, score=score)
    beyond = beyond_traditional(splits, **compared, score=score)
    balanced = analysis if score == _USUAL else analysis_of(splits, **compared)
    notes = notes_of(identity, splits)
    markdown = markdown_tables(analysis, beyond=beyond, notes=notes)
    suffix = "" if score == _USUAL else "-" + re.sub(r"\W", "-", score, flags=re.ASCII)
    table = store.folder / f"{_TABLE}{suffix}.md"
    write_text(table, markdown + "\n")
    write_text(table.with_suffix(".tex"), latex_tables(analysis, beyond=beyond) + "\n")
    write_text(table.with_suffix(".csv"), csv_table(analysis, beyond=beyond))
    write_json(table.with_suffix(".json"), json_table(analysis, beyond=beyond, notes=notes))
    write_bytes(store.folder / f"{_DIFFERENCES}{suffix}.png", draw_differences(analysis))
    return BenchmarkSummary(
        folder=store.folder,
        table=table,
        splits=tuple(split["split"] for split in splits),
        balanced_accuracy=_means(balanced),
        analysis=analysis,
        skipped=left_out(splits),
        markdown=markdown,
        ratios={split["split"]: split["ratio"]["chosen"] for split in splits if "ratio" in split},
        beyond_traditional=beyond,
        notes=notes,
    )


def _verdicts(analysis: Analysis) -> dict[str, dict[str, str]]:
    return {
        classifier: {one.arm: one.verdict for one in analysis.comparisons if one.classifier == classifier}
        for classifier in analysis.classifiers
    }


def _means(analysis: Analysis) -> dict[str, dict[str, float]]:
    return {
        classifier: {cell.arm: cell.mean.estimate for cell in analysis.cells if cell.classifier == classifier}
        for classifier in analysis.classifiers
    }
