"""R8, R9: every image file is read with the right pixels or left out with one reason, in bounded memory."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from faults.corpus import Kind, bombs, kinds
from faults.engine import Fault, Outcome, in_own_process
from image_files import DAMAGEABLE, RGB, RGB16, encoded
from syncgan.data.folders import load_class_folders
from syncgan.data.images import decode_image

__all__ = ["FAULTS"]

_MOST_GROWTH_MB = 64


# --- the corpus ------------------------------------------------------------------------------------------------------


def _every_kind(place: Path, _: int) -> Outcome:
    """Scan and decode one folder with every kind in it."""
    outcome, made = Outcome(), kinds()
    for name in ("a", "b"):
        (place / name).mkdir()
        for number in range(2):
            (place / name / f"plain{number}.png").write_bytes(encoded(RGB, "PNG"))
    for kind in made:
        kind.make(place / "a" / kind.file)
    dataset, skipped = load_class_folders(place)
    reasons = {error.path: error.reason for error in skipped}
    listed = any(note.startswith("ignored") and " entries such as " in note for note in dataset.notes)
    if listed:
        outcome.record(False, "notes are cut short: put fewer of one reason in a folder")
    for kind in made:
        outcome.record(*_came_out(kind, place, dataset.files, reasons, dataset.notes))
    return outcome


def _came_out(
    kind: Kind, place: Path, files: tuple[str, ...], reasons: dict[str, str], notes: tuple[str, ...]
) -> tuple[bool, str]:
    file = f"a/{kind.file}"
    read, left_out = file in files, reasons.get(file)
    if kind.ignored:
        named = repr(file.encode("utf-8", "backslashreplace").decode())
        noted = any(note.startswith("ignored") and kind.reason in note and named in note for note in notes)
        return noted and not read and left_out is None, f"{kind.name}: is not noted, but {read=} {left_out=}"
    if kind.pixels is None:
        told = left_out or ""
        kept = not read and kind.reason in told and "\n" not in told and str(place) not in told
        return kept, f"{kind.name}: expected {kind.reason!r}, got {left_out!r} {read=}"
    if not read:
        return False, f"{kind.name}: is not read ({left_out})"
    decoded = decode_image(place / file)
    if decoded.pixels.shape != kind.pixels.shape:
        return False, f"{kind.name}: has the shape {decoded.pixels.shape}"
    error = int(np.abs(decoded.pixels.astype(int) - kind.pixels).max())
    said = kind.reason in " ".join(decoded.notes) and bool(decoded.notes) == bool(kind.reason)
    return error <= kind.tolerance and said, f"{kind.name}: pixels differ by {error}, notes {decoded.notes}"


# --- mutations -------------------------------------------------------------------------------------------------------

_MUTATIONS = """
import logging, os, random, resource, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from faults.engine import DAMAGES, random_damage
from syncgan.data.images import image_kind, read_image, read_mask
from syncgan.errors import ImageReadError

logging.disable(logging.CRITICAL)
warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
source, first, last, checked = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
content, scratch = source.read_bytes(), source.with_name("scratch")
expected = read_image(source) if checked else None
for seed in range(first, last):
    print(seed, flush=True)
    signal.alarm(60)
    draw = random.Random(f"{source.name} {seed}")
    damaged = random_damage("overwritten bytes" if draw.random() < 0.5 else draw.choice(list(DAMAGES)), content, draw)
    scratch.write_bytes(damaged if draw.random() < 0.8 else damaged[: draw.randrange(len(damaged) + 1)])
    for reader in (read_image, read_mask, image_kind):
        try:
            found = reader(scratch)
        except ImageReadError as error:
            assert "\\n" not in error.reason and str(source.parent) not in error.reason, error.reason
        else:
            if reader is read_image:
                assert found.dtype.name == "uint8" and found.ndim == 3 and found.shape[2] == 3, found.shape
                assert expected is None or np.array_equal(found, expected), "other pixels"
            elif reader is read_mask:
                assert found.dtype.name == "uint8" and found.ndim == 2, found.shape
print("done")
"""


def _mutated(which: str, place: Path, tries: int) -> Outcome:
    """Damage one file in many ways in a child; a crash, a hang or a foreign exception ends it, another goes on."""
    source, outcome, first = place / "source", Outcome(), 0
    source.write_bytes(_sources(place)[which])
    while first < tries:
        done = in_own_process(_MUTATIONS, source, first, tries, which in _CHECKED, seconds=3600)
        *seen, last = done.stdout.split() or ["-1"]
        if last == "done":
            outcome.tries += tries - first
            break
        outcome.tries += int(last) + 1 - first
        outcome.lost.append(f"{which}: mutation {last} ended the child with {done.returncode}: {done.stderr[-300:]}")
        first = int(last) + 1
        if len(outcome.lost) > 5 or (not seen and last == "-1"):
            break
    return outcome


def _sources(place: Path) -> dict[str, bytes]:
    found = dict(DAMAGEABLE)
    for name, (values, options) in _TIFFS.items():
        tifffile.imwrite(place / "made.tif", values, **options)
        found[name] = (place / "made.tif").read_bytes()
    exif, palette = Image.Exif(), Image.fromarray(RGB).quantize(8)
    exif[274], exif[270] = 6, "turned"
    found["gif"] = encoded(RGB[..., 0], "GIF")
    found["jpeg with exif"] = encoded(RGB, "JPEG", exif=exif)
    found["cmyk jpeg"] = encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    found["palette png"] = encoded(palette, "PNG", transparency=3)
    found["jpeg tiff"] = encoded(RGB, "TIFF", compression="jpeg")
    found["tiff of several pages"] = encoded(palette, "TIFF", save_all=True, append_images=[palette])
    return found


_TIFFS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tiff16": (RGB16, {"photometric": "rgb"}),
    "tiff16 deflate": (RGB16, {"photometric": "rgb", "compression": "zlib"}),
    "tiff16 in tiles": (RGB16, {"photometric": "rgb", "tile": (16, 16)}),
    "tiff16 in planes": (np.moveaxis(RGB16, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
    "big tiff": (RGB16[..., 0], {"bigtiff": True}),
    "float tiff": ((RGB / 255).astype("f4"), {"photometric": "rgb"}),
}
_ENCODED = ("gif", "jpeg with exif", "cmyk jpeg", "palette png", "jpeg tiff", "tiff of several pages")
_FORMATS = (*DAMAGEABLE, *_TIFFS, *_ENCODED)
_CHECKED = ("png", "png16", "palette png")  # whose checksums cover every byte: what is read is what was written
_IN_SHORT = (*DAMAGEABLE, "tiff16", "tiff16 deflate", "gif")


# --- memory ----------------------------------------------------------------------------------------------------------

_BOMBS = """
import resource, sys, warnings
import tifffile, cv2
from syncgan.data.images import image_kind, read_image, read_mask
from syncgan.errors import ImageReadError

warnings.simplefilter("error")
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    reasons = []
    for reader in (read_image, read_mask, image_kind):
        try:
            reader(path)
        except ImageReadError as error:
            reasons.append(error.reason)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit // 10**6
    print(growth, len(reasons), reasons[0] if reasons else "was read")
"""


def _bombs(place: Path, _: int) -> Outcome:
    outcome, paths = Outcome(), bombs(place)
    done = in_own_process(_BOMBS, *paths)
    lines = done.stdout.splitlines()
    for at, path in enumerate(paths):
        told = lines[at] if at < len(lines) else f"ended with {done.returncode}: {done.stderr[-300:]}"
        growth = re.match(r"\d+", told)
        outcome.record(growth is not None and int(growth[0]) < _MOST_GROWTH_MB, f"{path.name}: {told}")
    return outcome


FAULTS = [
    Fault("R8", "a folder with every kind of file", "the right pixels, or one reason", _every_kind, 1, 1),
    *(
        Fault(
            "R8",
            f"damage to a {name}",
            f"{'the right ' * (name in _CHECKED)}pixels, or one reason; no crash, no hang",
            partial(_mutated, name),
            40 if name in _IN_SHORT else 0,
            2000,
        )
        for name in _FORMATS
    ),
    Fault("R9", "bombs", f"refused, or read, in less than {_MOST_GROWTH_MB} MB", _bombs, 1, 1),
]
