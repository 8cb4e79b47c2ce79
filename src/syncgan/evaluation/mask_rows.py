"""What is known of each image whose mask is written, kept beside the masks so that work can go on or be shared.

Finished images are noted in whole files, ``parts/*.json``, a few seconds of work in each. Whoever works in the folder
later, or beside it, reads them: an interrupted extraction does not begin again, and shards need no other meeting place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from syncgan.errors import ArtefactError, RunExistsError
from syncgan.segmentation.diagnosis import MaskDiagnosis
from syncgan.storage import is_temporary, make_folder, read_json, sha256, write_json, write_json_once

__all__ = ["MaskRow", "RowStore", "file_sha256"]

_PART_SECONDS = 5.0


@dataclass(frozen=True)
class MaskRow:
    """One image file: what its mask holds, or why it cannot be read (then without `diagnosis`).

    Attributes
    ----------
    file : path relative to the data folder.
    file_sha256 : of its bytes when it was read; a file with other bytes is read again.
    mask, mask_sha256 : path of its mask relative to the output folder, and of the bytes there; "" without a mask.
    height, width : of image and mask, in pixels.
    notes : what the decoder decided.
    reason : why it cannot be read.
    """

    file: str
    class_name: str
    file_sha256: str
    mask: str = ""
    mask_sha256: str = ""
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


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, or "" if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


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
        # Listed before the settings are looked for: another shard may be writing them at this moment.
        if not self.is_free and not self.begun:
            raise RunExistsError(
                f"{self.out}: expected an empty folder, or one with masks to go on with; choose another folder"
            )
        make_folder(self._parts)
        write_json_once(self._settings, settings)
        if self.settings() != json.loads(json.dumps(settings)):
            raise RunExistsError(
                f"{self.out}: holds masks made with other settings; give the same settings, or choose another folder"
            )

    @property
    def begun(self) -> bool:
        """Whether masks were begun in this folder."""
        return self._settings.exists()

    @property
    def is_free(self) -> bool:
        """Whether the folder holds no more than what `claim` leaves when it is killed half-way."""
        here = [entry for folder in (self.out, self._parts) if folder.is_dir() for entry in folder.iterdir()]
        return all(entry == self._parts or is_temporary(entry.name) for entry in here)

    def settings(self) -> dict[str, Any]:
        """Return the settings that the masks were made with.

        Raises
        ------
        ArtefactError
            No masks were begun in this folder.
        """
        if not self.begun:
            raise ArtefactError(f"{self.out}: holds no masks; make them first with `syncgan masks DATA --out FOLDER`")
        settings: dict[str, Any] = read_json(self._settings)
        return settings

    def rows(self) -> list[MaskRow]:
        """Return everything that was finished; a file that has changed since has several rows, in any order.

        Raises
        ------
        ArtefactError
            A part is damaged, or not as this version writes it.
        """
        parts = (path for path in sorted(self._parts.glob("*.json")) if path != self._settings)
        return [row for path in parts for row in _read_part(path)]

    def holds_mask(self, row: MaskRow) -> bool:
        """Say whether the mask of a row is there as it was written: another image's may have taken its name since."""
        return bool(row.mask) and file_sha256(self.out / row.mask) == row.mask_sha256

    def remove_masks(self, *, but: Collection[str]) -> None:
        """Remove the masks that were written here, save those named in `but`; other files are left alone."""
        stale = [row for row in self.rows() if row.mask not in but and self._is_below_masks(row.mask)]
        if not stale:
            return
        # Where names differ only in case or in how letters are composed, two names may be one file.
        kept = {_identity(self.out / name) for name in but}
        for row in stale:
            path = self.out / row.mask
            if self.holds_mask(row) and _identity(path) not in kept:
                _remove(path)

    def _is_below_masks(self, name: str) -> bool:
        return (self.out / name).resolve().is_relative_to(self.out.resolve() / "masks")

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


def _read_part(path: Path) -> list[MaskRow]:
    try:
        return [MaskRow.from_json(values) for values in read_json(path)]
    except (TypeError, KeyError) as error:
        raise ArtefactError(
            f"{path}: is not what this version of syncgan notes of masks ({error}); choose another folder"
        ) from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise ArtefactError(
            f"{path}: belongs to no image now and cannot be removed ({error.strerror}); remove it"
        ) from error
    with contextlib.suppress(OSError):  # its folder holds other masks
        path.parent.rmdir()
