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
from syncgan.errors import ArtefactError

__all__ = ["MaskCache"]

Mask = NDArray[np.uint8]

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
        self.folder = Path(folder)
        self._recipe = recipe.encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtefactError(f"{folder}: cannot be made ({error.strerror or error}); choose another folder") from error

    def path_of(self, image: Mask) -> Path:
        """Return where the mask of an (H, W, 3) uint8 image is kept, whether it is there or not."""
        digest = hashlib.sha256(self._recipe)
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        return self.folder / f"{digest.hexdigest()}.png"

    def read(self, image: Mask) -> Mask | None:
        """Return the (H, W) uint8 mask of an image, or None if it is unknown or its entry is damaged."""
        try:
            entry = self.path_of(image).read_bytes()
        except OSError:
            return None
        png, digest = entry[:-_DIGEST_BYTES], entry[-_DIGEST_BYTES:]
        if hashlib.sha256(png).digest() != digest:
            return None
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        return None if mask is None or mask.shape != image.shape[:2] else np.asarray(mask, dtype=np.uint8)

    def write(self, image: Mask, mask: Mask) -> None:
        """Remember the (H, W) uint8 mask of an image."""
        encoded, buffer = cv2.imencode(".png", mask)
        if not encoded:
            raise ArtefactError(f"{self.path_of(image)}: a mask of shape {mask.shape} cannot be encoded as PNG")
        png = buffer.tobytes()
        storage.write_bytes(self.path_of(image), png + hashlib.sha256(png).digest())
