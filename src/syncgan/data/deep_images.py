"""Decode what Pillow cuts to 8 bits: PNG and TIFF files with 16-bit or floating-point samples.

Used by `syncgan.data.images` alone, which opens files and turns a `Refusal` into an `ImageReadError`.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

if TYPE_CHECKING:
    import tifffile

__all__ = [
    "DEPTH_GUESSED",
    "MAX_PIXELS",
    "SEVERAL_FRAMES",
    "Notes",
    "Refusal",
    "check_size",
    "content",
    "decode_16_bit_png",
    "decode_deep_tiff",
    "tiff_kind",
]

MAX_PIXELS: Final = 150_000_000
"""Largest image that is decoded, in pixels; larger ones are refused from their header."""

DEPTH_GUESSED: Final = "has 16-bit samples with values up to"
SEVERAL_FRAMES: Final = "holds several pages or frames; only the first is used"
_ORIENTATION_TAG: Final = 274


class Refusal(Exception):  # noqa: N818  (never leaves the two image modules)
    """Why a file is not read, as a clause; whoever opened the file adds its path."""


class Notes(list[str]):
    """What the reader of one file had to decide, a clause each.

    Attributes
    ----------
    bits : of 16-bit samples, how many are significant; None for other samples.
    """

    bits: int | None = None


def check_size(width: int, height: int) -> None:
    """Refuse more than `MAX_PIXELS` pixels before anything is allocated."""
    if width * height > MAX_PIXELS:
        raise Refusal(f"has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}")


def content(file: BinaryIO) -> bytes:
    """Return all bytes of an open file and leave its position unchanged."""
    position = file.tell()
    file.seek(0)
    everything = file.read()
    file.seek(position)  # Pillow goes on reading where its header ended
    return everything


def decode_16_bit_png(file: BinaryIO, image: Image.Image, bit_depth: int | None, notes: Notes) -> Image.Image:
    """Decode a PNG file that has 16 bits a sample.

    Parameters
    ----------
    file, image : the file, and what Pillow made of its header; every chunk's CRC has been checked.
    bit_depth, notes : see `syncgan.data.images.decode_image`.

    Returns
    -------
    An 8-bit image, turned upright.
    """
    image.load()  # Pillow raises where OpenCV would return pixels of a damaged file
    values = _decode_with_opencv(content(file))
    return _to_image(_oriented(values, image.getexif().get(_ORIENTATION_TAG, 1)), bit_depth, notes)


def _decode_with_opencv(content: bytes) -> NDArray[Any]:
    """Decode to (H, W), (H, W, 3) RGB or (H, W, 4) RGBA of the file's own depth."""
    import cv2

    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise Refusal("is damaged or truncated (OpenCV cannot decode it)")
    return values if values.ndim == 2 else np.asarray(values[..., [2, 1, 0, 3][: values.shape[2]]])


def _oriented(pixels: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Turn an (H, W, ...) array as EXIF orientation 1..8 asks."""
    if orientation not in (2, 3, 4, 5, 6, 7, 8):
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _to_image(values: NDArray[Any], bit_depth: int | None, notes: Notes) -> Image.Image:
    """Scale (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA samples to an 8-bit image."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    if channels in (1, 3):
        return Image.fromarray(np.ascontiguousarray(_to_8_bits(values, bit_depth, notes)))
    # Opacity uses the full range whatever the camera's depth is.
    alpha = _to_8_bits(values[..., -1:], 16, Notes())
    colour = _to_8_bits(values[..., :-1], bit_depth, notes)
    return Image.fromarray(np.concatenate([colour, alpha], axis=-1))


def _to_8_bits(values: NDArray[Any], bit_depth: int | None, notes: Notes) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise Refusal("has floating-point values outside [0, 1]; scale them or save 8 or 16 bits")
        rounded: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
        return rounded
    if values.dtype != np.uint16:
        raise Refusal(f"has {values.dtype} samples, expected 8 or 16 bits unsigned, or floating point in [0, 1]")
    peak = int(values.max())
    bits = bit_depth or next(bits for bits in (8, 10, 12, 14, 16) if peak < 2**bits)
    if peak >= 2**bits:
        raise Refusal(f"has values up to {peak}, more than {bits} bits hold; give the right bit_depth")
    notes.bits = bits
    if bit_depth is None and bits < 16:
        notes.append(f"{DEPTH_GUESSED} {peak}; read as {bits}-bit")
    table = np.rint(np.arange(2**bits) * (255 / (2**bits - 1))).astype(np.uint8)
    scaled: NDArray[np.uint8] = table[values]
    return scaled


def decode_deep_tiff(file: BinaryIO, bit_depth: int | None, notes: Notes) -> Image.Image | None:
    """Check a TIFF file and decode its first page, unless its samples have at most 8 bits.

    Returns
    -------
    An 8-bit image, turned upright, or None where Pillow reads the file right; `file` is then at its start.
    """
    import tifffile

    # A neutral name keeps the path out of tifffile's messages; OME-XML may name other files, which are none of ours.
    with tifffile.TiffFile(file, name="image", is_ome=False) as tiff:
        page = tiff.pages[0]
        if not isinstance(page, tifffile.TiffPage) or page.dtype is None:
            raise Refusal("has TIFF samples of an unknown kind")
        check_size(page.imagewidth, page.imagelength)
        check_size(page.tilewidth, page.tilelength)
        _check_channels(tiff, page)
        _check_segments(page, file.seek(0, io.SEEK_END))
        if _has_second_page(tiff):
            notes.append(SEVERAL_FRAMES)
        is_deep = page.dtype.kind not in "bu" or page.dtype.itemsize > 1
        image = _decode_page(file, page, bit_depth, notes) if is_deep else None
    file.seek(0)
    return image


def tiff_kind(file: BinaryIO) -> str:
    """Say how the first page of a TIFF file is stored, such as ``"TIFF, RGB, 16 bits"``; see `image_kind`."""
    import tifffile

    with tifffile.TiffFile(file, name="image", is_ome=False) as tiff:
        page = tiff.pages[0]
        if not isinstance(page, tifffile.TiffPage) or page.dtype is None:
            raise Refusal("has TIFF samples of an unknown kind")
        name = getattr(page.photometric, "name", str(page.photometric))
        kind = {"MINISBLACK": "gray", "MINISWHITE": "gray", "PALETTE": "palette", "SEPARATED": "CMYK"}.get(name, name)
        alpha = " with alpha" if page.extrasamples else ""
        bits = f"{page.bitspersample} bit{'s' if page.bitspersample > 1 else ''}"
        return f"TIFF, {kind}{alpha}, {bits}{' floating point' if page.dtype.kind == 'f' else ''}"


def _check_channels(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Refuse what is neither gray nor colour, in one page or as pages that are channels."""
    kind = getattr(page.photometric, "name", str(page.photometric))
    gray, colour = (1, 2), (3, 4)
    allowed = {"MINISBLACK": gray, "MINISWHITE": gray, "PALETTE": gray, "RGB": colour, "SEPARATED": (4,)}
    channels = page.samplesperpixel
    if page.imagedepth > 1:
        raise Refusal("is a volume, expected one plane")
    second_is_data = channels == 2 and not (page.extrasamples and int(page.extrasamples[0]) in (1, 2))
    if channels not in allowed.get(kind, (3,)) or second_is_data:
        raise Refusal(f"has {channels} channels ({kind}), expected gray or RGB, with or without alpha")
    stacked = _channels_stored_as_pages(tiff, page)
    if stacked > 1:
        raise Refusal(f"has {stacked} channels stored as pages, expected gray or RGB in one page")


def _channels_stored_as_pages(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    if page.samplesperpixel > 1:
        return 1
    if ome := re.search(r'<OME.*SizeC="(\d{1,6})"', page.description, flags=re.DOTALL):
        return int(ome[1])
    if tiff.imagej_metadata:
        return int(tiff.imagej_metadata.get("channels", 1))
    # tifffile writes an (H, W, 5) array as H pages of W x 5 pixels and records the array's shape.
    shape = (tiff.shaped_metadata or ({},))[0].get("shape", ())
    is_image_of_channels = len(shape) == 3 and 1 < shape[-1] <= 16 < shape[0] and tuple(shape[1:]) == page.shape
    return int(shape[-1]) if is_image_of_channels else 1


def _check_segments(page: tifffile.TiffPage, file_bytes: int) -> None:
    """Refuse strips or tiles that are missing or cut; tifffile would fill them with zeros."""
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(
        count <= 0 or offset + count > file_bytes for offset, count in segments
    ):
        raise Refusal("is damaged or truncated (its pixel data end before they should)")
    is_plain = page.compression == 1 and not page.is_tiled
    if is_plain and sum(page.databytecounts) * 8 < page.size * page.bitspersample:
        raise Refusal("is damaged or truncated (it has fewer pixel data than its header says)")


def _has_second_page(tiff: tifffile.TiffFile) -> bool:
    try:
        tiff.pages[1]
    except IndexError:
        return False
    return True


def _decode_page(file: BinaryIO, page: tifffile.TiffPage, bit_depth: int | None, notes: Notes) -> Image.Image:
    import tifffile

    if page.photometric not in (
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
    ):
        raise Refusal(
            f"has {page.bitspersample}-bit {tifffile.PHOTOMETRIC(page.photometric).name} samples; save it as RGB"
        )
    extra = [int(kind) for kind in page.extrasamples]
    if 1 in extra:
        raise Refusal(f"has {page.bitspersample}-bit premultiplied transparency; save it without alpha")
    values = _page_values(file, page)
    if page.samplesperpixel == 4 and extra != [2]:
        notes.append("has a fourth channel of unknown meaning, which is left out")
        values = values[..., :3]
    tag = page.tags.get(_ORIENTATION_TAG)
    image = _to_image(_oriented(values, tag.value if tag else 1), bit_depth, notes)
    return ImageOps.invert(image) if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE else image


def _page_values(file: BinaryIO, page: tifffile.TiffPage) -> NDArray[Any]:
    """Return (H, W) or (H, W, channels) samples of the file's own depth."""
    import tifffile

    is_planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    if page.compression == tifffile.COMPRESSION.NONE:
        values = page.asarray()
        return np.moveaxis(values, 0, -1) if is_planar else values
    # Without imagecodecs tifffile knows few compressions and expands deflate without a bound; OpenCV's libtiff has
    # neither fault, but it mixes up separate planes.
    compression = getattr(page.compression, "name", str(page.compression))
    if is_planar or compression not in ("LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS"):
        raise Refusal(f"has {page.bitspersample}-bit samples with {compression} compression; save it uncompressed")
    values = _decode_with_opencv(content(file))
    if values.shape != page.shape or values.dtype != page.dtype:
        raise Refusal(f"has {page.bitspersample}-bit samples that cannot be decoded; save it uncompressed")
    return values
