"""Where the synthetic items of a wrapped dataset lie: in memory, or in memory-mapped files.

Each slot holds one sample of a class, named by its number among the samples of that class and seed. `SampleStore.bring`
renders whatever a slot should hold and does not: that serves the first filling, an interrupted one, and a refresh.

::

    DIR/store.json    what lies here: the request and the names of the scores
    DIR/images.npy    (n, 3, S, S) uint8
    DIR/masks.npy     (n, S, S) uint8
    DIR/numbers.npy   (n,) int64, the sample in each slot; -1 while there is none
    DIR/scores.npy    (n, k) float64

A slot's number is taken away before its pixels change and given back after: a killed process leaves no slot with other
pixels than its number says.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from syncgan import storage
from syncgan.arrays import Pixels
from syncgan.errors import ArtefactError, ConfigError, RunExistsError, SyncganError

__all__ = ["Render", "SampleStore"]

Render: TypeAlias = Callable[[int, list[int]], tuple[Pixels, Pixels, Mapping[str, NDArray[Any]]]]
"""``(label, numbers of samples) -> images (n, 3, S, S) uint8, masks (n, S, S) uint8, scores name -> (n,)``."""

_CHUNK = 64
_STORE = "store.json"
_PARTS = ("images", "masks", "numbers", "scores")


class SampleStore:
    """Samples in slots.

    Parameters
    ----------
    labels : label of each slot.
    render : makes samples; asked in chunks, class by class in the order of the slots.
    folder : of the memory-mapped files, made here; None keeps all in memory.
    request : JSON-compatible description of what is asked for; a folder that holds another request is refused.
    exclusive : no other store may use the folder while this one lives; for samples that change from epoch to epoch.

    Attributes
    ----------
    images, masks : (n, 3, S, S) and (n, S, S) uint8; read-only in a folder. Without slots (0, 3, 0, 0) and (0, 0, 0).

    Raises
    ------
    RunExistsError
        The folder holds something else, or another store changes it.
    ArtefactError
        The folder cannot be written, or the disk is full.
    """

    _owner: FileLock | None = None

    def __init__(
        self,
        labels: Sequence[int] | NDArray[np.int64],
        render: Render,
        *,
        folder: Path | str | None = None,
        request: Mapping[str, Any] | None = None,
        exclusive: bool = False,
    ) -> None:
        self.labels: NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
        self.folder = None if folder is None else Path(folder).absolute()
        self._render: Render | None = render
        self._request = {"labels": _run_lengths(self.labels), **(request or {})}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._score_names: list[str] = []
        if self.folder is not None:
            self._claim(self.folder)
            if exclusive:
                self._own(self.folder)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Pixels:
        """(n, 3, S, S) uint8."""
        images: Pixels = self._array("images", np.zeros((0, 3, 0, 0), np.uint8))
        return images

    @property
    def masks(self) -> Pixels:
        """(n, S, S) uint8."""
        masks: Pixels = self._array("masks", np.zeros((0, 0, 0), np.uint8))
        return masks

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(n,) int64, the sample in each slot."""
        numbers: NDArray[np.int64] = self._array("numbers", np.full(len(self), -1))
        return numbers

    def scores(self, slot: int) -> dict[str, float]:
        """Return the scores of the sample in a slot."""
        if not self._score_names:
            return {}
        values = self._array("scores", np.zeros((len(self), len(self._score_names))))[slot]
        return dict(zip(self._score_names, map(float, values), strict=True))

    def bring(self, numbers: NDArray[np.int64], progress: Callable[[int, int], None] | None = None) -> int:
        """Make every slot hold the sample with its number; return how many had to be rendered.

        Parameters
        ----------
        numbers : (n,) number of the sample that each slot is to hold.
        progress : called with (samples rendered, samples to render).

        Raises
        ------
        ConfigError
            Something must be rendered in a copy of the store, which has no model.
        """
        with self._alone():
            if self.folder is not None:
                # Another process may have made the files since this store was opened.
                self._score_names = _names_in(self.folder, self._record())
            wanted = np.flatnonzero(self.numbers != numbers)
            if len(wanted) and self._render is None:
                raise ConfigError(
                    "synthetic items can be refreshed only by the dataset that `wrap` returned, in the main process, "
                    "not by a copy (pickled, or deep-copied); call set_epoch there, before the loader is iterated"
                )
            done = 0
            for slots in _chunks(wanted, self.labels):
                self._fill(slots, numbers[slots])
                done += len(slots)
                if progress is not None:
                    progress(done, len(wanted))
        return len(wanted)

    def __getstate__(self) -> dict[str, Any]:
        # The model stays behind; memory-mapped arrays are opened anew, which shares their pages.
        arrays = {} if self.folder is not None else self._arrays
        return {**vars(self), "_render": None, "_arrays": arrays, "_owner": None}

    def _fill(self, slots: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        assert self._render is not None  # noqa: S101 - checked by the caller
        images, masks, scores = self._render(int(self.labels[slots[0]]), numbers.tolist())
        if not self._has_room():
            self._make_room(images.shape[1:], list(scores))
        self._write("numbers", slots, np.full(len(slots), -1))
        self._write("images", slots, images)
        self._write("masks", slots, masks)
        if self._score_names:
            if not set(self._score_names) <= set(scores):
                raise ArtefactError(
                    f"{self.folder}: holds the scores {', '.join(self._score_names)}, the model gives "
                    f"{', '.join(scores) or 'none'}; delete the folder and wrap again"
                )
            columns = [np.asarray(scores[name], dtype=np.float64) for name in self._score_names]
            self._write("scores", slots, np.stack(columns, axis=1))
        self._write("numbers", slots, numbers)

    # --- memory ------------------------------------------------------------------------------------------------------

    def _array(self, part: str, default: NDArray[Any]) -> Any:
        if part not in self._arrays and self.folder is not None and self._has_room():
            self._arrays[part] = _opened(self.folder / f"{part}.npy", len(self))
        return self._arrays.get(part, default)

    def _has_room(self) -> bool:
        return bool(self._arrays) or (self.folder is not None and "scores" in self._record())

    def _make_room(self, shape: Sequence[int], score_names: list[str]) -> None:
        self._score_names = score_names
        count = len(self)
        arrays: dict[str, tuple[tuple[int, ...], Any]] = {
            "images": ((count, *shape), np.uint8),
            "masks": ((count, *shape[1:]), np.uint8),
            "numbers": ((count,), np.int64),
        }
        if score_names:
            arrays["scores"] = ((count, len(score_names)), np.float64)
        if self.folder is None:
            self._arrays = {part: np.zeros(size, dtype) for part, (size, dtype) in arrays.items()}
            self._arrays["numbers"][:] = -1
            return
        with _said(self.folder):
            for part, (size, dtype) in arrays.items():
                _make_file(self.folder / f"{part}.npy", size, np.dtype(dtype))
        self._write("numbers", np.arange(count), np.full(count, -1))
        storage.write_json(self.folder / _STORE, {**self._description(), "scores": score_names})

    def _write(self, part: str, slots: NDArray[np.int64], values: NDArray[Any]) -> None:
        if self.folder is None:
            self._arrays[part][slots] = values
            return
        # Written, not mapped: a full disk is then an error with a name, and the pages do not stay in this process.
        target = _opened(self.folder / f"{part}.npy", len(self))
        row = int(np.prod(target.shape[1:], dtype=np.int64)) * target.itemsize
        with _said(self.folder), (self.folder / f"{part}.npy").open("r+b") as stream:
            for slot, value in zip(slots.tolist(), np.asarray(values, dtype=target.dtype), strict=True):
                stream.seek(target.offset + slot * row)
                stream.write(np.ascontiguousarray(value).tobytes())

    # --- the folder --------------------------------------------------------------------------------------------------

    def _claim(self, folder: Path) -> None:
        """Refuse a folder that holds something else, and leave ``store.json`` in ours."""
        if folder.exists() and not folder.is_dir():
            raise RunExistsError(f"{folder}: is a file, expected a folder for synthetic items; choose another name")
        with _said(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _is_store(folder)  # nothing is left in a folder that is refused, not even a lock
        with self._alone():
            if not _is_store(folder):
                storage.sweep_temporaries(folder)
                storage.write_json(folder / _STORE, self._description())
                return
            found = self._record()
            changed = [key for key, value in self._description().items() if found.get(key) != value]
            if changed:
                raise RunExistsError(
                    f"{folder}: holds other synthetic items (different {', '.join(changed)}); choose another folder, "
                    "or delete this one"
                )
            storage.sweep_temporaries(folder)
            self._score_names = _names_in(folder, found)
            needed = () if "scores" not in found else _PARTS if self._score_names else _PARTS[:3]
            missing = [part for part in needed if not (folder / f"{part}.npy").is_file()]
            if missing:
                raise ArtefactError(f"{folder / missing[0]}.npy: is missing; delete the folder and wrap again")

    def _description(self) -> dict[str, Any]:
        return {"format": "syncgan-store", "format_version": 1, **self._request}

    def _record(self) -> dict[str, Any]:
        assert self.folder is not None  # noqa: S101 - only called where there is one
        found = storage.read_json(self.folder / _STORE)
        return found if isinstance(found, dict) else {}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process changes the folder: the ranks of a distributed training share it."""
        if self.folder is None:
            yield
            return
        if (self.folder / _STORE).is_file() and not os.access(self.folder, os.W_OK):
            yield  # only to be read; what would have to be written says so itself
            return
        with _said(self.folder), FileLock(self.folder / _LOCK):
            yield

    def _own(self, folder: Path) -> None:
        self._owner = FileLock(folder / _OWNER)
        try:
            self._owner.acquire(timeout=0)
        except Timeout:
            raise RunExistsError(
                f"{folder}: another dataset refreshes the synthetic items in it; choose another folder for this "
                "one, or delete that dataset first (`del`) if it is no longer wanted"
            ) from None


_LOCK, _OWNER = ".lock", ".owner"


def _chunks(slots: NDArray[np.int64], labels: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield slots in chunks of one label, in the order of the slots."""
    borders = np.flatnonzero(np.diff(labels[slots])) + 1
    for part in np.split(slots, borders):
        for first in range(0, len(part), _CHUNK):
            yield part[first : first + _CHUNK]


def _run_lengths(labels: NDArray[np.int64]) -> list[list[int]]:
    """Return ``[label, count]`` of each run of equal labels."""
    starts = np.flatnonzero(np.diff(labels, prepend=labels[:1] - 1))
    counts = np.diff(np.append(starts, len(labels)))
    return [[int(label), int(count)] for label, count in zip(labels[starts], counts, strict=True)]


def _opened(path: Path, count: int) -> np.memmap[Any, Any]:
    try:
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads its header with Python's own parser, which raises nearly every type
        raise ArtefactError(f"{path}: cannot be read ({error}); delete the folder and wrap again") from error
    ranks = {"images": 4, "masks": 3, "numbers": 1, "scores": 2}
    kinds = {"numbers": "int64", "scores": "float64"}
    if array.ndim != ranks[path.stem] or len(array) != count or array.dtype != kinds.get(path.stem, "uint8"):
        raise ArtefactError(
            f"{path}: is damaged, expected {count} items, got {array.shape} {array.dtype}; "
            "delete the folder and wrap again"
        )
    return array


def _is_store(folder: Path) -> bool:
    """Tell a store from an empty folder; all else is refused."""
    others = [e.name for e in folder.iterdir() if e.name not in (_LOCK, _OWNER) and not storage.is_temporary(e.name)]
    if others and _STORE not in others:
        raise RunExistsError(
            f"{folder}: expected a new or empty folder for synthetic items, it holds {min(others)!r}; choose another"
        )
    return bool(others)


def _names_in(folder: Path, record: Mapping[str, Any]) -> list[str]:
    names = record.get("scores", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArtefactError(f"{folder / _STORE}: is damaged; delete the folder and wrap again")
    return names


def _make_file(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(dtype)}
        )
        stream.truncate(stream.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)


@contextlib.contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except SyncganError:  # one of them is an OSError too
        raise
    except OSError as error:
        raise ArtefactError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); free space, or choose another folder"
        ) from error
