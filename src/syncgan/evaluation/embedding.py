"""Pictures inside an HTML file: as they are where they are small, else compressed so that all fit together."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from syncgan.data.images import read_image
from syncgan.errors import ArtefactError, ImageReadError

__all__ = ["MOST_BYTES", "embedded", "read_picture"]

MOST_BYTES = 6_000_000
"""Of all pictures of a file together; base64 makes them a third longer."""

_QUALITIES = (92, 85, 75, 60)
_SMALLEST_SIDE_PX = 200
_LARGEST_SIDE_PX = 65_500  # of a JPEG file
_PNG = b"\x89PNG\r\n\x1a\n"


def embedded(pictures: Sequence[bytes], *, most_bytes: int = MOST_BYTES) -> list[str]:
    """Return PNG files as data URIs.

    Each picture has an equal share of `most_bytes`, to which is added what smaller ones before it left. One that is
    larger becomes a JPEG, of a lower quality and then of fewer pixels until it fits.
    """
    uris: dict[int, str] = {}
    left = most_bytes
    order = sorted(range(len(pictures)), key=lambda index: len(pictures[index]))
    for place, index in enumerate(order):
        share = left // (len(order) - place)
        kind, content = _fitted(pictures[index], share)
        left -= len(content)
        uris[index] = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return [uris[index] for index in range(len(pictures))]


def read_picture(path: Path) -> bytes:
    """Return a PNG file that was written into a run folder, after decoding it.

    Raises
    ------
    ArtefactError
        It cannot be read, or is damaged.
    """
    try:
        read_image(path)
        png = path.read_bytes()
        if not png.startswith(_PNG):
            raise ValueError("no PNG")
    except (OSError, ValueError, ImageReadError) as error:
        raise ArtefactError(f"{path}: expected a picture, got a damaged or missing file; delete it") from error
    return png


def _fitted(png: bytes, share: int) -> tuple[str, bytes]:
    if len(png) <= share or not png.startswith(_PNG):
        return "png", png
    content = png
    for content in _smaller(png):
        if len(content) <= share:
            break
    return "jpeg", content


def _smaller(png: bytes) -> Iterator[bytes]:
    """Yield a picture as smaller and smaller JPEG files."""
    # Not by Pillow, which takes a large picture of ours for an attack.
    decoded: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    picture = Image.fromarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    while max(picture.size) > _LARGEST_SIDE_PX:
        picture = _halved(picture)
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "jpeg", quality=quality, optimize=True)
            yield buffer.getvalue()
        if max(picture.size) < 2 * _SMALLEST_SIDE_PX:
            return
        picture = _halved(picture)


def _halved(picture: Image.Image) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS)
