"""R1, R3, R4, R16: a training of both GANs that is killed, stopped or finds the disk full ends like an undisturbed one.

A tiny augmenter is trained on simulated smears with a checkpoint after every step. Compared without any tolerance:
weights, moving averages, both optimisers, history and counters of the last checkpoint of every stage, the saved model,
and the lines of ``stats.jsonl`` without times and memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what every optimiser imports when it is made; here once instead of in every process

from faults.engine import Fault, Outcome, limit_file_size, seeds
from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.errors import ArtefactError
from syncgan.storage import sha256

__all__ = ["FAULTS", "Watched"]

SETTINGS = [
    "mask_gan.steps=8",
    "mask_gan.warm_start_steps=4",
    "mask_gan.sharing=class",
    "mask_gan.width=4",
    "mask_gan.discriminator_width=4",
    "image_gan.steps=10",
    "image_gan.width=4",
    "image_gan.discriminator_width=4",
    "image_gan.selection=validation",
    "image_gan.dropout=0.5",
    "image_gan.texture_weight=1",
    'image_gan.augmentation=["translation", "colour"]',
    "image_gan.augmentation_probability=0.5",
    "filters.mask_plausibility=false",
    "training.checkpoint_seconds=0",
    "training.log_every=3",
    "training.validate_every=4",
]
MEASURED = ("images_per_second", "seconds", "peak_memory_mb")
_TOO_LONG = 250.0
_MANY = 20  # signals, of which surely some come while the one and the other GAN is trained

_FORK = multiprocessing.get_context("fork")


# --- a training in a process of its own ------------------------------------------------------------------------------


class Watched:
    """Work in a forked process whose standard error goes to a file.

    Parameters
    ----------
    work : called with a function that says that the work has begun.
    """

    def __init__(self, work: Callable[[Callable[[], None]], None], told: Path) -> None:
        self._told = told
        self._began = _FORK.Event()
        self._process = _FORK.Process(target=self._enter, args=(work,))
        self._process.start()

    def _enter(self, work: Callable[[Callable[[], None]], None]) -> None:
        torch.set_num_threads(1)
        with self._told.open("wb", buffering=0) as file:
            os.dup2(file.fileno(), 2)
            os.dup2(file.fileno(), 1)
            work(self._began.set)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def begun(self) -> None:
        """Wait until the work has begun, or is over."""
        while not self._began.wait(0.05) and self._process.is_alive():
            pass

    def ended_within(self, seconds: float | None) -> bool:
        """Wait; tell whether the process is over."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def send(self, *signals: int) -> None:
        """Send signals one after another; a process that is over by then gets none."""
        for number in signals:
            if self._process.is_alive():
                os.kill(self.pid, number)

    def close(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was printed. One that hangs is killed, and says so."""
        if not self.ended_within(_TOO_LONG):
            self.send(signal.SIGKILL)
            self._process.join()
            return -1, "it hung"
        return self._process.exitcode or 0, self._told.read_text(encoding="utf-8", errors="replace")


def fit(folder: Path, limit: tuple[int, int] | None = None) -> None:
    """Train, or go on with what is in `folder`; with a limit (steps, bytes) no larger file after the steps."""
    phantom = Phantom(4, image_size=32, seed=1)
    config = SynCGANConfig.preset("tiny").updated(SETTINGS)
    masks = [phantom.mask(index) for index in range(len(phantom))]
    SynCGANAugmenter(config, device="cpu", seed=5).fit(
        phantom, masks, run_dir=folder, callbacks=[] if limit is None else [_Limit(*limit)]
    )


class _Limit:
    """A callback after so many events of which the disk is full."""

    def __init__(self, events: int, size: int) -> None:
        self._left, self._size = events, size

    def __call__(self, event: Any) -> None:
        if event.kind in ("step", "event"):
            self._left -= 1
            if self._left == 0:
                limit_file_size(self._size)


def outcome_of(folder: Path) -> dict[str, Any]:
    """Return everything that must be the same, by name."""
    found: dict[str, Any] = {}
    for stage in sorted((folder / "checkpoints").iterdir()):
        checkpoint = sorted(stage.glob("step-*"))[-1]
        manifest = json.loads((checkpoint / "manifest.json").read_text("utf-8"))
        found[f"{stage.name}: state"] = manifest["state"]
        found |= _digests(f"{stage.name}: ", checkpoint)
    found |= _digests("model: ", folder / "model")
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text("utf-8").splitlines()]
    found["stats.jsonl"] = [{key: line[key] for key in line if key not in MEASURED} for line in lines]
    return found


def _digests(prefix: str, folder: Path) -> dict[str, str]:
    """Return what the files of tensors hold, whatever their manifest says; their names end in their digest."""
    return {f"{prefix}{path.name}": sha256(path.read_bytes()) for path in sorted(folder.glob("*.safetensors"))}


def _differences(expected: dict[str, Any], folder: Path) -> list[str]:
    got = outcome_of(folder)
    found = [name for name in {**expected, **got} if expected.get(name) != got.get(name)]
    kept = [len(list(stage.glob("step-*"))) for stage in (folder / "checkpoints").iterdir()]
    orphans = list(folder.rglob(".syncgan-*"))
    return found + (["more checkpoints than are to be kept"] if max(kept) > 2 else []) + [str(path) for path in orphans]


def _undisturbed(place: Path, work: Callable[[Path], None]) -> tuple[dict[str, Any], float]:
    """Return the outcome of a training that nothing happens to, and its seconds."""
    started = time.monotonic()
    code, told = Watched(lambda _: work(place / "undisturbed"), place / "told").close()
    if code:
        raise RuntimeError(f"the undisturbed training ended with {code}: {told}")
    return outcome_of(place / "undisturbed"), time.monotonic() - started


# --- kill -9, Ctrl-C and SIGTERM -------------------------------------------------------------------------------------


def _disturb(numbers: tuple[int, ...], place: Path, tries: int, per_run: int = 5) -> Outcome:
    """Send signals at random moments to ``syncgan fit``, and go on with the command that it prints, until it is done.

    After SIGKILL, of which nothing can be printed, with the same command. About `per_run` times a run.
    """
    data = _images(place / "data")
    expected, seconds = _undisturbed(place, lambda folder: _as_command(_command(data, folder), lambda: None))
    outcome, runs, reached = Outcome(), 0, set()
    while outcome.tries < tries:
        folder, draw = place / f"run {runs}", random.Random(f"{numbers} {runs}")
        command, sent, lost = _command(data, folder), 0, []
        while not lost and outcome.tries + sent < tries:
            process = Watched(partial(_as_command, command), place / "told")
            process.begun()
            if process.ended_within(draw.uniform(0, 2 * seconds / per_run)):
                break
            sent += 1
            reached.add(_stage(folder))
            command, wrong = _sent(process, numbers, command)
            lost += wrong
        code, told = Watched(partial(_as_command, command), place / "told").close()
        lost += [f"ended with {code}: {told[-300:]}"] if code else _differences(expected, folder)
        for _ in range(sent):
            outcome.record(not lost, f"run {runs}: {'; '.join(lost)[:600]}")
        runs += 1
        if sent < per_run / 2 and outcome.tries < tries:
            seconds *= 0.7  # the machine has become faster than it was in the undisturbed run
    if tries >= _MANY and not {"mask", "image"} <= reached:
        raise RuntimeError(f"no signal came while one of the GANs was trained, only in {reached}")
    return outcome


def _stage(folder: Path) -> str:
    """Return what is being trained, by the newest checkpoint: "mask" or "image"; empty before there is one."""
    checkpoints = sorted(folder.glob("checkpoints/*/step-*"), key=lambda path: path.stat().st_mtime_ns)
    return checkpoints[-1].parent.name.partition("_")[0] if checkpoints else ""


def _sent(process: Watched, numbers: tuple[int, ...], command: list[str]) -> tuple[list[str], list[str]]:
    """Send signals; return the command that goes on, and what is wrong."""
    before = seen = _cpu_seconds(process.pid)
    process.send(*numbers)
    while not process.ended_within(0.05):
        seen = _cpu_seconds(process.pid) or seen
        if seen - before > 60:
            process.send(signal.SIGKILL)
    code, told = process.close()
    if code == 0:
        return command, []  # it was done when the signal came
    if numbers[0] == signal.SIGKILL:
        return command, [] if code == -signal.SIGKILL else [f"ended with {code}: {told[-300:]}"]
    if code != 128 + numbers[0]:
        return command, [f"ended with {code}: {told[-300:]}"]
    if seen - before > 5:
        return command, [f"took {seen - before:.1f} s of CPU to leave"]
    found = re.search(r"stopped; go on with: syncgan (.*)", told)
    if found:
        return shlex.split(found[1]), []
    return command, [] if "nothing was written" in told else [f"does not say how to go on: {told[-300:]}"]


def _command(data: Path, folder: Path) -> list[str]:
    settings = [*SETTINGS, "extractor.segmenter=otsu"]
    options = ["--preset=tiny", "--device=cpu", "--resume", *(f"--set={one}" for one in settings)]
    return ["fit", str(data), "--out", str(folder), *options]


def _as_command(arguments: list[str], began: Callable[[], None]) -> None:
    """Run a command of syncgan in this process; say when it reads its data, when its handlers of signals are in place.

    The report, which takes longer than the training, is left out.
    """
    from syncgan.cli import app
    from syncgan.evaluation import runs

    original = runs.load_run_data

    def load(*args: Any, **kwargs: Any) -> Any:
        began()
        return original(*args, **kwargs)

    runs.load_run_data = load
    runs.report_run = lambda *_, **__: None
    sys.argv = ["syncgan", *arguments]
    app(arguments)


def _images(data: Path) -> Path:
    phantom = Phantom(4, image_size=32, seed=1)
    for index in range(len(phantom)):
        image, label = phantom[index]
        (data / phantom.classes[label]).mkdir(parents=True, exist_ok=True)
        image.save(data / phantom.classes[label] / f"{index}.png")
    return data


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process: how long it takes does not depend on what else this machine does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- a disk that is full while training ------------------------------------------------------------------------------


def _fill(place: Path, tries: int) -> Outcome:
    expected, _ = _undisturbed(place, fit)
    outcome = Outcome()
    for at, draw in enumerate(seeds(tries, "full disk")):
        folder = place / f"run-{at}"
        process = Watched(partial(_fit_on_a_full_disk, folder, draw.randrange(1, 12)), place / "told")
        code, told = process.close()
        lost = [] if code == 0 else [f"ended with {code}: {told[-300:]}"]
        code, told = Watched(lambda _: fit(folder), place / "told").close()  # noqa: B023 - called before the next turn
        lost += [told[-300:]] if code else _differences(expected, folder)
        outcome.record(not lost, "; ".join(lost)[:300])
    return outcome


def _fit_on_a_full_disk(folder: Path, events: int, _: Callable[[], None]) -> None:
    try:
        fit(folder, (events, 1_000))
    except ArtefactError as error:
        if not re.search(rf"^{re.escape(str(folder))}/\S+: cannot write \d+ bytes \(", str(error)):
            raise
    else:
        raise RuntimeError("the disk was not full")


# --- the table -------------------------------------------------------------------------------------------------------

_EQUAL = "the resumed run ends bit for bit like the undisturbed one, log included"
_STOPPED = f"exit code 130 or 143 within 5 s (of CPU); by the printed command {_EQUAL}"

FAULTS = [
    *(
        Fault(row, f"{name} at a random moment of a training", promise, partial(_disturb, numbers), short, long, True)
        for row, name, numbers, promise, short, long in (
            ("R1", "kill -9", (signal.SIGKILL,), _EQUAL, 10, 50),
            ("R3", "SIGTERM", (signal.SIGTERM,), _STOPPED, 2, 20),
            ("R3", "Ctrl-C", (signal.SIGINT,), _STOPPED, 2, 20),
            ("R3", "Ctrl-C twice", (signal.SIGINT, signal.SIGINT), _STOPPED, 0, 20),
        )
    ),
    Fault("R4", "a disk that fills up in a training", f"path and bytes are named; {_EQUAL}", _fill, 1, 20, apart=True),
]
