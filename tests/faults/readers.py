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

from faults import artefacts, writing
from faults.engine import DAMAGES, Fault, Outcome, random_damage, seeds
from image_files import RGB, encoded
from syncgan import MaskGAN, MaskToImageCGAN, SynCGANAugmenter, SynCGANConfig
from syncgan.data.export import merge_export
from syncgan.data.folders import read_groups
from syncgan.errors import SyncganError
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.mask_rows import RowStore
from syncgan.evaluation.runs import load_run_data
from syncgan.registry import Registry
from syncgan.storage import sha256
from syncgan.training.run_folder import RunFolder

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


# --- what is read ----------------------------------------------------------------------------------------------------


def _file(name: str, content: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        (place / name).write_text(content, encoding="utf-8")
        return place / name

    return make


def _made(writer: str, pattern: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        found = writing.WRITERS[writer]
        found.before(place)
        found.write(place)
        return sorted(place.glob(pattern))[0]

    return make


def _shard(place: Path) -> Path:
    writing._export(place, shard=(1, 2))
    return next((place / "out" / "rows").iterdir())


def _model(which: str) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        artefacts.MODELS[which][0](0).save(place / "model")
        return place / "model" / "manifest.json"

    return make


def _masks(place: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        for folder in ("data", "masks"):
            (place / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (place / folder / name).write_bytes(encoded(RGB if folder == "data" else RGB[..., 0] // 255, "PNG"))
    lines = [f"{name},{name}" for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png")]
    return _file("masks/masks.csv", "\n".join(["file,mask", *lines, ""]))(place)


def _read_run(place: Path) -> None:
    with RunFolder(place / "run").claim({"seed": 1}, SynCGANConfig(), resume=True, record={}, items={"a": "1"}):
        pass


def _read_log(place: Path) -> None:
    run = RunFolder(place / "run")
    run.record({"stage": "s", "step": 5, "event": "validated"})
    run.record({"stage": "s", "step": 2, "event": "rolled_back"})
    if run.stats()[-1]["event"] != "rolled_back":
        raise AssertionError("the last line is not the one just written")


_GROUPS = 'file,patient\na/1.png,p1\na/2.png,"p,2"\nb/1.png,p3\n'
_EXPORT = partial(_made, "an export")

READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "config.toml": (_file("c.toml", SynCGANConfig().to_toml()), lambda place: SynCGANConfig.load(place / "c.toml")),
    "config.json": (_file("c.json", SynCGANConfig().to_json()), lambda place: SynCGANConfig.load(place / "c.json")),
    "groups.csv": (
        _file("groups.csv", _GROUPS),
        lambda place: read_groups(place / "groups.csv", "patient", ["a/1.png", "b/1.png"]),
    ),
    "masks.csv": (_masks, lambda place: load_run_data(place / "data", masks=place / "masks")),
    "run.json": (_made("the start of a run", "run/run.json"), _read_run),
    "stats.jsonl": (_made("the start of a run", "run/stats.jsonl"), _read_log),
    "export.json": (_EXPORT("out/export.json"), lambda place: merge_export(place / "out")),
    "rows of an export": (_shard, writing._export),
    "export.json of a resumed export": (_EXPORT("out/export.json"), writing._export),
    "benchmark.json": (
        _made("a split of a benchmark", "benchmark/benchmark.json"),
        lambda place: BenchmarkStore(place / "benchmark").splits(),
    ),
    "split of a benchmark": (
        _made("a split of a benchmark", "benchmark/splits/*.json"),
        lambda place: BenchmarkStore(place / "benchmark").splits(),
    ),
    "rows of masks": (
        _made("rows of masks", "masks/parts/[0-9a-f]*.json"),
        lambda place: RowStore(place / "masks").rows(),
    ),
    "store.json": (_made("synthetic items", "items/store.json"), partial(writing._items, top=2)),
    "numbers of synthetic items": (_made("synthetic items", "items/numbers.npy"), partial(writing._items, top=2)),
    "pixels of synthetic items": (_made("synthetic items", "items/images.npy"), partial(writing._items, top=2)),
    "mask in the cache": (_made("a mask in the cache", "cache/*.png"), partial(writing._cached, value=None)),
}
RESEALED = {
    "mask GAN": lambda place: MaskGAN.load(place / "model", device="cpu"),
    "renderer": lambda place: MaskToImageCGAN.load(place / "model", device="cpu"),
    "whole model": lambda place: SynCGANAugmenter.load(place / "model", device="cpu"),
}


# --- damage ----------------------------------------------------------------------------------------------------------


def _try(name: str, place: Path, tries: int) -> Outcome:
    make, read = READERS[name]
    start = place / "start"
    start.mkdir()
    victim = make(start).relative_to(start)
    original = (start / victim).read_bytes()
    read(_copy(start, place))  # undamaged it is read
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
    path = _model(which)(place)
    original, outcome = path.read_bytes(), Outcome()
    for draw in seeds(tries, which):
        path.write_bytes(_resealed(original, draw))
        outcome.record(*_understood(RESEALED[which], place, which))
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


_KEPT = "understood, or refused by an error of ours"

FAULTS = [
    *(Fault("R6", f"damage to {name}", _KEPT, partial(_try, name), 20, 500) for name in READERS),
    *(
        Fault(
            "R6",
            f"other values in a manifest of a {which} that are sealed anew",
            _KEPT,
            partial(_reseal, which),
            20,
            500,
        )
        for which in RESEALED
    ),
    Fault("S", "odd values to --set", "taken, or refused by an error of ours", _assignments, 60, 2000),
    Fault("S", "damage to a plug-in's metadata", "built-ins work; nothing is imported", _plugins, 40, 500),
]
