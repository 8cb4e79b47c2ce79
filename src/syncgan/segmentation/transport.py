"""Images and masks on their way between processes, in few and small pieces.

On one machine the images of a group are laid into a *page*, a file in shared memory that is used again and again, so
that an image costs one copy. To other machines they travel as one array. Masks come back as bits.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from syncgan.arrays import Mask
from syncgan.segmentation.recipe import Masks

__all__ = ["PackedImages", "PackedMasks", "Pages"]


_MEMORY = Path("/dev/shm")  # noqa: S108
_MIN_FREE_BYTES = 512 * 1024**2
_FREE, _TAKEN = 0, 1  # the first byte of a page


class PackedImages(NamedTuple):
    """Numbered (H, W, 3) uint8 images as one array.

    Attributes
    ----------
    indices, shapes : number and shape of each image.
    pixels : (K,) uint8, all images one after the other; or the path of the page that they lie in.
    """

    indices: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    pixels: Mask | str

    @classmethod
    def of(cls, items: Sequence[tuple[int, Mask]]) -> PackedImages:
        """Pack (index, image) pairs into one array."""
        indices, images = zip(*items, strict=True)
        return cls(indices, tuple(image.shape for image in images), np.concatenate([image.ravel() for image in images]))

    def items(self) -> Iterator[tuple[int, Mask]]:
        """Yield (index, image) pairs; the images are views, which must not be used after the last."""
        page = np.memmap(self.pixels, np.uint8, "r+") if isinstance(self.pixels, str) else None
        pixels = self.pixels if page is None else page[1:]
        start = 0
        for index, shape in zip(self.indices, self.shapes, strict=True):
            end = start + int(np.prod(shape))
            yield index, np.asarray(pixels[start:end]).reshape(shape)
            start = end
        if page is not None:
            page[0] = _FREE


class Pages:
    """Pages in shared memory for processes of this machine; a page is free again when its reader has marked it so.

    Use it as a context: the pages are gone afterwards.
    """

    def __init__(self) -> None:
        in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MIN_FREE_BYTES
        folder = Path(tempfile.gettempdir()) if not in_memory else _MEMORY
        _remove_orphans(folder)
        prefix = f"{_prefix()}{os.getpid()}-"
        self._folder = tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True)
        self._pages: list[np.memmap[tuple[int], np.dtype[np.uint8]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def pack(self, items: Sequence[tuple[int, Mask]]) -> PackedImages:
        """Lay (index, image) pairs into a page; into an array where no page can be had."""
        indices, images = zip(*items, strict=True)
        size = sum(image.size for image in images)
        try:
            page = next((page for page in self._pages if page[0] == _FREE and page.size > size), None)
            page = self._added(size) if page is None else page
        except OSError:  # the file system is full
            return PackedImages.of(items)
        page[0], start = _TAKEN, 1
        for image in images:
            page[start : start + image.size] = image.ravel()
            start += image.size
        return PackedImages(indices, tuple(image.shape for image in images), str(page.filename))

    def _added(self, size: int) -> np.memmap[tuple[int], np.dtype[np.uint8]]:
        path = Path(self._folder.name) / str(len(self._pages))
        # Written, not only given a length: writing later where there is no space would end the process.
        path.write_bytes(bytes(size + 1))
        page: np.memmap[tuple[int], np.dtype[np.uint8]] = np.memmap(path, np.uint8, "r+", shape=(size + 1,))
        self._pages.append(page)
        return page


def _prefix() -> str:
    """Return how the names of our folders begin, before the number of the process that made them."""
    try:  # containers may share memory, but number their processes each for itself
        numbering = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbering = 0
    return f"syncgan-pages-{numbering}-"


def _remove_orphans(folder: Path) -> None:
    """Remove the pages of processes that ended without doing so: killed ones."""
    prefix = _prefix()
    for pages in folder.glob(f"{prefix}*-*"):
        owner = pages.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            shutil.rmtree(pages, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere the signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


class PackedMasks(NamedTuple):
    """A map as bit planes, and its instances in as few bytes as hold them.

    Attributes
    ----------
    shape : (H, W) of the map.
    planes : packed bits, lowest first, without the planes that are empty.
    instances : (H, W) labels, or None.
    """

    shape: tuple[int, ...]
    planes: tuple[Mask, ...]
    instances: NDArray[np.integer] | None

    @classmethod
    def of(cls, masks: Masks) -> PackedMasks:
        """Pack a map and its instances."""
        mask, instances = masks
        bits = int(mask.max(initial=0)).bit_length()
        if instances is not None:
            instances = instances.astype(np.min_scalar_type(int(instances.max(initial=0))))
        return cls(mask.shape, tuple(np.packbits(mask & (1 << bit)) for bit in range(bits)), instances)

    def masks(self) -> Masks:
        """Return what was packed."""
        count = int(np.prod(self.shape))
        planes = [np.unpackbits(plane, count=count) for plane in self.planes]
        mask = planes[0] if planes else np.zeros(count, np.uint8)
        for bit, plane in enumerate(planes[1:], start=1):
            mask |= plane << bit
        labels = None if self.instances is None else self.instances.astype(np.int32)
        return Masks(mask.reshape(self.shape), labels)
