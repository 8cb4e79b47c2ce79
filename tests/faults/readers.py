"""R6: whatever is in a file that syncgan reads, it is understood or refused by an error of ours; nothing runs."""

from __future__ import annotations

import json
import random
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from faults.engine import DAMAGES, Fault, Outcome, quiet, random_damage, seeds
from faults.readables import NOTHING, READERS, RESEALED
from syncgan import SynCGANConfig
from syncgan.errors import SyncganError
from syncgan.registry import Registry
from syncgan.storage import sha256

__all__ = ["FAULTS"]

_ODD = (None, True, -1, 2**70, 1e308, "", "\ud800", "../..", "x" * 5000, [], {}, [[]], {"a": {}}, [None] * 3)


def _damaged_json(data: bytes, draw: random.Random) -> bytes:
    """Return JSON of which one part, wherever it is, is another, missing, or of another kind."""
    whole = json.loads(data)
    place = whole
    while True:
        keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return json.dumps(draw.choice(_ODD)).encode()
        key = draw.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and draw.random() < 0.7:
            place = place[key]
            continue
        if draw.random() < 0.3:
            del place[key]
        else:
            place[key] = draw.choice(_ODD)
        return json.dumps(whole).encode()


def _resealed(data: bytes, draw: random.Random) -> bytes:
    """Return a manifest that was changed by someone who knows how to seal it."""
    content = json.loads(_damaged_json(data, draw))
    if not isinstance(content, dict):
        return json.dumps(content).encode()
    content.pop("manifest_sha256", None)
    body = json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return json.dumps({**content, "manifest_sha256": sha256(body)}).encode()


# --- damage ----------------------------------------------------------------------------------------------------------


def _try(name: str, place: Path, tries: int) -> Outcome:
    reader, start = READERS[name], place / "start"
    start.mkdir()
    victim = reader.make(start).relative_to(start)
    original = (start / victim).read_bytes()
    expected = reader.read(_copy(start, place))

    def read(folder: Path) -> None:
        found = reader.read(folder)
        if reader.sealed and found != expected and found != NOTHING:
            raise AssertionError(f"was taken for what was written: {found}")

    outcome, kinds = Outcome(), [*DAMAGES, *(["another value"] if _is_json(original) else [])]
    for draw in seeds(tries, name):
        kind = draw.choice(kinds)
        damaged = _damaged_json(original, draw) if kind == "another value" else random_damage(kind, original, draw)
        copy = _copy(start, place)
        (copy / victim).write_bytes(damaged)
        outcome.record(*_understood(read, copy, f"{name}, {kind}"))
    return outcome


def _copy(start: Path, place: Path) -> Path:
    shutil.rmtree(place / "try", ignore_errors=True)
    return Path(shutil.copytree(start, place / "try"))


def _is_json(data: bytes) -> bool:
    with suppress(ValueError):
        return isinstance(json.loads(data), dict | list)
    return False


def _understood(read: Callable[[Path], Any], folder: Path, told: str) -> tuple[bool, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(folder)
    except SyncganError as error:
        return bool(str(error)), told
    except Exception as error:
        return False, f"{told}: {error!r}"[:300]
    return True, told


def _reseal(which: str, place: Path, tries: int) -> Outcome:
    make, read = RESEALED[which]
    path = make(place)
    original, outcome = path.read_bytes(), Outcome()
    for draw in seeds(tries, which):
        path.write_bytes(_resealed(original, draw))
        with quiet("syncgan.training.checkpoint"):
            outcome.record(*_understood(read, place, which))
    return outcome


def _assignments(_: Path, tries: int) -> Outcome:
    """Give ``--set`` keys with values of every form."""
    outcome, tree = Outcome(), SynCGANConfig().model_dump(mode="json")
    values = [
        "nan",
        "-inf",
        "9" * 5000,
        "[" * 5000,
        "{",
        "{a={b=1}}",
        "\ud800",
        "''",
        "1979-05-27",
        "true",
        "-1",
        "[1,'a']",
    ]
    for draw in seeds(tries, "assignments"):
        section = draw.choice(list(tree))
        keys = list(tree[section]) if isinstance(tree[section], dict) else []
        key = ".".join([section, *draw.sample(keys, min(len(keys), draw.randrange(3)))])
        text = f"{key}={draw.choice(values)}"
        outcome.record(*_understood(lambda _, text=text: SynCGANConfig().updated([text]).to_toml(), Path(), text[:80]))
    return outcome


# --- plug-ins --------------------------------------------------------------------------------------------------------


def _plugins(place: Path, tries: int) -> Outcome:
    """Damage the metadata of an installed plug-in; the built-ins are there, nothing is imported unasked."""
    folder = place / "red_nuclei-1.2.dist-info"
    folder.mkdir()
    (place / "plugin_canary.py").write_text(f"open({str(place / 'imported')!r}, 'w')\ndef red(image): return image\n")
    metadata = "Metadata-Version: 2.1\nName: red-nuclei\nVersion: 1.2\n"
    points = "[syncgan.segmenters]\nred = plugin_canary:red\n"
    sys.path.insert(0, str(place))
    outcome = Outcome()
    try:
        for draw in seeds(tries, "plug-ins"):
            victim, content = draw.choice([("METADATA", metadata), ("entry_points.txt", points)])
            (folder / "METADATA").write_text(metadata)
            (folder / "entry_points.txt").write_text(points)
            (folder / victim).write_bytes(random_damage(draw.choice(list(DAMAGES)), content.encode(), draw))
            told = f"{victim}: {(folder / victim).read_bytes()!r}"[:200]
            with quiet("syncgan.registry"):
                outcome.record(*_understood(_list_plugins, place, told))
            imported = (place / "imported").exists()
            if imported:
                outcome.lost.append(f"{told}: was imported")
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("plugin_canary", None)
    return outcome


def _list_plugins(_: Path) -> None:
    registry = Registry(
        "segmenter", group="syncgan.segmenters", builtins={"otsu": "syncgan.segmentation.otsu:MultiOtsuSegmenter"}
    )
    if "otsu" not in registry.names():
        raise AssertionError("a built-in is not there")
    repr(registry)
    with suppress(SyncganError):
        registry.require("gmm")
    registry.get("otsu")


_NOTICED = "refused, or exactly what was written"
_KEPT = "understood, or refused by an error of ours"

FAULTS = [
    *(
        Fault("R6", f"damage to {name}", _NOTICED if reader.sealed else _KEPT, partial(_try, name), reader.short, 500)
        for name, reader in READERS.items()
    ),
    *(
        Fault(
            "R6",
            f"other values in the manifest of a {which}, sealed anew",
            _KEPT,
            partial(_reseal, which),
            20,
            500,
        )
        for which in RESEALED
    ),
    Fault("S", "odd values to --set", "taken, or refused by an error of ours", _assignments, 60, 2000),
    Fault("S", "damage to a plug-in's metadata", "built-ins work; nothing is imported", _plugins, 15, 500),
]
