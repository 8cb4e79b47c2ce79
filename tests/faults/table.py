"""The command: choose faults, inject them, print and keep the table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.engine import Fault, Outcome

__all__ = ["SUBJECTS", "all_faults", "main"]

SUBJECTS = ("artefacts", "data", "images", "processes", "readers", "security", "training", "writing")
_START, _END = "<!-- table of faults -->", "<!-- end of the table -->"


def all_faults(subjects: Sequence[str] = SUBJECTS) -> list[Fault]:
    """Return the faults of some subjects, by row."""
    found = [fault for subject in subjects for fault in importlib.import_module(f"faults.{subject}").FAULTS]
    return sorted(found, key=lambda fault: (fault.row.rstrip("0123456789"), int(fault.row.strip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") or 0)))


def main() -> None:
    """Inject faults, print a line for each, and end with 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="as often as the promises say, instead of a few times")
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults whose row and name hold this")
    parser.add_argument("--apart", action="store_true", help="only those that need a process of their own")
    parser.add_argument("--json", action="store_true", help="print the outcomes as one line of JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page, between its marks")
    options = parser.parse_args()
    chosen = [fault for fault in all_faults() if options.only in str(fault) and (fault.apart or not options.apart)]
    rows: list[tuple[Fault, Outcome, float]] = []
    for fault in chosen:
        started = time.process_time()
        outcome = tried(fault, fault.long if options.long else fault.short)
        rows.append((fault, outcome, time.process_time() - started))
        if not options.json:
            print(line_of(fault, outcome), f"{rows[-1][2]:.1f} s", flush=True)
            print("\n".join(f"    LOST {told}" for told in outcome.lost[:5]), end="\n" if outcome.lost else "")
    if options.json:
        print(json.dumps({str(fault): [outcome.tries, outcome.lost] for fault, outcome, _ in rows}))
    if options.page is not None:
        write_page(options.page, [(fault, outcome) for fault, outcome, _ in rows])
    sys.exit(any(outcome.lost for _, outcome, _ in rows))


def tried(fault: Fault, tries: int) -> Outcome:
    """Inject a fault into a new folder."""
    with tempfile.TemporaryDirectory() as place:
        return fault.inject(Path(place), tries)


def line_of(fault: Fault, outcome: Outcome) -> str:
    """Return a line of the table."""
    survived = outcome.tries - len(outcome.lost)
    return f"| {fault.row} | {fault.name} | {fault.promise} | {outcome.tries} | {survived} | {len(outcome.lost)} |"


def write_page(page: Path, rows: Sequence[tuple[Fault, Outcome]]) -> None:
    """Put the table between the marks of a page."""
    import torch

    head, _, rest = page.read_text(encoding="utf-8").partition(_START)
    _, _, tail = rest.partition(_END)
    tries, lost = sum(outcome.tries for _, outcome in rows), sum(len(outcome.lost) for _, outcome in rows)
    where = f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}, {platform.system()}"
    lines = [
        f"{tries:,} tries, {lost} lost ({where}).",
        "",
        "| row | fault | what holds | tries | survived | lost |",
        "|---|---|---|---:|---:|---:|",
        *(line_of(fault, outcome) for fault, outcome in rows),
    ]
    page.write_text(f"{head}{_START}\n{chr(10).join(lines)}\n{_END}{tail}", encoding="utf-8")
