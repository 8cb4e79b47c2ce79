"""Masks remembered by content: the key is a hash of the pixels and of everything that decides the mask.

An entry is a PNG (so that it can be looked at) followed by the sha256 of its bytes. PNG readers ignore what follows
the image; we read an entry only if the digest is right, and a damaged one is simply computed again. No pickle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from syncgan import storage
from syncgan.arrays import Labels, Mask
from syncgan.errors import ArtefactError

__all__ = ["MaskCache"]


_MAX_LABEL = np.iinfo(np.uint16).max  # of a 16-bit PNG
_DIGEST_BYTES = 32


class MaskCache:
    """A folder of masks.

    Parameters
    ----------
    folder : made if it does not exist.
    recipe : everything besides the pixels that decides a mask: segmenter, its version, parameters, levels.

    Raises
    ------
    ArtefactError
        The folder cannot be made.
    """

    def __init__(self, folder: Path | str, *, recipe: str) -> None:
        # Processes that are kept for reuse may have been started in another folder.
        self.folder = Path(folder).absolute()
        self._recipe = recipe.encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(
                f"{folder}: cannot be made ({error.strerror or error}); choose another folder"
            ) from error

    def key_of(self, image: Mask) -> str:
        """Return the name under which the mask of an (H, W, 3) uint8 image is kept."""
        digest = hashlib.sha256(self._recipe)
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def path_of(self, key: str, kind: str = "mask") -> Path:
        """Return the file of an entry of kind "mask" or "instances", whether it is there or not."""
        return self.folder / (f"{key}.png" if kind == "mask" else f"{key}-{kind}.png")

    def read(self, key: str, image_shape: tuple[int, ...]) -> Mask | None:
        """Return an (H, W) uint8 mask, or None if it is unknown or its entry is damaged."""
        mask = self._read(self.path_of(key), image_shape)
        return None if mask is None else mask.astype(np.uint8)

    def read_instances(self, key: str, image_shape: tuple[int, ...]) -> Labels | None:
        """Return (H, W) int32 labels, or None if they are unknown or their entry is damaged."""
        labels = self._read(self.path_of(key, "instances"), image_shape)
        return None if labels is None else labels.astype(np.int32)

    def write(self, key: str, mask: Mask) -> None:
        """Remember an (H, W) uint8 mask."""
        self._write(self.path_of(key), mask)

    def write_instances(self, key: str, labels: Labels) -> None:
        """Remember (H, W) int32 labels; more of them than 16 bits can tell apart are not remembered."""
        if labels.max(initial=0) <= _MAX_LABEL:
            self._write(self.path_of(key, "instances"), labels.astype(np.uint16))

    @staticmethod
    def _read(path: Path, image_shape: tuple[int, ...]) -> NDArray[np.generic] | None:
        try:
            entry = path.read_bytes()
        except OSError:
            return None
        png, digest = entry[:-_DIGEST_BYTES], entry[-_DIGEST_BYTES:]
        if not png or hashlib.sha256(png).digest() != digest:
            return None
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        return None if pixels is None or pixels.shape != image_shape[:2] else np.asarray(pixels)

    @staticmethod
    def _write(path: Path, pixels: NDArray[np.integer]) -> None:
        encoded, buffer = cv2.imencode(".png", pixels)
        if not encoded:
            raise ArtefactError(f"{path}: a mask of shape {pixels.shape} cannot be encoded as PNG")
        png = buffer.tobytes()
        storage.write_bytes(path, png + hashlib.sha256(png).digest())
