"""The command: choose faults, inject them, print and keep the table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.engine import Fault, Outcome

__all__ = ["SUBJECTS", "all_faults", "main"]

SUBJECTS = ("artefacts", "data", "elsewhere", "images", "processes", "readers", "security", "training", "writing")
_START, _END = "<!-- table of faults -->", "<!-- end of the table -->"


def all_faults(subjects: Sequence[str] = SUBJECTS) -> list[Fault]:
    """Return the faults of some subjects, by row."""
    found = [fault for subject in subjects for fault in importlib.import_module(f"faults.{subject}").FAULTS]
    return sorted(found, key=lambda fault: (re.sub(r"\d", "", fault.row), int(re.sub(r"\D", "", fault.row) or 0)))


def main() -> None:
    """Inject faults, print a line for each, and end with 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="as often as the promises say, instead of a few times")
    parser.add_argument("--only", default="", metavar="REGEX", help="only faults whose row and name match")
    parser.add_argument("--apart", action="store_true", help="only those that need a process of their own")
    parser.add_argument("--json", action="store_true", help="print the outcomes as one line of JSON")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="keep outcomes here, and go on where an interrupted command stopped",
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page, between its marks")
    options = parser.parse_args()
    known = _known(options.results)
    for fault in all_faults():
        tries = fault.long if options.long else fault.short
        wanted = re.search(options.only, str(fault)) and (fault.apart or not options.apart)
        if not wanted or str(fault) in known or (not options.long and not tries):
            continue
        known[str(fault)] = outcome = tried(fault, tries)
        if not options.json:
            print(line_of(fault, outcome), *(f"    LOST {told}" for told in outcome.lost[:5]), sep="\n", flush=True)
        if options.results is not None:
            options.results.write_text(json.dumps({name: vars(each) for name, each in known.items()}, indent=1))
    if options.json:
        print(json.dumps({name: vars(outcome) for name, outcome in known.items()}))
    if options.page is not None:
        write_page(options.page, known)
    sys.exit(any(outcome.lost for outcome in known.values()))


def tried(fault: Fault, tries: int) -> Outcome:
    """Inject a fault into a new folder; an injection that fails itself counts as lost."""
    with tempfile.TemporaryDirectory() as place:
        try:
            return fault.inject(Path(place), tries)
        except Exception as error:
            return Outcome(1, [f"the injection failed: {error!r}"])


def line_of(fault: Fault, outcome: Outcome) -> str:
    """Return a line of the table."""
    survived = outcome.tries - len(outcome.lost)
    return f"| {fault.row} | {fault.name} | {fault.promise} | {outcome.tries:,} | {survived:,} | {len(outcome.lost)} |"


def write_page(page: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Put the table between the marks of a page."""
    import torch

    head, _, rest = page.read_text(encoding="utf-8").partition(_START)
    tail = rest.partition(_END)[2]
    tries, lost = sum(each.tries for each in outcomes.values()), sum(len(each.lost) for each in outcomes.values())
    where = f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}, {platform.system()}, CPU"
    lines = [
        f"{tries:,} tries, {lost} lost ({where}).",
        "",
        "| row | fault | what holds | tries | survived | lost |",
        "|---|---|---|---:|---:|---:|",
        *(line_of(fault, outcomes[str(fault)]) for fault in all_faults() if str(fault) in outcomes),
    ]
    text = "\n".join(lines)
    page.write_text(f"{head}{_START}\n{text}\n{_END}{tail}", encoding="utf-8")


def _known(results: Path | None) -> dict[str, Outcome]:
    if results is None or not results.exists():
        return {}
    return {name: Outcome(**values) for name, values in json.loads(results.read_text()).items()}
