"""Print the tables of the benchmarks under ``benchmarks/results/`` as they stand in ``docs/results.md``.

The folders hold what ``syncgan benchmark`` wrote: one file for each finished split. Nothing is trained here.

    python benchmarks/benchmark_results.py [FOLDER ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from syncgan.evaluation.benchmark.judging import analysis_of
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.tables import arm_table
from syncgan.evaluation.figures import FactTable

RESULTS = Path(__file__).resolve().parent / "results"
AGAINST_TRADITIONAL = ("Orig+Trad", "Orig+Trad+Prop", "Oracle+Trad")


def main() -> None:
    """Print one table a benchmark, and one of what is gained beyond traditional augmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="of benchmarks; all under benchmarks/results")
    folders = parser.parse_args().folders or sorted(path.parent for path in RESULTS.glob("*/benchmark.json"))
    for folder in folders:
        store = BenchmarkStore(folder)
        identity, splits = store.description()["identity"], store.splits()
        counts = {side: len(splits[0]["items"][side]) for side in ("train", "held_back", "test")}
        print(f"\n### {folder.name}\n\n{len(splits)} splits; images on each side of the first: {counts}\n")
        for arms in (identity["arms"], AGAINST_TRADITIONAL):
            if set(arms) <= set(identity["arms"]):
                print(markdown(arm_table(analysis_of(splits, arms=arms, classifiers=identity["classifiers"]))))


def markdown(table: FactTable) -> str:
    """Return a table with the arms of one classifier below each other."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rows = [line([*(f"`{name}`" for name in row[:2]), *row[2:]]) for row in table.rows]
    return "\n".join([line(table.header), "|---" * len(table.header) + "|", *rows, "", table.explanation, ""])


if __name__ == "__main__":
    main()
