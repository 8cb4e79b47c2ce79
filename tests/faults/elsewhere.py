"""Rows that other tests hold: each is run as it stands, and every test of it counts as one try."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from faults.engine import HERE, Fault, Outcome

__all__ = ["FAULTS"]

_ROWS = (
    (
        "R2",
        "a failing call in the atomic writer, and in a model",
        "old or new, whole",
        "test_storage.py",
        "whichever or until or interrupted or racing",
    ),
    (
        "R3",
        "a signal in each phase of a step of both GANs",
        "the checkpoint of that very step",
        "test_recovery.py",
        "signal or ctrl_c",
    ),
    ("R3", "a signal to the command", "exit code, and the command that goes on", "test_cli.py", "interrupted"),
    (
        "R5",
        "an output folder that is taken or cannot be written",
        "refused; nothing changes",
        "test_cli.py",
        "bad_input or unwritable or never_import_torch",
    ),
    ("R8", "kinds of image files, one by one", "the right pixels, or one reason", "test_images.py", ""),
    ("R8", "folders with links, loops and odd names", "listed with a reason", "test_folders.py", ""),
    (
        "R10",
        "NaN and infinite losses",
        "skipped, rolled back, then stopped; never saved",
        "test_recovery.py",
        "finite or skip or fails_again or loss_scale",
    ),
    (
        "R10",
        "NaN and infinite losses in a whole stage",
        "training goes on, and is good",
        "test_training.py",
        "not_finite",
    ),
    (
        "R11",
        "memory of the device that runs out",
        "cut batches, the same result; at one item an error",
        "test_recovery.py",
        "memory or fits",
    ),
    (
        "R13",
        "data added, removed or edited before a resume",
        "refused, and the items are named",
        "test_augmenter.py",
        "changed_files or another_run",
    ),
    (
        "R14",
        "data that cannot be learned from",
        "refused, and the class is named",
        "test_augmenter.py",
        "cannot_be_learned or mask_fails",
    ),
    (
        "R15",
        "an observer, log, score or preview that fails",
        "training goes on",
        "test_training.py test_previews.py",
        "test_a_failing or preview_that_fails",
    ),
    ("R15", "a report that fails", "the run is whole", "test_runs.py", "report_that_fails"),
    (
        "R16",
        "many checkpoints, and orphans of a killed writer",
        "the last and the best stay; orphans go",
        "test_recovery.py test_storage.py test_augmenter.py",
        "outlive or sweep or may_differ_on_resume",
    ),
    (
        "R17",
        "a process of two dies",
        "the other leaves in time; the run can be resumed",
        "test_distributed.py",
        "dies or signal",
    ),
    (
        "S",
        "hostile names in exports, reports, previews and tables",
        "inside, as text, escaped",
        "test_export.py test_report.py test_previews.py test_benchmark_tables.py test_audit.py",
        "hostile or folders or spreadsheet or script",
    ),
    (
        "S",
        "plug-ins that are broken, shadow others or share a name",
        "break only themselves",
        "test_registry.py",
        "plugin or entry_point or claim",
    ),
    (
        "S",
        "real images in reports, previews and logs",
        "shown only where they are asked for",
        "test_thumbnails.py",
        "shown or showing or shows or leaves or stay or passes",
    ),
    (
        "S",
        "a generator that copies, and an honest one",
        "the first is flagged, the second is not",
        "test_audit.py",
        "copies or honest or control",
    ),
)


def _tests(files: str, chosen: str, _: Path, __: int) -> Outcome:
    """Run tests by name; count those that passed, and those that did not."""
    paths = [str(HERE.parent / name) for name in files.split()]
    options = ["-q", "-rfE", "-p", "no:randomly", "-o", "addopts="] + (["-k", chosen] if chosen else [])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[1],
    )
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    outcome = Outcome(sum(counts.values()))
    outcome.lost += re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
    if not counts.get("passed"):
        outcome.record(False, f"no test of it passed: {done.stdout[-300:]}{done.stderr[-300:]}")
    return outcome


FAULTS = [
    Fault(row, name, promise, partial(_tests, files, chosen), 0, 1, apart=True)
    for row, name, promise, files, chosen in _ROWS
]
