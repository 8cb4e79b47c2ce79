"""Print the tables of the benchmarks under ``benchmarks/results/`` as they stand in ``docs/results.md``.

The folders hold what ``syncgan benchmark`` wrote: one file for each finished split. Nothing is trained here.

    python benchmarks/benchmark_results.py [FOLDER ...]
    python benchmarks/benchmark_results.py FOLDER --since EARLIER     # what a change brought, in the splits of both
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from syncgan.evaluation.benchmark.judging import analysis_of
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.tables import arm_table
from syncgan.evaluation.statistics import Analysis

RESULTS = Path(__file__).resolve().parent / "results"
AGAINST_TRADITIONAL = ("Orig+Trad", "Orig+Trad+Prop", "Oracle+Trad")
JUDGED = ("helps", "hurts")
RIVALS = (("Orig+GAN", "Orig+Prop"), ("GAN", "Prop"), ("Orig+Warp", "Orig+Prop"), ("Orig+Warp", "Orig+Trad+Prop"))


def main() -> None:
    """Print what every arm gains over Orig, over traditional augmentation, and over other ways to make images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="of benchmarks; all under benchmarks/results")
    parser.add_argument("--since", type=Path, help="folder of the same splits under an earlier default")
    options = parser.parse_args()
    if options.since:
        for folder in options.folders:
            print(f"\n### {folder.name} since {options.since.name}\n\n{changes(folder, options.since)}\n")
        return
    folders = options.folders or sorted(path.parent for path in RESULTS.glob("*/benchmark.json"))
    for folder in folders:
        store = BenchmarkStore(folder)
        identity, splits = store.description()["identity"], store.splits()
        counts = ", ".join(f"{len(splits[0]['items'][side])} {side}" for side in ("train", "held_back", "test"))
        print(f"\n### {folder.name}: {len(splits)} splits ({counts} images in the first)\n")
        for arms in (identity["arms"], [arm for arm in AGAINST_TRADITIONAL if arm in identity["arms"]]):
            if len(arms) > 1:
                analysis = analysis_of(splits, arms=arms, classifiers=identity["classifiers"])
                print("\n".join(side_by_side(arm_table(analysis).rows, analysis.classifiers, analysis.baseline)), "\n")
                print("\n".join(shares_of_the_oracle(analysis)), "\n")
        for rival, arm in RIVALS:
            if {rival, arm} <= set(identity["arms"]):
                print(against(rival, arm, analysis_of(splits, arms=(rival, arm), classifiers=identity["classifiers"])))


def changes(folder: Path, earlier: Path) -> str:
    """Return what every arm gains over its earlier self in the splits that both folders have, a sentence each."""
    now, before = BenchmarkStore(folder), BenchmarkStore(earlier)
    identity, old = now.description()["identity"], {split["split"]: split for split in before.splits()}
    lines = []
    for arm in identity["arms"]:
        pairs = [
            {**split, "results": [*_renamed(split, arm, "now"), *_renamed(old[split["split"]], arm, "before")]}
            for split in now.splits()
            if split["split"] in old and split["items"] == old[split["split"]]["items"]
        ]
        found = analysis_of(pairs, arms=("before", "now"), classifiers=identity["classifiers"])
        if found.comparisons:
            told = against("before", "now", found).partition(": ")[2]
            lines.append(f"- `{arm}`, {len(pairs)} splits: {told}")
    return "\n".join(lines)


def _renamed(split: dict[str, Any], arm: str, name: str) -> list[dict[str, Any]]:
    return [{**entry, "arm": name} for entry in split["results"] if entry["arm"] == arm]


def against(rival: str, arm: str, analysis: Analysis) -> str:
    """Return what `arm` gains over `rival` with every classifier, a sentence."""
    found = [
        f"`{classifier}` {difference}{f', **{verdict}**' if verdict in JUDGED else ''}"
        for classifier, name, _, difference, verdict, _ in arm_table(analysis).rows
        if name == arm
    ]
    return f"- `{arm}` against `{rival}`: {'; '.join(found)}"


def shares_of_the_oracle(analysis: Analysis) -> list[str]:
    """Return which share of the gain of as many real images synthetic ones bring, a sentence for each classifier."""
    return [
        f"- `{one.arm}`, `{one.classifier}`: {share.share:.0%} of the gain of as many real images "
        f"({_end(share.low)} to {_end(share.high)})"
        for one in analysis.comparisons
        if one.arm == f"{one.baseline}+Prop" and (share := one.oracle_share) is not None and share.share is not None
    ]


def _end(share: float | None) -> str:
    return "no end" if share is None else f"{share:.0%}"


def side_by_side(rows: Iterable[Sequence[str]], classifiers: Sequence[str], baseline: str) -> list[str]:
    """Return a table in Markdown with a line an arm, and mean and difference of every classifier across."""
    cells: dict[str, dict[str, str]] = {}
    for classifier, arm, mean, difference, verdict, _ in rows:
        judged = f"{difference}, **{verdict}**" if verdict in JUDGED else difference or "–"
        cells.setdefault(arm, {})[classifier] = f"{mean} | {judged}"
    header = [f"`{name}` | against {baseline}" for name in classifiers]
    lines = [["arm", *header], ["--- | ---" if place else "---" for place in range(len(classifiers) + 1)]]
    lines += [[f"`{arm}`", *(own.get(name, "– | –") for name in classifiers)] for arm, own in cells.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
