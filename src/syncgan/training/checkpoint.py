"""Checkpoints of one training stage: each a verified folder; the last few are kept."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError
from syncgan.storage import needed_content, read_folder, write_folder
from syncgan.training.state import TrainingState

__all__ = ["CheckpointStore"]

_log = logging.getLogger(__name__)
_KIND = "checkpoint"


class CheckpointStore:
    """The checkpoints of one stage in one folder, ``step-00001200/`` and so on.

    Parameters
    ----------
    folder : made on the first save.
    identity : what the checkpoints must have been made with (configuration, data fingerprint, seed); a checkpoint of
        another identity is refused.
    every_seconds : how often `due` says yes.
    stage : written into each checkpoint; one of another stage in its place is passed over like a damaged one.
    keep : how many checkpoints stay. Each holds the best weights so far as well, so the best are never lost.
    log : called with each event of the stage.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: dict[str, Any],
        every_seconds: float,
        keep: int,
        stage: str = "",
        log: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._every_seconds = every_seconds
        self._keep = keep
        self._kind = f"{_KIND} of {stage}" if stage else _KIND
        self._log = log
        self._saved_at = time.monotonic()

    def record(self, event: Mapping[str, Any]) -> None:
        """Add an event to the log of the run."""
        if self._log is not None:
            self._log(event)

    def last_step(self) -> int:
        """Return the step of the newest checkpoint, 0 without one; it is not checked for damage."""
        existing = self._existing()
        return int(existing[-1].name.removeprefix("step-")) if existing else 0

    def due(self) -> bool:
        """Tell whether it is time to save."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, state: TrainingState) -> None:
        """Write the state, then delete all but the last few."""
        folder = self._folder / _name(state.step)
        manifest = {"identity": self._identity, "state": state.numbers()}
        write_folder(folder, kind=self._kind, tensors=state.tensors(), manifest=manifest)
        self._prune(state.step)
        self._saved_at = time.monotonic()

    def restore(self, state: TrainingState) -> bool:
        """Put the newest undamaged checkpoint into `state`; return False when there is none.

        Raises
        ------
        ArtefactError
            A checkpoint was made with other settings or data, or does not hold what this version needs.
        """
        existing = self._existing()
        for folder in reversed(existing):
            try:
                tensors, manifest = read_folder(folder, kind=self._kind)
                with needed_content(folder, self._kind):
                    _require_same_step(folder, manifest["state"]["step"])
                    identity = {**manifest["identity"]}
            except ArtefactError as error:
                _log.warning("%s; trying the checkpoint before it", error)
                continue
            self._require_same_identity(folder, identity)
            with needed_content(folder, self._kind):
                state.load(tensors, manifest["state"])
            _log.info("resumed from %s", folder.name)
            self._prune(state.step)  # who was killed between the two halves of `save` has one too many
            return True
        if existing:
            _log.warning("%s: no checkpoint here can be used; this stage begins again", self._folder)
        return False

    def _prune(self, step: int) -> None:
        """Delete all but the last few until `step`; later ones were passed over as damaged and count for nothing."""
        until = [folder for folder in self._existing() if folder.name <= _name(step)]
        for old in until[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _existing(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("step-*") if re.fullmatch(r"step-\d{8}", path.name))

    def _require_same_identity(self, folder: Path, saved: dict[str, Any]) -> None:
        changed = sorted(key for key in {*saved, *self._identity} if saved.get(key) != self._identity.get(key))
        if changed:
            raise ArtefactError(
                f"{folder}: was made with another {' and another '.join(changed)}; "
                "resume with what the run was started with, or choose another output folder"
            )


def _require_same_step(folder: Path, step: int) -> None:
    if folder.name != _name(step):
        raise ArtefactError(f"{folder}: is the checkpoint of step {step}; delete it, or give it its own name back")


def _name(step: int) -> str:
    return f"step-{step:08d}"
