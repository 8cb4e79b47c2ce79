"""Nobody in: no file runs code, no name from data becomes a path, markup or formula, nothing leaks or phones."""

from __future__ import annotations

import base64
import csv
import io
import os
import pickle
import re
import shutil
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from faults import artefacts
from faults.engine import Fault, Outcome, quiet
from faults.readables import READERS
from faults.writing import WRITERS
from small_games import objective, run, store
from syncgan import MaskExtractor, Phantom, SynCGANConfig
from syncgan.data.images import read_image
from syncgan.evaluation.mask_folder import extract_folder
from syncgan.evaluation.runs import fit_run
from syncgan.training.precision import Precision
from syncgan.training.state import TrainingState

__all__ = ["FAULTS", "HOSTILE"]

HOSTILE = (
    "=cmd|' -C calc'!A0",
    "+1+1",
    "-rf",
    "@SUM(A1)",
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<%2fscript>',
    "..x",
    "{{7*7}}",
    "${jndi:ldap:x}",
    "CON",
    "two\nlines",
    "🔬",
    "%2e%2e%2fx",
    "'; DROP TABLE x;--",
    "\x1b[2J",
    "\u202egnp.exe",
    "x" * 120,
)
_CANARY = "CANARY-7f3a"


# --- code in files ---------------------------------------------------------------------------------------------------


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self._mark,)


def _payloads(mark: Path) -> dict[str, bytes]:
    bomb, packed, archive = pickle.dumps(_Bomb(mark)), io.BytesIO(), io.BytesIO()
    np.save(packed, np.array([_Bomb(mark)], dtype=object), allow_pickle=True)
    torch.save(_Bomb(mark), archive)
    return {"a pickle": bomb, "an array of objects": packed.getvalue(), "a torch file": archive.getvalue()}


def _slots(place: Path) -> Iterator[_Slot]:
    """Yield every file that syncgan reads of its own, with what reads it."""
    for name, reader in READERS.items():
        folder = place / f"reader {name}"
        folder.mkdir()
        reader.make(folder)
        yield from _each_file(name, folder, reader.read)
    for name, writer in WRITERS.items():
        folder = place / f"writer {name}"
        folder.mkdir()
        writer.before(folder)
        writer.write(folder)
        yield from _each_file(name, folder, lambda at, writer=writer: (writer.read(at), writer.write(at)))
    for name, (make_model, load) in artefacts.MODELS.items():
        folder = place / f"model {name}"
        make_model(0).save(folder)
        yield from _each_file(name, folder, lambda at, load=load: load(at, device="cpu"))
    game, config = objective("mask")
    run(game, config, steps=2, checkpoints=store(place / "stage"))
    state = TrainingState.start(game, config, Precision("fp32", torch.device("cpu")).scaler)
    yield from _each_file("checkpoint", place / "stage", lambda at: store(at).restore(state))
    picture = place / "picture"
    picture.mkdir()
    (picture / "image.png").write_bytes(b"")
    yield from _each_file("an image", picture, lambda at: read_image(at / "image.png"))


_Slot = tuple[str, Path, Path, Callable[[Path], Any]]


def _each_file(name: str, folder: Path, read: Callable[[Path], Any]) -> Iterator[_Slot]:
    """Yield what it is, the folder that is read, one file in it, and the reader."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            yield f"{name}: {path.name}", folder, path.relative_to(folder), read


def _pickles(place: Path, tries: int) -> Outcome:
    mark, outcome = place / "it ran", Outcome()
    payloads = _payloads(mark)
    pickle.loads(payloads["a pickle"])  # noqa: S301 - the bomb works
    mark.rmdir()
    for number, (told, folder, file, read) in enumerate(_slots(place)):
        for kind, payload in list(payloads.items())[: tries or None]:
            copy = place / "copy"
            shutil.copytree(folder, copy)
            (copy / file).write_bytes(payload)
            with quiet("syncgan.training.checkpoint"), warnings.catch_warnings(), suppress(Exception):
                warnings.simplefilter("ignore")
                read(copy)
            outcome.record(not mark.exists(), f"{number} {told}: {kind} ran")
            if mark.exists():
                mark.rmdir()
            shutil.rmtree(copy)
    return outcome


# --- a whole run on hostile data -------------------------------------------------------------------------------------


def _hostile_data(data: Path) -> None:
    """Write class folders of hostile names, with images under such names, marked in every kind of metadata."""
    phantom = Phantom(len(HOSTILE), image_size=32)
    for index, name in enumerate(HOSTILE):
        (data / name).mkdir(parents=True)
        file = HOSTILE[-1 - index][:60].lstrip(".")  # a hidden file would not be read
        for number in range(2):
            _marked(phantom.image(index * 2 % len(phantom) + number), data / name / f"{file}{number}")


def _marked(pixels: Any, path: Path) -> None:
    image, exif, text = Image.fromarray(pixels), Image.Exif(), PngImagePlugin.PngInfo()
    for tag in (270, 315, 33432, 37510):  # description, artist, copyright, comment
        exif[tag] = _CANARY
    exif.get_ifd(0x8825)[29] = _CANARY  # date of the position
    text.add_text("Comment", _CANARY)
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{_CANARY}</x:xmpmeta>")
    kind = len(path.name) % 3
    if kind == 0:
        image.save(f"{path}.png", pnginfo=text, exif=exif)
    elif kind == 1:
        image.save(f"{path}.jpg", exif=exif, quality=100, comment=_CANARY)
    else:
        image.save(f"{path}.tif", exif=exif, tiffinfo={270: _CANARY})


@contextmanager
def _no_network() -> Iterator[list[Any]]:
    """Refuse and note every attempt to reach another machine."""
    asked: list[Any] = []
    originals = {name: getattr(socket, name) for name in ("getaddrinfo", "create_connection")}

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments)
        raise OSError("no network here")

    try:
        for name in originals:
            setattr(socket, name, refuse)
        yield asked
    finally:
        for name, original in originals.items():
            setattr(socket, name, original)


def _whole_run(place: Path, _: int) -> Outcome:
    """Fit, report, export and segment hostile data; look at every file that is left."""
    _hostile_data(place / "data")
    before = set(place.rglob("*"))
    config = SynCGANConfig.preset("tiny").updated(
        [*artefacts.SETTINGS, "extractor.segmenter=otsu", "image_gan.steps=2"]
    )
    with _no_network() as asked, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fit_run(place / "data", place / "run", config=config, device="cpu", thumbnails=True)
        result.augmenter.export(place / "out", 1)
        otsu = MaskExtractor("otsu")
        extract_folder(place / "data", place / "masks", extractor=otsu, report=True, thumbnails=True)
    outcome = Outcome()
    outcome.record(not asked, f"asked for {asked[:3]}")
    page = "" if result.report is None else result.report.read_text(encoding="utf-8")
    outcome.record(len(_EMBEDDED.findall(page)) > len(HOSTILE), "there is no report with pictures")
    visible = sorted(name for name in HOSTILE if not name.startswith("."))
    outcome.record(sorted(result.classes) == visible, f"the classes are {result.classes}")
    for path in sorted(set(place.rglob("*")) - before):
        inside = any(path.is_relative_to(place / name) for name in ("run", "out", "masks"))
        outcome.record(inside, f"{path} is outside")
        if path.is_file():
            outcome.record(*_harmless(path, place))
    return outcome


def _harmless(path: Path, place: Path) -> tuple[bool, str]:
    data, told = path.read_bytes(), str(path.relative_to(place))
    if _CANARY.encode() in data:
        return False, f"{told}: holds metadata of an input"
    if str(place).encode() in data and path.name != ".owner":
        return False, f"{told}: holds a path of this machine"
    if path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
            return set(picture.info) <= {"dpi"}, f"{told}: holds {picture.info}"
    if path.suffix == ".csv":
        cells = [cell for row in csv.reader(io.StringIO(data.decode())) for cell in row]
        formulas = [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell and not _is_number(cell)]
        return not formulas, f"{told}: holds the cells {formulas}"
    if path.suffix == ".html":
        text = data.decode()
        marked = [name for name, picture in _pictures(text) if picture.info.keys() - {"dpi", *_OF_JFIF}]
        if marked or _CANARY.encode() in b"".join(map(base64.b64decode, _EMBEDDED.findall(text))):
            return False, f"{told}: holds metadata in pictures {marked}"
        bad = [tag for tag in ("<script", "<img src=x", "://", "javascript:") if tag in text]
        return not bad and "default-src 'none'" in text, f"{told}: holds {bad}"
    return not zipfile.is_zipfile(path) and not data.startswith(b"\x80"), f"{told}: may be a pickle"


_EMBEDDED = re.compile(r"data:[a-z/]+;base64,([A-Za-z0-9+/=]+)")
_OF_JFIF = ("jfif", "jfif_version", "jfif_unit", "jfif_density")


def _pictures(text: str) -> Iterator[tuple[int, Image.Image]]:
    """Yield the pictures inside a page; what is none is an error."""
    for number, content in enumerate(_EMBEDDED.findall(text)):
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            picture.load()
            yield number, picture


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        return float(cell) is not None
    return False


FAULTS = [
    Fault("S", "a pickle, object array or torch file in the place of any file", "no code runs", _pickles, 1, 0),
    Fault(
        "S",
        f"{len(HOSTILE)} hostile names of classes and files, marked metadata",
        "every file left is inside, without markup, formula, mark or path; no network",
        _whole_run,
        0,
        1,
    ),
]
