"""Every kind of image file that a data folder may hold, made by code, with what must come of it.

A kind is read with the right pixels, is left out with one reason when it is decoded, or is ignored with a note when the
folder is scanned. Nothing else may happen to it.
"""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from image_files import GRAY, RGB, RGB16, chunk, encoded, gray_rgb, png_16_bit, raw_png, tiff_header, to_8_bits

__all__ = ["Kind", "bombs", "kinds"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    name : what it is.
    file : its name in a class folder.
    make : writes it to a path.
    pixels : what must be read, within `tolerance`; None: it must not be read.
    reason : part of the reason or note that must be given, else of the note of what was decided; empty for none.
    ignored : it is noted when the folder is scanned, and never opened.
    """

    name: str
    file: str
    make: Callable[[Path], Any]
    pixels: Pixels | None = None
    tolerance: int = 0
    reason: str = ""
    ignored: bool = False


def kinds() -> list[Kind]:
    """Return all of them, under different file names."""
    return [*_turned(), *_colours(), *_deep(), *_pages(), *_damaged(), *_special(), *_names(), *_left_behind()]


# --- what is read ----------------------------------------------------------------------------------------------------

_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


def _bytes(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


def _deep_tiff(values: NDArray[Any], **options: Any) -> Callable[[Path], Any]:
    return lambda path: tifffile.imwrite(path, values, **options)


def _turned() -> Iterator[Kind]:
    blocks = np.kron(np.array([[20, 220], [120, 70]], np.uint8), np.ones((16, 24), np.uint8))
    for orientation, turn in _TURNS.items():
        exif = Image.Exif()
        exif[274] = orientation
        expected = turn(gray_rgb(blocks))
        for extension, form in ((".jpg", "JPEG"), (".png", "PNG"), (".tif", "TIFF")):
            content = encoded(blocks, form, exif=exif)
            name = f"{form} with EXIF orientation {orientation}"
            yield Kind(name, f"turn{orientation}{extension}", _bytes(content), expected, 4 if form == "JPEG" else 0)


def _colours() -> Iterator[Kind]:
    alpha = np.zeros(GRAY.shape, np.uint8)
    alpha[:6] = 255
    on_white = np.where(alpha[..., None] == 255, RGB, 255).astype(np.uint8)
    gray_on_white = gray_rgb(np.where(alpha == 255, GRAY, 255).astype(np.uint8))
    for extension, form in ((".png", "PNG"), (".tif", "TIFF")):
        yield Kind(f"{form} with alpha", f"rgba{extension}", _bytes(encoded(np.dstack([RGB, alpha]), form)), on_white)
        gray_alpha = Image.fromarray(np.dstack([GRAY, alpha]))
        yield Kind(f"gray {form} with alpha", f"la{extension}", _bytes(encoded(gray_alpha, form)), gray_on_white)
        bits = Image.fromarray(GRAY > 100)
        white = gray_rgb((GRAY > 100) * np.uint8(255))
        yield Kind(f"1-bit {form}", f"bits{extension}", _bytes(encoded(bits, form)), white)
    magenta = np.zeros((16, 16, 4), np.uint8)
    magenta[..., 1] = 255
    cmyk, expected = Image.fromarray(magenta, "CMYK"), np.full((16, 16, 3), (255, 0, 255), np.uint8)
    yield Kind("CMYK JPEG", "cmyk.jpg", _bytes(encoded(cmyk, "JPEG")), expected, 3)
    yield Kind("CMYK TIFF", "cmyk.tif", _bytes(encoded(cmyk, "TIFF")), expected, 3)
    palette = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    palette.putpalette([10, 20, 30, 200, 0, 0])
    seen = np.array([[[10, 20, 30], [255] * 3], [[255] * 3, [10, 20, 30]]], np.uint8)
    yield Kind("palette with transparency", "palette.png", _bytes(encoded(palette, "PNG", transparency=1)), seen)
    colours = np.array([[[200, 30, 60], [128, 128, 128], [90, 150, 90]]], np.uint8)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(colours), *profiles, outputMode="LAB")
    yield Kind("Lab TIFF", "lab.tif", _bytes(encoded(lab, "TIFF")), colours, 3)
    yield Kind("BMP", "plain.bmp", _bytes(encoded(RGB, "BMP")), RGB)
    yield Kind("white is zero", "miniswhite.tif", _deep_tiff(GRAY, photometric="miniswhite"), gray_rgb(255 - GRAY))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 100_000, zip=True)
    yield Kind("PNG with a long comment", "comment.png", _bytes(encoded(RGB, "PNG", pnginfo=text)), RGB)
    for shape in ((1, 1), (1, 5000), (5000, 1)):
        values = np.full((*shape, 3), 77, np.uint8)
        yield Kind(f"{shape[0]} x {shape[1]} pixels", f"shape{shape}.png", _bytes(encoded(values, "PNG")), values)


def _deep() -> Iterator[Kind]:
    gray, eight = RGB16[..., 0], to_8_bits(RGB16, 16)
    yield Kind("16-bit gray PNG", "gray16.png", _bytes(png_16_bit(gray[..., None], 0)), gray_rgb(to_8_bits(gray, 16)))
    yield Kind("16-bit RGB PNG", "rgb16.png", _bytes(png_16_bit(RGB16, 2)), eight)
    yield Kind("16-bit gray TIFF", "gray16.tif", _deep_tiff(gray), gray_rgb(to_8_bits(gray, 16)))
    yield Kind("16-bit RGB TIFF", "rgb16.tif", _deep_tiff(RGB16, photometric="rgb"), eight)
    twelve = RGB16 >> 4
    kind = partial(Kind, pixels=to_8_bits(twelve, 12), reason="read as 12-bit")
    yield kind("12 bits in a 16-bit TIFF", "rgb12.tif", _deep_tiff(twelve, photometric="rgb"))
    yield kind("12 bits in a 16-bit PNG", "rgb12.png", _bytes(png_16_bit(twelve, 2)))
    yield Kind("float TIFF", "float.tif", _deep_tiff((GRAY / 255).astype("f4")), gray_rgb(GRAY))
    large = _deep_tiff(np.full((4, 4), 2, "f4"))
    yield Kind("float TIFF beyond 1", "floats.tif", large, reason="outside [0, 1]")
    nan = _deep_tiff(np.full((4, 4), np.nan, "f4"))
    yield Kind("float TIFF of NaN", "nan.tif", nan, reason="outside [0, 1]")
    five = _deep_tiff(np.zeros((20, 20, 5), "u1"), photometric="minisblack", planarconfig="contig")
    yield Kind("TIFF of 5 channels", "five.tif", five, reason="has 5 channels")
    two = _deep_tiff(np.zeros((20, 20, 2), "u1"), photometric="minisblack", planarconfig="contig")
    yield Kind("TIFF of 2 channels", "two.tif", two, reason="has 2 channels")
    yield Kind("signed TIFF", "int16.tif", _deep_tiff(np.zeros((4, 4), "i2")), reason="has int16 samples")
    yield Kind("complex TIFF", "complex.tif", _deep_tiff(np.zeros((4, 4), "c8")), reason="has complex64 samples")


def _pages() -> Iterator[Kind]:
    first, second = Image.fromarray(GRAY), Image.fromarray(255 - GRAY)
    for name, form, extension in (
        ("TIFF of several pages", "TIFF", ".tif"),
        ("animated GIF", "GIF", ".gif"),
        ("animated PNG", "PNG", ".png"),
    ):
        content = encoded(first, form, save_all=True, append_images=[second])
        said = "only the first is used"
        yield Kind(name, f"pages-{form}{extension}", _bytes(content), gray_rgb(GRAY), reason=said)


# --- what is left out ------------------------------------------------------------------------------------------------


def _damaged() -> Iterator[Kind]:
    for extension, form in ((".jpg", "JPEG"), (".png", "PNG"), (".tif", "TIFF"), (".bmp", "BMP")):
        content = encoded(RGB[:, :16], form)
        half = _bytes(content[: len(content) // 2])
        yield Kind(f"{form} cut in half", f"half{extension}", half, reason="damaged")
        yield Kind(f"{form} without its end", f"end{extension}", _bytes(content[:-4]), reason="damaged")
    content = bytearray(encoded(RGB, "PNG"))
    content[len(content) // 2] ^= 4
    yield Kind("PNG with a flipped bit", "flipped.png", _bytes(bytes(content)), reason="damaged")
    yield Kind("empty file", "empty.png", _bytes(b""), reason="is empty")
    yield Kind("zeros", "zeros.jpg", _bytes(bytes(4096)), reason="is not a JPEG")
    yield Kind("header only", "header.png", _bytes(encoded(RGB, "PNG")[:33]), reason="damaged")
    yield Kind("TIFF header only", "header.tif", _bytes(b"II*\0\x08\0\0\0"), reason="damaged")
    yield Kind("web page", "page.jpg", _bytes(b"<!DOCTYPE html><html><body>404</body></html>"), reason="is not a JPEG")
    yield Kind("text", "text.tif", _bytes(b"a,b\n1,2\n"), reason="is not a JPEG")
    yield Kind("WebP named PNG", "webp.png", _bytes(encoded(RGB, "WEBP")), reason="is not a JPEG")
    yield Kind("archive named PNG", "zip.png", _bytes(b"PK\x03\x04" + bytes(60)), reason="is not a JPEG")
    yield Kind("SVG named PNG", "svg.png", _bytes(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), reason="is not a JPEG")
    yield Kind("PostScript named PNG", "eps.png", _bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), reason="is not a JPEG")
    yield Kind("JPEG named PNG", "jpeg.png", _bytes(encoded(GRAY // 128 * 255, "JPEG", quality=100)), _jpeg_pixels(), 0)
    yield Kind("PNG named JPEG", "png.jpg", _bytes(encoded(RGB, "PNG")), RGB)
    yield Kind("bomb", "bomb.png", _bytes(raw_png(30_000, 30_000, 1, 0, b"")), reason="more")


def _jpeg_pixels() -> Pixels:
    import io

    content = io.BytesIO(encoded(GRAY // 128 * 255, "JPEG", quality=100))
    return gray_rgb(np.asarray(Image.open(content)))


def _special() -> Iterator[Kind]:
    yield Kind("folder named PNG", "folder.png", lambda path: path.mkdir(), reason="folder with the name", ignored=True)
    yield Kind("FIFO", "fifo.png", os.mkfifo, reason="not a regular file", ignored=True)
    yield Kind("socket", "socket.png", _bind, reason="not a regular file", ignored=True)
    nowhere = lambda path: path.symlink_to("nowhere.png")  # noqa: E731
    yield Kind("link that dangles", "dangling.png", nowhere, reason="leads nowhere", ignored=True)
    loop = lambda path: path.symlink_to(path.name)  # noqa: E731
    yield Kind("link to itself", "loop.png", loop, reason="leads nowhere", ignored=True)
    up = lambda path: path.symlink_to("..")  # noqa: E731
    yield Kind("folder linked to its parent", "up", up, reason="link", ignored=True)


def _bind(path: Path) -> None:
    # A socket's path is short, and relative to where the process is.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _names() -> Iterator[Kind]:
    content = _bytes(encoded(RGB, "PNG"))
    for name in (
        "größe.png",
        "顕微鏡.png",
        "🔬.png",
        "two\nlines.png",
        "-rf.png",
        "UPPER.PNG",
        "a b;$(c).png",
        "x" * 200 + ".png",
    ):
        yield Kind(f"name {name[:20]!r}", name, content, RGB)
    yield Kind("no image extension", "notes.txt", content, reason="not an image extension", ignored=True)
    yield Kind("name of bytes", os.fsdecode(b"caf\xe9.png"), content, reason="not valid Unicode", ignored=True)


def _left_behind() -> Iterator[Kind]:
    content = _bytes(encoded(RGB, "PNG"))

    def inside(path: Path) -> None:
        path.mkdir()
        content(path / "x.png")

    yield Kind("macOS's other half", "._x.png", content, reason="hidden", ignored=True)
    yield Kind("notebook checkpoints", ".ipynb_checkpoints", inside, reason="hidden", ignored=True)
    yield Kind("macOS's archive", "__MACOSX", inside, reason="left behind", ignored=True)
    yield Kind("Windows' thumbnails", "Thumbs.db", content, reason="left behind", ignored=True)
    yield Kind(".DS_Store", ".DS_Store", content, reason="hidden", ignored=True)


# --- bombs -----------------------------------------------------------------------------------------------------------


def bombs(folder: Path) -> list[Path]:
    """Write files that would fill the memory: by their size, or by what is packed into them."""
    made = {
        "bits.png": raw_png(30_000, 30_000, 1, 0, _packed(30_000 * (1 + 30_000 // 8))),
        "wide.png": raw_png(13_000, 13_000, 1, 0, b""),  # below Pillow's limit, above ours
        "deep.png": raw_png(13_000, 13_000, 16, 2, b""),
        "big.tif": tiff_header(30_000, 30_000),
        "text.png": _with_chunk(b"zTXt", b"Comment\0\0" + _packed(300 * 2**20)),
        "profile.png": _with_chunk(b"iCCP", b"x\0\0" + _packed(300 * 2**20)),
        "huge.jpg": b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", 65_500, 65_500)
        + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01",
        "huge.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "huge.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        "tags.tif": b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 273, 4, 2**31, 8) + bytes(4),
        "loop.tif": tiff_header(4, 4)[:-4] + struct.pack("<I", 16),
    }
    paths = []
    for name, content in made.items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


def _packed(size: int) -> bytes:
    packer, block = zlib.compressobj(9), bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // 2**20 + 1)) + packer.flush()


def _with_chunk(name: bytes, content: bytes) -> bytes:
    png = encoded(RGB, "PNG")
    return png[:33] + chunk(name, content) + png[33:]
