"""What is known of each image whose mask is written, kept beside the masks so that work can go on or be shared.

Finished images are noted in whole files, ``parts/*.json``, a few seconds of work in each. Whoever works in the folder
later, or beside it, reads them: an interrupted extraction does not begin again, and shards need no other meeting place.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError, RunExistsError
from syncgan.segmentation.diagnosis import MaskDiagnosis
from syncgan.storage import read_json, sha256, write_json

__all__ = ["MaskRow", "RowStore"]

_PART_SECONDS = 5.0


@dataclass(frozen=True)
class MaskRow:
    """One image file: what its mask holds, or why it cannot be read (then without `diagnosis`).

    Attributes
    ----------
    file : path relative to the data folder.
    file_bytes : its size when it was read; a file of another size is read again.
    height, width : of image and mask, in pixels.
    notes : what the decoder decided.
    reason : why it cannot be read.
    """

    file: str
    class_name: str
    file_bytes: int
    height: int = 0
    width: int = 0
    diagnosis: MaskDiagnosis | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MaskRow:
        """Return the row that ``dataclasses.asdict`` made these values of."""
        found = values["diagnosis"]
        if found is not None:
            found = MaskDiagnosis(**found | {key: tuple(found[key]) for key in ("areas_px", "doubts")})
        return cls(**{**values, "diagnosis": found, "notes": tuple(values["notes"])})


class RowStore:
    """The rows in ``OUT/parts``, and the settings that all of them were made with.

    Parameters
    ----------
    out : the output folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._parts = out / "parts"
        self._settings = self._parts / "settings.json"

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Begin a new or empty folder, or join one that was begun with the same settings.

        Raises
        ------
        RunExistsError
            The folder holds something else, or masks made with other settings.
        ArtefactError
            It cannot be written.
        """
        if self._settings.exists():
            if self.settings() != json.loads(json.dumps(settings)):
                raise RunExistsError(f"{self.out}: holds masks made with other settings; choose another folder")
            return
        if self.out.exists() and any(self.out.iterdir()):
            raise RunExistsError(
                f"{self.out}: expected an empty folder, or one with masks to go on with; choose another folder"
            )
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(
                f"{self._parts}: cannot be made ({error.strerror or error}); choose a writable folder"
            ) from error
        write_json(self._settings, settings)

    def settings(self) -> dict[str, Any]:
        """Return the settings that the masks were made with.

        Raises
        ------
        ArtefactError
            No masks were begun in this folder.
        """
        if not self._settings.exists():
            raise ArtefactError(f"{self.out}: holds no masks; make them first with `syncgan masks DATA --out FOLDER`")
        settings: dict[str, Any] = read_json(self._settings)
        return settings

    def rows(self) -> list[MaskRow]:
        """Return everything that was finished; a file that has changed since has several rows, in any order."""
        parts = (path for path in sorted(self._parts.glob("*.json")) if path != self._settings)
        return [MaskRow.from_json(values) for path in parts for values in read_json(path)]

    def write(self, rows: Sequence[MaskRow]) -> None:
        """Write rows as one part."""
        if rows:
            values = [asdict(row) for row in rows]
            # Named by content: no two writers meet, and one part written twice is one file.
            name = sha256(json.dumps(values).encode("utf-8"))[:20]
            write_json(self._parts / f"{name}.json", values)

    def keep(self, rows: Iterator[MaskRow]) -> Iterator[MaskRow]:
        """Yield finished rows on, and write them every few seconds, at the end and when work is interrupted."""
        pending: list[MaskRow] = []
        last = time.monotonic()
        try:
            for row in rows:
                pending.append(row)
                if time.monotonic() - last > _PART_SECONDS:
                    self.write(pending)
                    pending, last = [], time.monotonic()
                yield row
        finally:
            self.write(pending)
