"""Every kind of image file is read with the right pixels, or refused with one reason."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from image_files import (
    DAMAGEABLE,
    GRAY,
    RGB,
    RGB16,
    SMOOTH,
    chunk,
    encoded,
    gray_rgb,
    png_16_bit,
    stored,
    tiff,
    to_8_bits,
)
from syncgan.data.images import bits_in_16, decode_image, encode_png, read_image, read_mask
from syncgan.errors import DataError, ImageReadError

# --- right pixels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image", "ünï 🔬\n-.tif", "-rf.png"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_content_decides_and_pixels_are_exact(tmp_path: Path, kind: str, name: str):
    decoded = decode_image(stored(tmp_path, encoded(RGB, kind), name))
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.notes == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_jpeg_is_close_to_its_source(tmp_path: Path, options: dict[str, object]):
    pixels = read_image(stored(tmp_path, encoded(SMOOTH, "JPEG", **options), "image.png"))
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 5


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_8_bit_tiff_is_exact(tmp_path: Path, compression: str | None):
    content = encoded(RGB, "TIFF", compression=compression)
    np.testing.assert_array_equal(read_image(stored(tmp_path, content)), RGB)


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"bigtiff": True}, {"byteorder": ">"}])
def test_unusual_8_bit_tiff_is_exact(tmp_path: Path, options: dict[str, object]):
    values = np.moveaxis(RGB, -1, 0).copy() if "planarconfig" in options else RGB
    np.testing.assert_array_equal(read_image(tiff(tmp_path, values, photometric="rgb", **options)), RGB)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_extreme_shapes(tmp_path: Path, kind: str, shape: tuple[int, int]):
    values = np.full((*shape, 3), 77, np.uint8)
    np.testing.assert_array_equal(read_image(stored(tmp_path, encoded(values, kind))), values)


TURNS = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "TIFF 16 bits", "PNG 16 bits"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int):
    expected = TURNS[orientation](RGB)
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "TIFF 16 bits":
        path = tiff(tmp_path, RGB.astype(np.uint16) * 257, extratags=[(274, "H", 1, orientation, True)])
    elif kind == "PNG 16 bits":
        content = png_16_bit(RGB.astype(np.uint16) * 257, 2)
        eight = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        path = stored(tmp_path, content[:33] + eight + content[33:])
    elif kind == "JPEG":
        path = stored(tmp_path, encoded(RGB, kind, exif=exif))
        expected = TURNS[orientation](np.asarray(Image.open(path)))
    else:
        path = stored(tmp_path, encoded(RGB, kind, exif=exif))
    np.testing.assert_array_equal(read_image(path), expected)


def test_transparency_is_composited_on_white(tmp_path: Path):
    alpha = np.zeros((13, 17), np.uint8)
    alpha[:6] = 255
    expected = np.where(alpha[..., None] == 255, RGB, 255)
    for kind in ("PNG", "TIFF"):
        rgba = stored(tmp_path, encoded(np.dstack([RGB, alpha]), kind))
        np.testing.assert_array_equal(read_image(rgba), expected)
        gray_alpha = stored(tmp_path, encoded(Image.fromarray(np.dstack([GRAY, alpha])), kind))
        np.testing.assert_array_equal(read_image(gray_alpha), gray_rgb(np.where(alpha == 255, GRAY, 255)))


def test_half_transparent_black_becomes_middle_gray(tmp_path: Path):
    black = np.zeros((4, 4, 4), np.uint8)
    black[..., 3] = 128
    assert np.unique(read_image(stored(tmp_path, encoded(black, "PNG")))).tolist() == [127]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes):
    image = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    image.putpalette([10, 20, 30, 200, 0, 0])
    pixels = read_image(stored(tmp_path, encoded(image, "PNG", transparency=transparency)))
    assert pixels[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_gray_with_a_transparent_value(tmp_path: Path):
    content = encoded(np.array([[7, 9]], np.uint8), "PNG", transparency=9)
    assert read_image(stored(tmp_path, content))[0, :, 0].tolist() == [7, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_image_is_black_and_white(tmp_path: Path, kind: str):
    bits = GRAY > 100
    content = encoded(Image.fromarray(bits), kind)
    np.testing.assert_array_equal(read_image(stored(tmp_path, content)), gray_rgb(bits * np.uint8(255)))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(tmp_path: Path, kind: str):
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1] = 255
    pixels = read_image(stored(tmp_path, encoded(Image.fromarray(cmyk, "CMYK"), kind)))
    assert np.abs(pixels.astype(int) - [255, 0, 255]).max() <= 3


def test_lab_is_converted(tmp_path: Path):
    colours = np.array([[[200, 30, 60], [128, 128, 128], [90, 150, 90]]], np.uint8)
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    pixels = read_image(stored(tmp_path, encoded(lab, "TIFF")))
    assert np.abs(pixels.astype(int) - colours).max() <= 3


def test_min_is_white(tmp_path: Path):
    eight = tiff(tmp_path, GRAY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(eight), gray_rgb(255 - GRAY))
    sixteen = tiff(tmp_path, GRAY.astype(np.uint16) * 257, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(sixteen), gray_rgb(255 - GRAY))


# --- deeper than 8 bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"byteorder": ">"}, {"tile": (16, 16)}],
)
def test_16_bit_rgb_tiff(tmp_path: Path, options: dict[str, object]):
    decoded = decode_image(tiff(tmp_path, RGB16, photometric="rgb", **options))
    np.testing.assert_array_equal(decoded.pixels, to_8_bits(RGB16, 16))
    assert decoded.notes == ()


def test_16_bit_rgb_tiff_in_separate_planes(tmp_path: Path):
    planes = np.moveaxis(RGB16, -1, 0).copy()
    path = tiff(tmp_path, planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path), to_8_bits(RGB16, 16))


def test_16_bit_rgb_tiff_with_lzw(tmp_path: Path):
    import cv2

    path = stored(tmp_path, cv2.imencode(".tif", RGB16[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(read_image(path), to_8_bits(RGB16, 16))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_gray_tiff(tmp_path: Path, compression: str | None):
    path = tiff(tmp_path, RGB16[..., 0], compression=compression)
    np.testing.assert_array_equal(read_image(path), gray_rgb(to_8_bits(RGB16[..., 0], 16)))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_16_bit_png(tmp_path: Path, colour: int, channels: int):
    values = RGB16[..., :channels]
    expected = np.broadcast_to(to_8_bits(values, 16), RGB16.shape)
    np.testing.assert_array_equal(read_image(stored(tmp_path, png_16_bit(values, colour))), expected)


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_16_bit_png_with_alpha(tmp_path: Path, colour: int, channels: int):
    alpha = np.zeros((13, 17, 1), np.uint16)
    alpha[:6] = 65535
    values = np.concatenate([RGB16[..., :channels], alpha], axis=-1)
    expected = np.where(alpha > 0, to_8_bits(values[..., :channels], 16), 255)
    pixels = read_image(stored(tmp_path, png_16_bit(values, colour)))
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected, pixels.shape))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_camera_depth_is_found_from_the_largest_value_and_said(tmp_path: Path, bits: int):
    values = RGB16 >> (16 - bits)
    for path in (tiff(tmp_path, values, photometric="rgb"), stored(tmp_path, png_16_bit(values, 2))):
        decoded = decode_image(path)
        np.testing.assert_array_equal(decoded.pixels, to_8_bits(values, bits))
        assert f"read as {bits}-bit" in decoded.notes[0]


def test_bits_of_16_are_told_and_other_files_are_not_decoded(tmp_path: Path):
    assert bits_in_16(tiff(tmp_path, RGB16 >> 4, photometric="rgb")) == 12
    assert bits_in_16(stored(tmp_path, png_16_bit(RGB16 >> 6, 2))) == 10
    cut = encoded(RGB, "JPEG")[:200]  # would be refused
    assert bits_in_16(stored(tmp_path, cut)) is None
    assert bits_in_16(stored(tmp_path, encoded(RGB, "PNG")[:100])) is None
    assert bits_in_16(tiff(tmp_path, RGB, photometric="rgb")) is None


def test_given_bit_depth_is_used_without_a_note(tmp_path: Path):
    path = tiff(tmp_path, np.full((4, 4), 500, np.uint16))
    decoded = decode_image(path, bit_depth=12)
    assert np.unique(decoded.pixels).tolist() == [31]
    assert decoded.notes == ()
    with pytest.raises(ImageReadError, match="values up to 500, more than 8 bits"):
        decode_image(path, bit_depth=8)


def test_what_was_decided_is_logged_without_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    read_image(tiff(tmp_path, RGB16 >> 4, photometric="rgb"))
    assert "image.tif: has 16-bit samples with values up to 4095; read as 12-bit" in caplog.text
    assert str(tmp_path) not in caplog.text


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_float_tiff_in_unit_range(tmp_path: Path, dtype: str):
    values = (GRAY / 255).astype(dtype)
    np.testing.assert_array_equal(read_image(tiff(tmp_path, values)), gray_rgb(GRAY))


def test_compressed_float_tiff(tmp_path: Path):
    path = tiff(tmp_path, (RGB / 255).astype("f4"), photometric="rgb", compression="zlib")
    np.testing.assert_array_equal(read_image(path), RGB)


# --- several pages ---------------------------------------------------------------------------------------------------


def test_first_page_of_several_is_used_and_said(tmp_path: Path):
    pages = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for kind in ("TIFF", "PNG", "GIF"):
        if kind == "GIF":
            pages = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
        decoded = decode_image(stored(tmp_path, encoded(pages[0], kind, save_all=True, append_images=pages[1:])))
        np.testing.assert_array_equal(decoded.pixels, np.asarray(pages[0].convert("RGB")))
        assert decoded.notes == ("holds several pages or frames; only the first is used",)


def test_first_page_of_16_bit_tiff(tmp_path: Path):
    decoded = decode_image(tiff(tmp_path, np.stack([RGB16, RGB16 // 2]), photometric="rgb"))
    np.testing.assert_array_equal(decoded.pixels, to_8_bits(RGB16, 16))
    assert len(decoded.notes) == 1


# --- one reason ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 4096, "is not a JPEG"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "is not a JPEG"),
        (b"\xff\xd8\xff", "is not a JPEG"),
        (b"\x89PNG\r\n\x1a\n", "is not a JPEG|damaged"),
        (b"II*\0", "damaged or truncated"),
        (b"II*\0\x08\0\0\0", "damaged or truncated"),
        (b"BM", "is not a JPEG|damaged"),
        (b"GIF89a", "is not a JPEG|damaged"),
        (encoded(RGB, "PNG")[:33], "is damaged"),
        (encoded(RGB, "BMP")[:54], "damaged or truncated"),
        (encoded(RGB, "WEBP"), "is not a JPEG"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, reason: str):
    with pytest.raises(ImageReadError, match=reason):
        read_image(stored(tmp_path, content, "image.jpg"))


@pytest.mark.parametrize("cut", [1, 2, 4, 8, 16, "half"])
@pytest.mark.parametrize("name", DAMAGEABLE)
def test_truncated_file_is_refused(tmp_path: Path, name: str, cut: int | str):
    content = DAMAGEABLE[name]
    keep = len(content) // 2 if cut == "half" else len(content) - int(cut)
    path = stored(tmp_path, content[:keep])
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert "\n" not in caught.value.reason
    assert str(tmp_path) not in caught.value.reason


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("cut", [1, 16, "half"])
def test_truncated_16_bit_tiff_is_refused(tmp_path: Path, compression: str | None, cut: int | str):
    # imwrite puts the pixels last.
    path = tiff(tmp_path, RGB16, photometric="rgb", compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if cut == "half" else -int(cut)])
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(path)


@pytest.mark.parametrize(
    "options", [{"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 1}]
)
@pytest.mark.parametrize("tag", [256, 257])
def test_a_tiff_with_fewer_parts_than_its_size_needs_is_refused(tmp_path: Path, tag: int, options: dict[str, object]):
    path = tiff(tmp_path, RGB16, photometric="rgb", **options)
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    entries = {struct.unpack_from("<H", content, at)[0]: at for at in range(first + 2, first + 2 + 12 * 20, 12)}
    struct.pack_into("<HIHH", content, entries[tag] + 2, 3, 1, 400, 0)
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="damaged or truncated"):
        read_image(path)


@pytest.mark.parametrize("name", ["png", "png16"])
def test_every_flipped_bit_of_a_png_is_detected(tmp_path: Path, name: str):
    content = DAMAGEABLE[name]
    positions = random.Random(0).sample(range(len(content) * 8), 120)
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ImageReadError):
            read_image(stored(tmp_path, bytes(damaged)))


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (np.zeros((20, 20, 5), "u1"), {"photometric": "minisblack", "planarconfig": "contig"}, "has 5 channels"),
        (np.zeros((5, 20, 20), "u2"), {"photometric": "minisblack", "planarconfig": "separate"}, "has 5 channels"),
        (np.zeros((20, 20, 5), "u1"), {}, "5 channels stored as pages"),
        (np.zeros((20, 20, 2), "u1"), {"photometric": "minisblack", "planarconfig": "contig"}, "has 2 channels"),
        (np.zeros((1, 1, 3, 20, 20), "u2"), {"imagej": True}, "3 channels stored as pages"),
        (np.zeros((4, 20, 20), "u1"), {"ome": True, "metadata": {"axes": "CYX"}}, "4 channels stored as pages"),
        (np.full((4, 4), 2, "f4"), {}, r"outside \[0, 1\]"),
        (np.full((4, 4), np.nan, "f4"), {}, r"outside \[0, 1\]"),
        (np.zeros((4, 4), "i2"), {}, "has int16 samples"),
        (np.zeros((4, 4), "i1"), {}, "has int8 samples"),
        (np.zeros((4, 4), "u4"), {}, "has uint32 samples"),
        (np.zeros((4, 4), "c8"), {}, "has complex64 samples"),
        (RGB16, {"photometric": "rgb", "compression": "lzma"}, "LZMA compression; save it uncompressed"),
    ],
)
def test_tiff_without_rgb_meaning_is_refused(tmp_path: Path, values: np.ndarray, options: dict, reason: str):
    with pytest.raises(ImageReadError, match=reason):
        read_image(tiff(tmp_path, values, **options))


@pytest.mark.timeout(10)
def test_only_regular_files_are_opened(tmp_path: Path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, reason in {
            "folder.png": "is a folder",
            "fifo.png": "is a special file",
            "socket.png": "is a special file",
            "dangling.png": "is a link that leads nowhere",
            "loop.png": "is a link that leads nowhere",
            "missing.png": "cannot be opened",
            "nul\0.png": "cannot be opened",
        }.items():
            with pytest.raises(ImageReadError, match=reason):
                read_image(tmp_path / name)


def test_link_to_an_image_is_read(tmp_path: Path):
    stored(tmp_path, encoded(RGB, "PNG"), "real.png")
    (tmp_path / "link.png").symlink_to("real.png")
    np.testing.assert_array_equal(read_image(tmp_path / "link.png"), RGB)


# --- threads, warnings ------------------------------------------------------------------------------------------------


def test_pillow_warnings_stay_inside_and_filters_are_restored(tmp_path: Path):
    truncated_exif = encoded(RGB, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0")
    paths = [stored(tmp_path, truncated_exif, f"{i}.jpg") for i in range(16)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_image, paths))
    assert {image.shape for image in images} == {RGB.shape}
    assert list(warnings.filters) == before


def test_torch_is_not_imported():
    code = "import sys, syncgan.data.images, syncgan.data.folders, syncgan.data.export; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- masks and writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_mask_values_are_returned_as_stored(tmp_path: Path, kind: str):
    values = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)
    for image in (Image.fromarray(values), Image.fromarray(np.repeat(values[..., None], 3, -1))):
        np.testing.assert_array_equal(read_mask(stored(tmp_path, encoded(image, kind))), values)


def test_mask_of_one_bit_palette_alpha_and_16_bits(tmp_path: Path):
    values = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    palette = Image.frombytes("P", (3, 2), values.tobytes())
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for image in (Image.fromarray(values > 0), palette, Image.fromarray(np.dstack([values, values * 0 + 255]))):
        np.testing.assert_array_equal(read_mask(stored(tmp_path, encoded(image, "PNG"))), values)
    np.testing.assert_array_equal(read_mask(stored(tmp_path, png_16_bit(values[..., None], 0))), values)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(GRAY, "JPEG"), "is a JPEG, which changes mask values"),
        (encoded(RGB, "PNG"), "is coloured"),
        (png_16_bit(RGB16[..., :1], 0), "has mask values up to 65535"),
        (png_16_bit(RGB16[..., [0, 0, 0]], 2), "has 16-bit colours"),
        (encoded(GRAY, "PNG")[:-4], "damaged or truncated"),
    ],
)
def test_file_that_is_no_mask_is_refused(tmp_path: Path, content: bytes, reason: str):
    with pytest.raises(ImageReadError, match=reason):
        read_mask(stored(tmp_path, content))


def test_encoded_png_holds_pixels_and_nothing_else(tmp_path: Path):
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "CANARY")
    exif = Image.Exif()
    exif[270] = "CANARY"
    pixels = read_image(stored(tmp_path, encoded(RGB, "PNG", pnginfo=comment, exif=exif)))
    content = encode_png(pixels)
    assert b"CANARY" not in content
    np.testing.assert_array_equal(read_image(stored(tmp_path, content)), RGB)
    np.testing.assert_array_equal(read_mask(stored(tmp_path, encode_png(GRAY))), GRAY)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 4), "u1"), np.zeros((4, 4), "f4"), np.zeros(4, "u1")])
def test_only_gray_and_rgb_bytes_are_encoded(pixels: np.ndarray):
    with pytest.raises(DataError, match="expected"):
        encode_png(pixels)
