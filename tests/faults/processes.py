"""R5, R7, R12: folders that cannot be written, two runs in one folder, and workers that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from faults.engine import Fault, Outcome, in_own_process, seeds
from image_files import RGB, encoded
from syncgan import MaskExtractor, SynCGANConfig
from syncgan.data.datasets import wrap_dataset
from syncgan.errors import RunExistsError, WorkerError
from syncgan.evaluation.mask_folder import extract_folder
from syncgan.training.run_folder import RunFolder

__all__ = ["FAULTS"]

_FORK = multiprocessing.get_context("fork")


# --- folders that cannot be written ----------------------------------------------------------------------------------

_REFUSED = """
import contextlib, io, sys
from pathlib import Path
from syncgan.cli import app
for arguments in sys.argv[1:]:
    told, out = io.StringIO(), Path(arguments.split("|")[-1])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        try:
            app(arguments.split("|"))
        except SystemExit as stop:
            code = stop.code
    text = told.getvalue()
    print(code, "torch" in sys.modules, text.count("\\n"), str(out) in text or str(out.parent) in text, text[:7])
"""


def _unwritable(place: Path, _: int) -> Outcome:
    """Give every command that writes a folder that cannot be written: one line, code 2, no torch."""
    for name in ("data/a/1.png", "data/a/2.png", "data/b/1.png", "data/b/2.png"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(encoded(RGB, "PNG"))
    (place / "taken").mkdir()
    (place / "taken" / "notes.txt").touch()
    (place / "file").touch()
    (place / "closed").mkdir(mode=0o500)
    folders = [place / "no" / "run", place / "taken", place / "file", place / "data" / "run", place / "file" / "run"]
    folders += [place / "closed" / "run"] if os.geteuid() else []
    folders += [Path("/sys/run")] if Path("/sys").is_dir() else []  # where not even root may write
    data, run = str(place / "data"), place / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "manifest.json").write_text("{}")
    starts = [["fit", data], ["masks", data], ["benchmark", data], ["doctor", data], ["demo"]]
    starts += [["sample", str(run), "--per-class=1"], ["audit", str(run), "--data", data, "--leave-one-out"]]
    commands = [
        "|".join([*start, "--out", str(folder)])
        for start in starts
        for folder in folders
        if data in start or folder.parent != place / "data"
    ]
    pages = [place / "no" / "page.html", place / "taken", place / "file" / "page.html", *folders[5:]]
    commands += ["|".join(["report", str(run), "--out", str(page)]) for page in pages]
    done = in_own_process(_REFUSED, *commands)
    outcome, lines = Outcome(), done.stdout.splitlines()
    for at, command in enumerate(commands):
        line = lines[at] if at < len(lines) else done.stderr[-300:]
        outcome.record(line == "2 False 1 True error: ", f"{command}: {line!r}")
    return outcome


# --- two runs in one folder ------------------------------------------------------------------------------------------


def _claim(folder: Path) -> Any:
    return RunFolder(folder).claim({"seed": 1}, SynCGANConfig(), resume=True, record={})


def _hold(folder: Path, claimed: Any) -> None:
    with _claim(folder):
        claimed.set()
        time.sleep(600)


def _two_runs(place: Path, tries: int) -> Outcome:
    """Claim a folder that another process owns, kill the owner, and claim it again."""
    outcome = Outcome()
    for at in range(tries):
        folder, claimed = place / f"run-{at}", _FORK.Event()
        owner = _FORK.Process(target=_hold, args=(folder, claimed))
        owner.start()
        claimed.wait(60)
        told = "was not refused"
        try:
            with _claim(folder):
                pass
        except RunExistsError as error:
            told = str(error)
        os.kill(owner.pid or 0, signal.SIGKILL)
        owner.join()
        named = f"process {owner.pid} on {socket.gethostname()}" in told
        try:
            with _claim(folder):
                outcome.record(named, told)
        except RunExistsError as error:
            outcome.record(False, f"a dead owner's lock is not taken over: {error}")
    return outcome


# --- workers that die ------------------------------------------------------------------------------------------------


_PROMPT_SECONDS = 10  # from death to error: how long processes take to start depends on the machine


def _since_death(mark: Path) -> float:
    """Return the seconds since a process left its mark, which was the last that it did."""
    return time.time() - mark.stat().st_mtime


class _Dies:
    """A segmenter that kills its process at one image, once."""

    def __init__(self, mark: str, home: int) -> None:
        self._mark, self._home = mark, home

    def __call__(self, image: Any) -> Any:
        if image.max() == 255 and os.getpid() != self._home and not Path(self._mark).exists():
            Path(self._mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return image[..., 0] > 100


def _dead_segmenter(place: Path, tries: int) -> Outcome:
    """Kill a process that segments images for joblib; the same call again succeeds."""
    images = [np.full((8, 8, 3), 50 + index, np.uint8) for index in range(8)]
    outcome = Outcome()
    for at, draw in enumerate(seeds(tries, "joblib")):
        mark = place / f"mark-{at}"
        some = [image.copy() for image in images]
        some[draw.randrange(len(some))][0, 0] = 255
        extractor, told, waited = MaskExtractor(_Dies(str(mark), os.getpid())), "no error", 0.0
        try:
            extractor.extract(some, n_jobs=2)
        except WorkerError as error:
            told, waited = str(error), _since_death(mark)
        again = len(extractor.extract(some, n_jobs=2)) == len(some)
        outcome.record("was killed" in told and waited < _PROMPT_SECONDS and again, f"{told} after {waited:.1f} s")
    return outcome


def _dead_masks(place: Path, tries: int) -> Outcome:
    """Kill a process that segments a folder; the next call goes on, to the masks of an undisturbed one."""
    for number in range(12):
        (place / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), 50 + number, np.uint8)
        pixels[:4] = 120
        (place / "data" / "ab"[number % 2] / f"{number}.png").write_bytes(encoded(pixels, "PNG"))
    mark, outcome = place / "mark", Outcome()
    whole = _masks(place / "data", place / "whole", _DiesAt(0, str(mark)))
    for at, draw in enumerate(seeds(tries, "masks")):
        dies, out, told, waited = _DiesAt(50 + draw.randrange(12), str(mark)), place / f"out-{at}", "no error", 0.0
        try:
            _masks(place / "data", out, dies)
        except WorkerError as error:
            told, waited = str(error), _since_death(mark)
        again = _masks(place / "data", out, dies) == whole
        mark.unlink(missing_ok=True)
        outcome.record("--resume" in told and waited < _PROMPT_SECONDS and again, f"{told} after {waited:.1f} s")
    return outcome


class _DiesAt:
    """A segmenter that kills its process at the image with one gray, once."""

    def __init__(self, gray: int, mark: str) -> None:
        self._gray, self._mark = gray, mark

    def __call__(self, image: Any) -> Any:
        if int(image[-1, -1, 0]) == self._gray and not Path(self._mark).exists():
            Path(self._mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return image[..., 0] > 100


def _masks(data: Path, out: Path, segmenter: Any) -> dict[str, bytes]:
    extract_folder(data, out, extractor=MaskExtractor(segmenter), n_jobs=2)
    return {path.name: path.read_bytes() for path in sorted((out / "masks").rglob("*.png"))}


class _DiesOnce:
    """A transform that kills the worker at the first call of all."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, image: Any) -> Any:
        if not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.asarray(image)


def _dead_loader(place: Path, tries: int) -> Outcome:
    """Kill a DataLoader's worker over a wrapped dataset; a new epoch gives every item."""
    outcome = Outcome()
    for at in range(tries):
        mark = place / f"{at}"
        items = [(np.full((8, 8, 3), 9, np.uint8), label) for label in (0, 0, 1, 1)]
        wrapped = wrap_dataset(
            items,
            classes=("a", "b"),
            label_values=(0, 1),
            render=_rendered,
            strategy=1.0,
            transform=_DiesOnce(mark),
        )
        loader = DataLoader(wrapped, batch_size=2, num_workers=1, multiprocessing_context="fork")
        told, waited = "no error", 0.0
        try:
            list(loader)
        except RuntimeError as error:
            told, waited = str(error), _since_death(mark)
        again = sum(len(labels) for _, labels in loader) == 8
        prompt = waited < _PROMPT_SECONDS
        outcome.record("DataLoader worker" in told and prompt and again, f"{told} after {waited:.1f} s")
    return outcome


def _rendered(label: int, numbers: list[int]) -> Any:
    return np.full((len(numbers), 3, 8, 8), label, np.uint8), np.zeros((len(numbers), 8, 8), np.uint8), {}


FAULTS = [
    Fault(
        "R5",
        "an output folder that cannot be written, for each command",
        "one line, code 2, before torch is imported",
        _unwritable,
        1,
        1,
    ),
    Fault(
        "R7",
        "two runs in one folder, then the owner is killed",
        "the second refuses and names it; then takes over",
        _two_runs,
        2,
        20,
        True,
    ),
    *(
        Fault("R12", name, f"a clear error within {_PROMPT_SECONDS} s; {promise}", inject, short, 10, apart=True)
        for name, promise, inject, short in (
            ("a joblib worker is killed", "the next call succeeds", _dead_segmenter, 1),
            ("a process that makes the masks of a folder is killed", "the next call goes on", _dead_masks, 0),
            ("a DataLoader worker is killed", "the next epoch is whole", _dead_loader, 1),
        )
    ),
]
