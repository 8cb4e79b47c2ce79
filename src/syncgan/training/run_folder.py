"""The folder of one run: ``config.json``, ``run.json``, ``stats.jsonl``, ``checkpoints/``, and who is writing in it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from syncgan.config import SynCGANConfig
from syncgan.errors import ArtefactError, RunExistsError
from syncgan.storage import is_temporary, make_folder, read_json, sweep_temporaries, write_json, write_text

if TYPE_CHECKING:
    from syncgan.training.checkpoint import CheckpointStore
    from syncgan.training.clock import Progress

__all__ = ["RunFolder", "differences"]

_LOCK, _OWNER = ".lock", ".owner"
_RUN = "run.json"
_STATS = "stats.jsonl"
_SHOWN = 3
_TOLD = 5
_SHAPING = (
    "config.image_size",
    "config.geometry",
    "config.levels",
    "config.stain_classes",
    "config.extractor",
    "config.mask_gan.resolution",
)
_MOST = 2**53  # whole numbers beyond it are no numbers of ours, and no plot can show them
# Runs that were started before these were recorded go on without them, and so do their checkpoints.
_RECORDED_LATER = ("groups", "validation")


class RunFolder:
    """One run on disk.

    Parameters
    ----------
    path : the folder; made by `claim`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._identity: dict[str, Any] = {}
        self._logged: set[str] = set()

    @property
    def holds_run(self) -> bool:
        """Tell whether a run was started here."""
        return (self.path / _RUN).exists()

    @property
    def identity(self) -> dict[str, Any]:
        """What makes the run here the run that it is; empty where none was started."""
        return dict(self.description().get("identity", {}))

    def description(self) -> dict[str, Any]:
        """Return what `claim` recorded of the run here; empty where none was started.

        Raises
        ------
        ArtefactError
            ``run.json`` is damaged.
        """
        return _read_run(self.path / _RUN) if self.holds_run else {}

    def require_free(self) -> None:
        """Refuse a folder that holds a run or anything else.

        Raises
        ------
        RunExistsError
            The folder is not empty.
        """
        if self.holds_run:
            raise RunExistsError(
                f"{self.path}: already holds a run; go on with it by --resume (resume='auto'), or choose another folder"
            )
        if self.path.is_dir() and not all(_is_of_a_start(entry.name) for entry in self.path.iterdir()):
            raise RunExistsError(f"{self.path}: is not empty and holds no run of syncgan; choose another folder")
        if self.path.exists() and not self.path.is_dir():
            raise RunExistsError(f"{self.path}: is a file, expected a folder; choose another name")

    @contextlib.contextmanager
    def claim(
        self,
        identity: Mapping[str, Any],
        config: SynCGANConfig,
        *,
        resume: bool,
        record: Mapping[str, Any],
        items: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """Own the folder inside the block.

        Parameters
        ----------
        identity : what makes two runs the same run (configuration, seed, data); kept in ``run.json``.
        items : item -> digest, to say which items have changed when ``data`` in the identity has.
        config : written as ``config.json``.
        resume : accept a folder that holds the same run.
        record : what else ``run.json`` keeps (versions, threads); a run may go on under others.

        Raises
        ------
        RunExistsError
            Another process is writing here, or the folder holds a run of another identity (the difference is shown).
        """
        saved = self.identity if resume else {}
        left_out = {key for key in _RECORDED_LATER if saved and key not in saved}
        self._identity = {key: value for key, value in identity.items() if key not in left_out}
        if not (resume and self.holds_run):
            self.require_free()  # before the lock, so that a refused folder stays as it is
        make_folder(self.path)
        with self._locked():
            if resume and self.holds_run:
                self._require_same(_read_run(self.path / _RUN), items or {})
            else:
                self.require_free()
            sweep_temporaries(self.path)
            # First what makes the folder a run: one that is killed between the two can be gone on with.
            write_json(self.path / _RUN, {"identity": self._identity, **record, "items": items or {}})
            write_json(self.path / "config.json", config.model_dump(mode="json"))
            yield

    def checkpoints(
        self, stage_folder: str, config: SynCGANConfig, log: Callable[[Mapping[str, Any]], None] | None = None
    ) -> CheckpointStore:
        """Return the checkpoint store of one stage; its events go to `log`, by default `record`."""
        # Only here is torch needed: a folder can be refused without it.
        from syncgan.training.checkpoint import CheckpointStore

        return CheckpointStore(
            self.path / "checkpoints" / stage_folder,
            identity=self._identity,
            every_seconds=config.training.checkpoint_seconds,
            keep=config.training.keep_checkpoints,
            stage=stage_folder,
            log=log or self.record,
        )

    def log(self, progress: Progress) -> None:
        """Append the losses of one interval to ``stats.jsonl``."""
        line = {
            "stage": progress.stage,
            "step": progress.step,
            "total": progress.total,
            **{f"loss_{name}": value for name, value in progress.losses.items()},
            "images_per_second": round(progress.images_per_second, 2),
            "seconds": round(progress.seconds, 2),
            "peak_memory_mb": round(progress.peak_memory_mb, 1),
        }
        self._append(line)

    def record(self, event: Mapping[str, Any]) -> None:
        """Append one event of a stage to ``stats.jsonl``: a line with the keys ``stage``, ``step`` and ``event``."""
        if event["event"] == "rolled_back":
            stage, step = event["stage"], event["step"]
            # Losses and scores after it are of a training that is undone; what happened stays.
            self._keep_lines(
                lambda line: (
                    line["stage"] != stage or line["step"] <= step or line.get("event", "validated") != "validated"
                )
            )
        self._append(event)

    def _append(self, line: Mapping[str, Any]) -> None:
        stage, step = line["stage"], line["step"]
        if stage not in self._logged:
            # A stage that was resumed first loses the lines that it will repeat.
            self._logged.add(stage)
            self._keep_lines(lambda old: old["stage"] != stage or old["step"] < step)
        with (self.path / _STATS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def stats(self) -> list[dict[str, Any]]:
        """Return the lines of ``stats.jsonl``; torn and damaged ones are left out."""
        return [line for line in self._lines() if _is_as_written(line)]

    def _lines(self) -> list[dict[str, Any]]:
        path = self.path / _STATS
        if not path.exists():
            return []
        lines = []
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(line)
                json.dumps(found, ensure_ascii=False).encode("utf-8")  # damage can make half a character
                lines.append(found)
        return [line for line in lines if _is_line(line)]

    def _keep_lines(self, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        kept = [line for line in self._lines() if wanted(line)]
        write_text(self.path / _STATS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock; the operating system frees it when its owner dies."""
        path = self.path / _LOCK
        owner = self.path / _OWNER
        try:
            lock = FileLock(path, timeout=0)
            lock.acquire()
        except Timeout:
            who = owner.read_text(encoding="utf-8", errors="replace") if owner.exists() else "another process"
            raise RunExistsError(f"{self.path}: {who} is writing here; wait for it, or choose another folder") from None
        except OSError as error:
            raise ArtefactError(f"{path}: cannot be written ({error.strerror}); choose a writable folder") from error
        try:
            with contextlib.suppress(OSError):  # only for the message to others; a full disk shows at the next write
                owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            with contextlib.suppress(OSError):
                owner.unlink(missing_ok=True)
            lock.release()

    def _require_same(self, saved: Mapping[str, Any], items: Mapping[str, str]) -> None:
        found = differences(saved["identity"], self._identity)
        shaping = [line for line in found if line.startswith(_SHAPING)]
        changed = _changed_items(saved["items"], items)
        if changed:
            # Where settings make other pixels of the same files, these say why every item differs.
            first = shaping or [changed]
            found = [*first, *(line for line in found if line not in shaping and not line.startswith("data: "))]
        if found:
            more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
            raise RunExistsError(
                f"{self.path}: holds another run ({'; '.join(found[:_TOLD])}{more}); resume with what it was started "
                f"with (its settings: {self.path / 'config.json'}), or choose another folder"
            )


def _read_run(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not (isinstance(content, dict) and isinstance(content.get("identity"), dict) and _are_digests(content)):
        raise ArtefactError(f"{path}: is damaged, expected the identity and items of a run; restore it from a copy")
    return content


def _are_digests(content: Mapping[str, Any]) -> bool:
    items = content.get("items")
    return isinstance(items, dict) and all(isinstance(digest, str) for digest in items.values())


def _is_of_a_start(name: str) -> bool:
    """Say whether a run that was killed before it was one may have left this."""
    return name in (_LOCK, _OWNER) or is_temporary(name)


def _is_line(line: Any) -> bool:
    return isinstance(line, dict) and isinstance(line.get("stage"), str) and _is_count(line.get("step"))


def _is_as_written(line: Mapping[str, Any]) -> bool:
    """Tell whether a line holds what whoever reads the log relies on."""
    if "event" not in line:
        return all(_is_number(value) for key, value in line.items() if key not in ("stage", "step", "total"))
    if line["event"] == "stopped":
        return isinstance(line.get("reason"), str) and _is_count(line.get("kept_step"))
    if line["event"] == "validated":
        scores = line.get("validation")
        return isinstance(scores, dict) and all(value is None or _is_number(value) for value in scores.values())
    return isinstance(line["event"], str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST)


def _changed_items(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which training items were added, removed or edited; nothing when none were."""
    found = {
        "added": [name for name in now if name not in saved],
        "removed": [name for name in saved if name not in now],
        "edited": [name for name in now if name in saved and now[name] != saved[name]],
    }
    parts = []
    for what, names in found.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts.append(f"{what} {', '.join(names[:_SHOWN])}{more}")
    return f"the training items changed: {', '.join(parts)}" if parts else ""


def differences(saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return "key: was A, is B" for every leaf that differs."""
    found = []
    for key in sorted({*saved, *now}):
        before, after = saved.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.extend(differences(before, after, f"{prefix}{key}."))
        elif before != after:
            found.append(f"{prefix}{key}: was {before!r}, is {after!r}")
    return found
