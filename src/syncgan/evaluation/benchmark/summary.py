"""What the finished splits of a benchmark say: tables with intervals and verdicts, and a plot of the differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError
from syncgan.evaluation.benchmark.difference_plots import draw_differences
from syncgan.evaluation.benchmark.judging import analysis_of
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.tables import csv_table, json_table, latex_tables, markdown_tables
from syncgan.evaluation.statistics import Analysis
from syncgan.storage import write_bytes, write_json, write_text

__all__ = ["BenchmarkSummary", "summarise"]

_TABLE = "table"


@dataclass(frozen=True)
class BenchmarkSummary:
    """What the finished splits say.

    Attributes
    ----------
    folder, table : the benchmark, and the file with the tables (``.tex``, ``.csv`` and ``.json`` lie beside it).
    splits : numbers of the finished splits.
    balanced_accuracy : classifier -> arm -> mean over splits.
    analysis : every mean and paired difference with its interval and verdict.
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

    def as_dict(self) -> dict[str, Any]:
        """Return what a program that started the benchmark wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "table": str(self.table),
            "splits": list(self.splits),
            "balanced_accuracy": self.balanced_accuracy,
            "verdicts": {
                classifier: {one.arm: one.verdict for one in self.analysis.comparisons if one.classifier == classifier}
                for classifier in self.analysis.classifiers
            },
            "skipped": list(self.skipped),
            "ratios": {str(split): ratio for split, ratio in self.ratios.items()},
        }


def summarise(out: str | PathLike[str], *, score: str = "balanced_accuracy") -> BenchmarkSummary:
    """Read all finished splits of a benchmark; write its tables and the plot of the differences.

    Parameters
    ----------
    out : folder of the benchmark.
    score : that the tables tell; see `syncgan.evaluation.statistics.score_named`.

    Raises
    ------
    ArtefactError
        There is no finished split, or a file is damaged.
    """
    store = BenchmarkStore(out)
    identity, splits = store.description()["identity"], store.splits()
    if not splits:
        raise ArtefactError(f"{out}: expected at least one finished split, found none; run the benchmark on")
    names = {"arms": identity["arms"], "classifiers": identity["classifiers"]}
    analysis = analysis_of(splits, **names, score=score)
    balanced = analysis if score == "balanced_accuracy" else analysis_of(splits, **names)
    markdown = markdown_tables(analysis)
    table = store.folder / f"{_TABLE}.md"
    write_text(table, markdown + "\n")
    write_text(table.with_suffix(".tex"), latex_tables(analysis) + "\n")
    write_text(table.with_suffix(".csv"), csv_table(analysis))
    write_json(table.with_suffix(".json"), json_table(analysis))
    write_bytes(store.folder / "differences.png", draw_differences(analysis))
    skipped = dict.fromkeys(
        f"{entry['arm']} with {entry['classifier']}: {entry['reason']}"
        for split in splits
        for entry in split["skipped"]
    )
    return BenchmarkSummary(
        folder=store.folder,
        table=table,
        splits=tuple(split["split"] for split in splits),
        balanced_accuracy=_means(balanced),
        analysis=analysis,
        skipped=tuple(skipped),
        markdown=markdown,
        ratios={split["split"]: split["ratio"]["chosen"] for split in splits if "ratio" in split},
    )


def _means(analysis: Analysis) -> dict[str, dict[str, float]]:
    return {
        classifier: {cell.arm: cell.mean.estimate for cell in analysis.cells if cell.classifier == classifier}
        for classifier in analysis.classifiers
    }
