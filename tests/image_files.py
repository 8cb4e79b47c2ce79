"""Image files for tests, made by code: pixels, encoders, and hand-made PNG and TIFF files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

RGB = np.random.default_rng(0).integers(0, 256, (13, 17, 3)).astype(np.uint8)
GRAY = RGB[..., 0]
SMOOTH = np.stack([*np.meshgrid(np.arange(0, 256, 8), np.arange(0, 192, 8)), np.full((24, 32), 90)], -1).astype("u1")
RGB16 = np.random.default_rng(1).integers(0, 65536, (13, 17, 3)).astype(np.uint16)
RGB16[0, 0] = 65535


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored(folder: Path, content: bytes, name: str = "image.png") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def tiff(folder: Path, values: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(folder / "image.tif", values, **options)
    return folder / "image.tif"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_16_bit(values: np.ndarray, colour: int) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png(values.shape[1], values.shape[0], 16, colour, zlib.compress(rows))


def to_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(values / (2**bits - 1) * 255).astype(np.uint8)


def gray_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def tiff_header(width: int, height: int) -> bytes:
    """One strip of deflated 8-bit gray."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8), (278, 4, height)]
    tags += [(279, 4, 8)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + b"\0" * 8 + struct.pack("<H", len(tags)) + body + b"\0" * 4


DAMAGEABLE = {
    "jpeg": encoded(RGB, "JPEG"),
    "progressive": encoded(RGB, "JPEG", progressive=True),
    "png": encoded(RGB, "PNG"),
    "png16": png_16_bit(RGB16, 2),
    "bmp": encoded(RGB[:, :16], "BMP"),  # rows without padding, whose loss would change no pixel
    "tiff": encoded(RGB, "TIFF"),
    "lzw": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "deflate": encoded(RGB, "TIFF", compression="tiff_adobe_deflate"),
}
