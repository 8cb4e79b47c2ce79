"""What the finished splits of a benchmark say: mean balanced accuracy of each arm and classifier."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from syncgan.errors import ArtefactError
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.storage import write_text

__all__ = ["BenchmarkSummary", "summarise"]

_TABLE = "table.md"


@dataclass(frozen=True)
class BenchmarkSummary:
    """Means over the finished splits.

    Attributes
    ----------
    folder, table : the benchmark, and the file with the table.
    splits : numbers of the finished splits.
    balanced_accuracy : classifier -> arm -> mean over splits.
    skipped : why an arm was not run with a classifier, one sentence each.
    markdown : the table.
    """

    folder: Path
    table: Path
    splits: tuple[int, ...]
    balanced_accuracy: dict[str, dict[str, float]]
    skipped: tuple[str, ...]
    markdown: str

    def as_dict(self) -> dict[str, Any]:
        """Return what a program that started the benchmark wants to know, JSON-compatible."""
        return {
            "out": str(self.folder),
            "table": str(self.table),
            "splits": list(self.splits),
            "balanced_accuracy": self.balanced_accuracy,
            "skipped": list(self.skipped),
        }


def summarise(out: str | PathLike[str]) -> BenchmarkSummary:
    """Read all finished splits of a benchmark and write its table.

    Raises
    ------
    ArtefactError
        There is no finished split, or a file is damaged.
    """
    from sklearn.metrics import balanced_accuracy_score

    store = BenchmarkStore(out)
    identity, splits = store.description()["identity"], store.splits()
    if not splits:
        raise ArtefactError(f"{out}: expected at least one finished split, found none; run the benchmark on")
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for split in splits:
        for result in split["results"]:
            predicted = np.argmax(result["probabilities"], axis=1)
            score = balanced_accuracy_score(split["labels"], predicted)
            found[result["classifier"], result["arm"]].append(float(score))
    means = {
        classifier: {
            arm: float(np.mean(found[classifier, arm])) for arm in identity["arms"] if (classifier, arm) in found
        }
        for classifier in identity["classifiers"]
    }
    markdown = _markdown(means, identity["arms"], len(splits))
    table = store.folder / _TABLE
    write_text(table, markdown + "\n")
    skipped = dict.fromkeys(
        f"{entry['arm']} with {entry['classifier']}: {entry['reason']}"
        for split in splits
        for entry in split["skipped"]
    )
    numbers = tuple(split["split"] for split in splits)
    return BenchmarkSummary(store.folder, table, numbers, means, tuple(skipped), markdown)


def _markdown(means: dict[str, dict[str, float]], arms: list[str], splits: int) -> str:
    rows = [
        "| " + " | ".join([classifier, *(f"{100 * own[arm]:.2f}" if arm in own else "-" for arm in arms)]) + " |"
        for classifier, own in means.items()
    ]
    head = ["| classifier | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    title = f"Balanced accuracy in percent, mean over {splits} split{'s' if splits > 1 else ''}"
    return "\n".join([title, "", *head, *rows])
