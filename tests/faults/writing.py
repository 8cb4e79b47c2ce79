"""R2, R4: whichever call of a writer fails, or is its last, what was there stays readable and the next try succeeds."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from faults.engine import Fault, Outcome, limit_file_size
from small_games import objective, run, store, weights
from syncgan import SynCGANConfig
from syncgan.data.export import ChunkRequest, ExportChunk, write_export
from syncgan.data.sample_store import SampleStore
from syncgan.errors import ArtefactError, SyncganError
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.mask_rows import MaskRow, RowStore
from syncgan.segmentation.cache import MaskCache
from syncgan.storage import is_temporary, read_folder, sweep_temporaries, write_bytes, write_folder, write_json_once
from syncgan.training.run_folder import RunFolder

__all__ = ["FAULTS"]

_DIED = 77


# --- an operating system that fails ----------------------------------------------------------------------------------


class _File:
    """A file opened for writing whose calls are counted; a write that fails has written the first half."""

    def __init__(self, file: Any, call: Callable[..., Any]) -> None:
        self._file, self._call = file, call

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._call("write", lambda: None)
        return half + int(self._file.write(data[half:]))

    def flush(self) -> None:
        self._call("flush", self._file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Calls:
    """Counts the calls that write, and lets the one numbered `fail_at` fail, or be the last of this process."""

    NAMES = ("open", "fsync", "replace", "rename", "link", "mkdir", "unlink")

    def __init__(self, fail_at: int | None = None, how: Literal["error", "death"] = "error") -> None:
        self.made: list[str] = []
        self._fail_at, self._how = fail_at, how

    def call(self, name: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.made.append(name)
        if len(self.made) - 1 == self._fail_at:
            if self._how == "death":
                os._exit(_DIED)
            raise OSError(errno.ENOSPC, "No space left on device", args[0] if args else None)
        return original(*args, **kwargs)

    @contextmanager
    def counted(self) -> Iterator[_Calls]:
        originals: dict[Any, Any] = {(os, name): getattr(os, name) for name in self.NAMES}
        real_open = io.open

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode in ("r", "rb"):
                return real_open(file, mode, *args, **kwargs)
            return _File(self.call("create", real_open, file, mode, *args, **kwargs), self.call)

        try:
            for (module, name), original in originals.items():
                setattr(module, name, partial(self.call, name, original))
            io.open = opened  # what pathlib opens with
            yield self
        finally:
            io.open = real_open
            for (module, name), original in originals.items():
                setattr(module, name, original)


# --- what is written -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Something that syncgan writes.

    Attributes
    ----------
    before : leaves what was there before.
    write : changes it; can be done again, with the same result.
    read : what a reader gets; compares equal where nothing changed.
    grows : files that are appended to or changed in place: their readers know what is whole.
    """

    before: Callable[[Path], Any]
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    grows: tuple[str, ...] = ()


def _tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"one": {"weight": torch.full((8, 8), value)}, "two": {"bias": torch.full((4,), value)}}


def _read_tensors(folder: Path) -> Any:
    return json.dumps(_plain(read_folder(folder, kind="thing")[0]))


def _plain(tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, Any]:
    return {group: {name: value.tolist() for name, value in part.items()} for group, part in tensors.items()}


_GAME = objective("mask")
_STATES = {steps: run(*objective("mask"), steps=steps) for steps in (2, 3)}


def _restored(folder: Path) -> Any:
    state = run(*objective("mask"), steps=1)
    if not store(folder / "stage").restore(state):
        return None
    return state.step, weights(state).tolist()


def _export(folder: Path, shard: tuple[int, int] = (1, 1)) -> Any:
    def render(request: ChunkRequest) -> ExportChunk:
        gray = np.full((request.count, 8, 8, 3), 50 * request.label + request.first_index, np.uint8)
        return ExportChunk(gray, (gray[..., 0] > 50).astype(np.uint8), {"score": np.arange(request.count) / 2})

    requests = [ChunkRequest("a", 0, 0, 2, 1), ChunkRequest("b/../c", 1, 0, 1, 1)]
    settings: dict[str, Any] = {"classes": ["a", "b/../c"], "levels": 2, "header": {}, "resume": True, "shard": shard}
    return write_export(folder / "out", requests, render, **settings)


def _exported(folder: Path) -> Any:
    manifest = folder / "out" / "manifest.csv"
    return manifest.read_text() if manifest.is_file() else None


def _items(folder: Path, top: int) -> SampleStore:
    def render(label: int, numbers: list[int]) -> Any:
        images = np.stack([np.full((3, 4, 4), 10 * label + number, np.uint8) for number in numbers])
        return images, images[:, 0], {"score": np.array(numbers, float)}

    items = SampleStore([0, 0, 1], render, folder=folder / "items")
    if top:
        items.bring(np.arange(3) + top)
    return items


def _slots(folder: Path) -> Any:
    """Return the slots that hold the sample that their number says; one that holds another is an error."""
    items = _items(folder, 0)
    numbers = items.numbers.tolist()
    for slot, number in enumerate(numbers):
        # A number of which half was written is none that is ever asked for.
        if 0 <= number < 2**31 and items.images[slot].max() != 10 * int(items.labels[slot]) + number:
            raise AssertionError(f"slot {slot} says {number}")
    return "slots are what they say"


def _run(folder: Path) -> Any:
    record = {"versions": {}}
    run = RunFolder(folder / "run")
    claimed = run.claim({"seed": 1}, SynCGANConfig(), resume=True, record=record, items={"a": "1"})
    with claimed, suppress(OSError):  # training logs a log that fails, and goes on
        run.record({"stage": "s", "step": 1, "event": "stopped"})


def _logged(folder: Path) -> Any:
    return RunFolder(folder / "run").stats()


def _benchmark(folder: Path, number: int) -> None:
    found = BenchmarkStore(folder / "benchmark")
    found.begin({"seed": 1}, {}, resume=True)
    found.keep_training(number, 0, 0, {"score": 0.5})
    found.finish(number, {"number": number})


def _rows(folder: Path, name: str) -> None:
    found = RowStore(folder / "masks")
    found.claim({"levels": 2})
    found.write([MaskRow(name, "a", "0", reason="is empty")])


def _cached(folder: Path, value: int | None) -> Any:
    cache = MaskCache(folder / "cache", recipe="r")
    if value is None:
        found = cache.read("key", (4, 4, 3))
        return None if found is None else found.tolist()
    return cache.write("key", np.full((4, 4), value, np.uint8))


def _nothing(folder: Path) -> None:
    """Leave nothing."""


WRITERS = {
    "a file": _Writer(
        lambda folder: write_bytes(folder / "file", b"old"),
        lambda folder: write_bytes(folder / "file", b"new content"),
        lambda folder: (folder / "file").read_bytes(),
    ),
    "a file that is written once": _Writer(
        _nothing,
        lambda folder: write_json_once(folder / "once.json", {"a": 1}),
        lambda folder: (folder / "once.json").read_bytes() if (folder / "once.json").exists() else None,
    ),
    "a configuration": _Writer(
        lambda folder: SynCGANConfig.preset("tiny").save(folder / "c.toml"),
        lambda folder: SynCGANConfig.preset("paper").save(folder / "c.toml"),
        lambda folder: SynCGANConfig.load(folder / "c.toml"),
    ),
    "a model": _Writer(
        lambda folder: write_folder(folder / "m", kind="thing", tensors=_tensors(1.0), manifest={"a": 1}),
        lambda folder: write_folder(folder / "m", kind="thing", tensors=_tensors(2.0), manifest={"a": 2}),
        lambda folder: _read_tensors(folder / "m"),
    ),
    "a checkpoint": _Writer(
        lambda folder: store(folder / "stage", keep=1).save(_STATES[2]),
        lambda folder: store(folder / "stage", keep=1).save(_STATES[3]),
        _restored,
    ),
    "the start of a run": _Writer(_nothing, _run, _logged, ("stats.jsonl", ".owner", ".lock")),
    "a split of a benchmark": _Writer(
        partial(_benchmark, number=0),
        partial(_benchmark, number=1),
        lambda folder: [split["number"] for split in BenchmarkStore(folder / "benchmark").splits()],
    ),
    "an export": _Writer(_nothing, _export, _exported),
    "synthetic items": _Writer(
        partial(_items, top=1), partial(_items, top=5), _slots, ("numbers.npy", "images.npy", "masks.npy", "scores.npy")
    ),
    "rows of masks": _Writer(
        partial(_rows, name="a.png"),
        partial(_rows, name="b.png"),
        lambda folder: sorted(row.file for row in RowStore(folder / "masks").rows()),
    ),
    "a mask in the cache": _Writer(partial(_cached, value=0), partial(_cached, value=1), partial(_cached, value=None)),
}


# --- every call of it fails ------------------------------------------------------------------------------------------


def _sweep(which: str, how: Literal["error", "death"], place: Path, tries: int) -> Outcome:
    """Let each call fail in turn, as many as there are; `tries` bounds them where not all are wanted."""
    writer = WRITERS[which]
    start, end = place / "start", place / "end"
    for folder in (start, end):
        folder.mkdir()
        writer.before(folder)
    with _Calls().counted() as calls:
        writer.write(end)
    allowed = (writer.read(start), writer.read(end))
    whole = (_files(start), _files(end))
    outcome = Outcome()
    for fail_at in range(0, len(calls.made), max(1, len(calls.made) // tries) if tries else 1):
        folder = place / "try"
        shutil.copytree(start, folder)
        broken = _broken(writer, folder, fail_at, how) or _half(writer, folder, whole)
        broken = broken or _unreadable(writer, folder, allowed) or _not_again(writer, folder, allowed[1])
        outcome.record(not broken, f"{which}: call {fail_at} ({calls.made[fail_at]}): {broken}")
        shutil.rmtree(folder)
    return outcome


def _broken(writer: _Writer, folder: Path, fail_at: int, how: Literal["error", "death"]) -> str:
    calls = _Calls(fail_at, how)
    if how == "error":
        try:
            with calls.counted():
                writer.write(folder)
        except SyncganError as error:
            return "" if "No space left" in str(error) else f"does not say what happened: {error}"
        except OSError as error:
            return f"is no error of ours: {error!r}"
        return ""  # it was not needed
    child = os.fork()
    if not child:
        with suppress(BaseException), calls.counted():
            writer.write(folder)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "" if code in (0, _DIED) else f"ended with {code}"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _half(writer: _Writer, folder: Path, whole: tuple[Mapping[str, bytes], ...]) -> str:
    """Name a file under its final name that is neither the old nor the new one; marks of beginnings are JSON."""
    for name, data in _files(folder).items():
        if is_temporary(Path(name).name) or Path(name).name in writer.grows:
            continue
        final = name.replace("unfinished/", "")  # where the images of an export wait for each other
        if not any(files.get(final) == data for files in whole) and not _is_json(name, data):
            return f"half a file at {name}"
    return ""


def _is_json(name: str, data: bytes) -> bool:
    with suppress(ValueError):
        return name.endswith(".json") and data.endswith(b"}\n") and json.loads(data) is not None
    return False


def _unreadable(writer: _Writer, folder: Path, allowed: tuple[Any, ...]) -> str:
    try:
        found = writer.read(folder)
    except Exception as error:
        return f"cannot be read: {error!r}"
    return "" if found in allowed else f"holds neither the old nor the new: {str(found)[:80]}"


def _not_again(writer: _Writer, folder: Path, expected: Any) -> str:
    try:
        writer.write(folder)
    except Exception as error:
        return f"cannot be written again: {error!r}"
    sweep_temporaries(folder)
    left = [name for name in _files(folder) if is_temporary(Path(name).name)]
    return f"leaves {left}" if left or writer.read(folder) != expected else ""


# --- a disk that is full ---------------------------------------------------------------------------------------------


def _full_disk(place: Path, tries: int) -> Outcome:
    """Write files larger than the disk takes, in a process with a limit; old files stay and the error says all."""
    outcome = Outcome()
    for number in range(tries):
        path, size = place / f"file-{number}", 2_000 + 997 * number
        write_bytes(path, b"old")
        child = os.fork()
        if not child:
            os._exit(_told_of_a_full_disk(path, size))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        kept = code == 0 and path.read_bytes() == b"old" and path.name in {entry.name for entry in place.iterdir()}
        outcome.record(kept and not list(place.glob(".*")), f"{size} bytes: ended with {code}")
        path.unlink()
    return outcome


def _told_of_a_full_disk(path: Path, size: int) -> int:
    limit_file_size(1_000)
    try:
        write_bytes(path, bytes(size))
    except ArtefactError as error:
        return int(not (str(path) in str(error) and f"{size} bytes" in str(error)))
    return 2


FAULTS = [
    *(
        Fault("R2", f"a call fails in writing {which}", "old or new, whole; the next try succeeds", inject, 12, 0)
        for which in WRITERS
        for inject in (partial(_sweep, which, "error"),)
    ),
    *(
        Fault(
            "R2", f"death at a call in writing {which}", "old or new, whole; the next try succeeds", inject, 3, 0, True
        )
        for which in WRITERS
        for inject in (partial(_sweep, which, "death"),)
    ),
    Fault(
        "R4", "a full disk in writing a file", "the old file stays; path and bytes are named", _full_disk, 3, 50, True
    ),
]
