"""The folder of one run: ``config.json``, ``run.json``, ``stats.jsonl``, ``checkpoints/``, and who is writing in it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from syncgan.config import SynCGANConfig
from syncgan.errors import ArtefactError, RunExistsError
from syncgan.storage import read_json, sweep_temporaries, write_json, write_text

if TYPE_CHECKING:
    from syncgan.training.checkpoint import CheckpointStore
    from syncgan.training.loop import Progress

__all__ = ["RunFolder"]

_LOCK, _OWNER = ".lock", ".owner"
_RUN = "run.json"
_STATS = "stats.jsonl"


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
        if self.path.is_dir() and any(entry.name not in (_LOCK, _OWNER) for entry in self.path.iterdir()):
            raise RunExistsError(f"{self.path}: is not empty and holds no run of syncgan; choose another folder")
        if self.path.exists() and not self.path.is_dir():
            raise RunExistsError(f"{self.path}: is a file, expected a folder; choose another name")

    @contextlib.contextmanager
    def claim(
        self, identity: Mapping[str, Any], config: SynCGANConfig, *, resume: bool, record: Mapping[str, Any]
    ) -> Iterator[None]:
        """Own the folder inside the block.

        Parameters
        ----------
        identity : what makes two runs the same run (configuration, seed, data); kept in ``run.json``.
        config : written as ``config.json``.
        resume : accept a folder that holds the same run.
        record : what else ``run.json`` keeps (versions, threads); a run may go on under others.

        Raises
        ------
        RunExistsError
            Another process is writing here, or the folder holds a run of another identity (the difference is shown).
        """
        self._identity = dict(identity)
        if not (resume and self.holds_run):
            self.require_free()  # before the lock, so that a refused folder stays as it is
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(f"{self.path}: cannot be made ({error.strerror}); choose a writable folder") from error
        with self._locked():
            if resume and self.holds_run:
                self._require_same(read_json(self.path / _RUN).get("identity", {}))
            else:
                self.require_free()
            sweep_temporaries(self.path)
            write_json(self.path / "config.json", config.model_dump(mode="json"))
            write_json(self.path / _RUN, {"identity": self._identity, **record})
            yield

    def checkpoints(self, stage_folder: str, config: SynCGANConfig) -> CheckpointStore:
        """Return the checkpoint store of one stage."""
        # Only here is torch needed: a folder can be refused without it.
        from syncgan.training.checkpoint import CheckpointStore

        return CheckpointStore(
            self.path / "checkpoints" / stage_folder,
            identity=self._identity,
            every_seconds=config.training.checkpoint_seconds,
            keep=config.training.keep_checkpoints,
        )

    def log(self, progress: Progress) -> None:
        """Append one line to ``stats.jsonl``; a stage that was resumed first loses the lines that it will repeat."""
        if progress.stage not in self._logged:
            self._logged.add(progress.stage)
            self._drop_lines(progress.stage, progress.step)
        line = {
            "stage": progress.stage,
            "step": progress.step,
            "total": progress.total,
            **{f"loss_{name}": value for name, value in progress.losses.items()},
            "images_per_second": round(progress.images_per_second, 2),
        }
        with (self.path / _STATS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def stats(self) -> list[dict[str, Any]]:
        """Return the lines of ``stats.jsonl``; a torn last line is left out."""
        path = self.path / _STATS
        if not path.exists():
            return []
        lines = []
        for line in path.read_text(encoding="utf-8").split("\n"):
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def _drop_lines(self, stage: str, step: int) -> None:
        kept = [line for line in self.stats() if line["stage"] != stage or line["step"] < step]
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
            who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            raise RunExistsError(f"{self.path}: {who} is writing here; wait for it, or choose another folder") from None
        except OSError as error:
            raise ArtefactError(f"{path}: cannot be written ({error.strerror}); choose a writable folder") from error
        try:
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def _require_same(self, saved: Mapping[str, Any]) -> None:
        differences = _differences(saved, self._identity)
        if differences:
            raise RunExistsError(
                f"{self.path}: holds another run ({'; '.join(differences[:5])}); "
                "resume with what it was started with, or choose another folder"
            )


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return "key: was A, is B" for every leaf that differs."""
    found = []
    for key in sorted({*saved, *now}):
        before, after = saved.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found.extend(_differences(before, after, f"{prefix}{key}."))
        elif before != after:
            found.append(f"{prefix}{key}: was {before!r}, is {after!r}")
    return found
