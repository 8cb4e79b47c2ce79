"""Decode image files: the only module that does.

A file is read with the right pixels, or refused with one reason; nothing is guessed in silence. The reader follows the
content, never the extension. Pillow decodes 8-bit files because it raises on damage, where ``cv2.imread`` returns None
or half-gray pixels and ``torchvision.io.decode_image`` ends the process. Deeper samples, which Pillow cuts to their
high byte, go through tifffile or OpenCV in `deep_images`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from syncgan.data.deep_images import (
    MAX_PIXELS,
    SEVERAL_FRAMES,
    Notes,
    Refusal,
    check_size,
    content,
    decode_16_bit_png,
    decode_deep_tiff,
    tiff_kind,
)
from syncgan.errors import DataError, ImageReadError

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "DecodedImage",
    "bits_in_16",
    "decode_image",
    "encode_png",
    "image_kind",
    "read_image",
    "read_mask",
]

MAX_FILE_BYTES: Final = 2 * 1024**3
"""Largest file that is opened, in bytes."""

_FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF")
_KINDS: Final = {
    "1": "black and white",
    "L": "gray",
    "LA": "gray with alpha",
    "P": "palette",
    "RGB": "RGB",
    "RGBA": "RGB with alpha",
}
_PNG_MAGIC: Final = b"\x89PNG"
# IHDR is the first chunk of a PNG: signature 8, length 4, "IHDR" 4, width 4, height 4.
_PNG_BITS_AT: Final = 24
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedImage:
    """One decoded file.

    Attributes
    ----------
    pixels : (H, W, 3) uint8, RGB in 0..255, turned as its EXIF orientation asks.
    notes : what the reader had to decide ("read as 12-bit", "only the first page"), each a clause.
    bits : how many of 16 bits a sample are significant; None where samples are not of 16 bits.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    bits: int | None = None


def read_image(path: str | PathLike[str], *, bit_depth: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as RGB; what had to be decided goes to the log as a warning (see `decode_image`).

    Parameters
    ----------
    path : JPEG, PNG, TIFF, BMP or GIF, told apart by content.
    bit_depth : significant bits of 16-bit samples; see `decode_image`.

    Returns
    -------
    (H, W, 3) uint8 array, RGB in 0..255.

    Raises
    ------
    ImageReadError
        The file cannot be read; carries the one reason.
    """
    decoded = decode_image(path, bit_depth=bit_depth)
    for note in decoded.notes:
        _logger.warning("%s: %s", Path(path).name, note)
    return decoded.pixels


def decode_image(path: str | PathLike[str], *, bit_depth: int | None = None) -> DecodedImage:
    """Decode a JPEG, PNG, TIFF, BMP or GIF file, told apart by content.

    Transparency is composited on white. Floating-point samples must lie in [0, 1].

    Parameters
    ----------
    path : a regular file, or a link to one.
    bit_depth : significant bits of 16-bit samples (12 for most cameras). None takes the smallest of 8, 10, 12, 14 and
        16 that holds the file's largest value, and notes it.

    Raises
    ------
    ImageReadError
        Missing, not a regular file, damaged, truncated, too large, or of a kind that has no RGB meaning.
    """
    notes = Notes()
    with _opened(path) as file:
        if _magic(file).startswith(_TIFF_MAGIC):
            image = decode_deep_tiff(file, bit_depth, notes) or _turned(_open_with_pillow(file, ("TIFF",)), notes)
        else:
            image = _decode_with_pillow(file, bit_depth, notes)
        return DecodedImage(np.array(_flatten(image), dtype=np.uint8), tuple(notes), notes.bits)


def bits_in_16(path: str | PathLike[str]) -> int | None:
    """Return how many bits the largest value of a file of 16 bits a sample takes: 8, 10, 12, 14 or 16.

    Other files are None, and are not decoded.

    Raises
    ------
    ImageReadError
        As `decode_image`.
    """
    notes = Notes()
    with _opened(path) as file:
        magic = _magic(file)
        if magic.startswith(_TIFF_MAGIC):
            decode_deep_tiff(file, None, notes)
        elif magic.startswith(_PNG_MAGIC) and magic[_PNG_BITS_AT] == 16:
            _decode_with_pillow(file, None, notes)
    return notes.bits


def image_kind(path: str | PathLike[str]) -> str:
    """Say from the header of an image file how it is stored, such as ``"PNG, RGB, 8 bits"``.

    Bits are those of one sample; those of a palette are its indices'.

    Raises
    ------
    ImageReadError
        As `decode_image`, as far as the header tells.
    """
    with _opened(path) as file:
        if _magic(file).startswith(_TIFF_MAGIC):
            return tiff_kind(file)
        image = _open_with_pillow(file, _FORMATS)
        bits = 1 if image.mode == "1" else _sample_bits(file, image)
        kind = "gray" if image.mode.startswith("I") else _KINDS.get(image.mode, image.mode)
        return f"{image.format}, {kind}, {bits} bit{'s' if bits > 1 else ''}"


def read_mask(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a mask file without touching its values.

    Gray values, palette indices and 1-bit pixels (as 0 and 1) are returned as stored; colour is accepted when all
    three channels agree. JPEG is refused because it changes values.

    Returns
    -------
    (H, W) uint8 array.

    Raises
    ------
    ImageReadError
        The file cannot be read, is a JPEG, is coloured, or has values above 255.
    """
    with _opened(path) as file:
        image = _open_with_pillow(file, (*_FORMATS, "TIFF"))
        if image.format in ("JPEG", "MPO"):
            raise Refusal("is a JPEG, which changes mask values; save masks as PNG")
        _check_png(file, image)
        if image.mode.startswith("RGB") and _sample_bits(file, image) > 8:
            raise Refusal("has 16-bit colours, expected a mask with one value in 0..255 a pixel")
        return _mask_values(_turned(image, Notes()))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an array as PNG; only pixels are written, so no metadata of an input can pass through.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint8.
    """
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise DataError(f"expected (H, W) or (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


# --- opening -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file and turn whatever goes wrong inside the block into one `ImageReadError`."""
    try:
        _check_regular(Path(path))
        with Path(path).open("rb") as file, _pillow_warnings:
            yield file
    except Refusal as refusal:
        raise ImageReadError(path, str(refusal)) from refusal.__cause__
    except UnidentifiedImageError as error:
        raise ImageReadError(path, "is not a JPEG, PNG, TIFF, BMP or GIF image, or its header is damaged") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(path, "has more pixels than Pillow's decompression-bomb limit") from error
    except MemoryError as error:
        raise ImageReadError(path, "needs more memory than there is") from error
    # Decoders raise nearly every type on damaged input (SyntaxError, struct.error, IndexError, zlib.error, ...).
    except Exception as error:
        verdict = "cannot be read" if getattr(error, "errno", None) else "is damaged or truncated"
        raise ImageReadError(path, f"{verdict} ({_one_line(error)})") from error


def _check_regular(path: Path) -> None:
    # Opening a FIFO would block for ever, so the kind is asked before.
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        if path.is_symlink():
            raise Refusal("is a link that leads nowhere") from error
        raise Refusal(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise Refusal(f"is {'a folder' if stat.S_ISDIR(status.st_mode) else 'a special file'}, expected an image file")
    if status.st_size == 0:
        raise Refusal("is empty")
    if status.st_size > MAX_FILE_BYTES:
        raise Refusal(f"has {status.st_size:,} bytes, more than the limit of {MAX_FILE_BYTES:,}")


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:160]


class _SharedWarningFilter:
    """Ignore Pillow's own warnings while at least one thread decodes.

    ``warnings.catch_warnings`` changes global state: threads that enter and leave it in turn restore it in the wrong
    order. Here the first thread enters and the last one leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._saved.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._saved.close()


_pillow_warnings = _SharedWarningFilter()


def _magic(file: BinaryIO) -> bytes:
    start = file.read(32)
    file.seek(0)
    return start


# --- Pillow: JPEG, PNG, BMP, GIF and 8-bit TIFF ----------------------------------------------------------------------


def _decode_with_pillow(file: BinaryIO, bit_depth: int | None, notes: Notes) -> Image.Image:
    image = _open_with_pillow(file, _FORMATS)
    if getattr(image, "is_animated", False):
        notes.append(SEVERAL_FRAMES)
    _check_png(file, image)
    if image.format == "PNG" and _sample_bits(file, image) == 16:
        return decode_16_bit_png(file, image, bit_depth, notes)
    return _turned(image, notes)


def _open_with_pillow(file: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    image = Image.open(file, formats=formats)
    check_size(*image.size)
    return image


def _check_png(file: BinaryIO, image: Image.Image) -> None:
    """Check every chunk's CRC and the end mark, which loading does not."""
    if image.format == "PNG":
        everything = content(file)
        Image.open(io.BytesIO(everything), formats=("PNG",)).verify()
        if _PNG_END not in everything:
            raise Refusal("is damaged or truncated (its end mark is missing)")


def _sample_bits(file: BinaryIO, image: Image.Image) -> int:
    if image.format == "TIFF":
        bits: tuple[int, ...] = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return max(bits)
    return content(file)[_PNG_BITS_AT] if image.format == "PNG" else 8


def _turned(image: Image.Image, notes: Notes) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        _logger.debug("EXIF cannot be read", exc_info=True)
        notes.append("has a damaged EXIF block; its orientation is ignored")
        return image


def _flatten(image: Image.Image) -> Image.Image:
    """Convert any 8-bit mode to RGB, transparency composited on white."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if converted is None:
            raise Refusal("has Lab colours that cannot be converted")
        return converted
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    if image.mode not in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "RGBX"):
        raise Refusal(f"has pixels of kind {image.mode}, expected 8 or 16 bits gray or colour")
    return image.convert("RGB")


def _mask_values(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if values.ndim == 3:
        colours = values[..., : 1 if image.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise Refusal("is coloured, expected a mask with one value a pixel")
        values = colours[..., 0]
    if values.size and (values.min() < 0 or values.max() > 255):
        raise Refusal(f"has mask values up to {values.max()}, expected 0..255")
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        raise Refusal("has fractional mask values, expected whole numbers")
    return values.astype(np.uint8)
