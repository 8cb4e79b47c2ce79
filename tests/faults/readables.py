"""What syncgan reads of its own: how each is made in an empty folder, and how it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faults import artefacts, writing
from image_files import RGB, encoded
from small_games import CPU, objective, run, store
from syncgan import MaskGAN, MaskToImageCGAN, SynCGANAugmenter, SynCGANConfig
from syncgan.data.export import merge_export
from syncgan.data.folders import read_groups
from syncgan.data.images import encode_png
from syncgan.evaluation.audit import Audit, ClosestPair, Control, Nearness
from syncgan.evaluation.audit.rates import Interval
from syncgan.evaluation.audit.showing import audit_tables
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.mask_rows import RowStore
from syncgan.evaluation.report import FactTable, FigureEntry, Reasons, Section
from syncgan.evaluation.reporting.judged import read_audit
from syncgan.evaluation.reporting.kept import keep, kept_sections, write_figures
from syncgan.evaluation.runs import load_run_data
from syncgan.evaluation.training_figures import speed_and_memory, stopping_sentence, training_figures
from syncgan.training.precision import Precision
from syncgan.training.run_folder import RunFolder
from syncgan.training.state import TrainingState

__all__ = ["NOTHING", "READERS", "RESEALED", "Reader"]

NOTHING = "nothing there"
"""What a reader of a cache returns where it finds nothing that it can use."""


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
    log = RunFolder(place / "run")
    log.record({"stage": "s", "step": 5, "event": "validated", "validation": {}})
    log.record({"stage": "s", "step": 2, "event": "rolled_back"})
    if log.stats()[-1]["event"] != "rolled_back":
        raise AssertionError("the last line is not the one just written")


def _log_of_a_run(place: Path) -> Path:
    lines: list[dict[str, Any]] = []
    for step in (2, 4):
        measured = {"images_per_second": 9.5, "seconds": 2.0 * step, "peak_memory_mb": 321.5}
        losses = {"loss_discriminator": 0.7 / step, "loss_generator_adversarial": 1.5, "loss_generator": 1.5}
        lines.append({"step": step, "total": 4, **losses, **measured})
        lines.append({"step": step, "event": "validated", "validation": {"generator": 1.0 / step}})
    lines.append({"step": 4, "event": "stopped", "reason": "all steps done", "kept_step": 4})
    lines = [{"stage": "image_gan", **line} for line in lines]
    return _file("stats.jsonl", "".join(json.dumps(line) + "\n" for line in lines))(place)


def _draw_log(place: Path) -> None:
    """Read what a report says of a training."""
    _drawn(json.dumps(RunFolder(place).stats()))


@cache  # most damage leaves out a line, and there are few lines
def _drawn(log: str) -> None:
    stats = json.loads(log)
    speed_and_memory(stats, on_gpu=False)
    for stage in {line["stage"] for line in stats}:
        stopping_sentence([line for line in stats if line["stage"] == stage])
    training_figures(stats, {"a": "a"}, None)


def _report(place: Path) -> Path:
    figure = FigureEntry("Data", "One", "Read it so.", encode_png(RGB), "one.png")
    table = FactTable("Counts", ("class", "images"), (("a", "3"), ("b", "2")), "As they were read.")
    reasons = (Reasons("Left out", {"a/1.png": "is empty"}),)
    section = Section(
        "data", "Data", "5 images.", tables=(table,), figures=(figure,), notes=("A note.",), reasons=reasons
    )
    write_figures(place, [section], {})
    keep(place, [section], data="d", model="m")
    return place / "report.json"


def _kept(place: Path) -> Any:
    found = kept_sections(place, data="d", model="m")
    pixels = [Image.open(io.BytesIO(figure.png)).tobytes() for section in found.values() for figure in section.figures]
    return [section.verdict for section in found.values()], pixels


def _audit(place: Path) -> Path:
    distances, half = np.linspace(0.1, 1, 9), Interval(0.4, 0.6)
    space = Nearness(
        "pixels", "alike", {"a": 0.5}, 3, 0.3, half, 0.05, 0.2, 0.1, 0.9, 0.8, 0.5, half, (1,), 0.3, True,
        distances, distances,
    )  # fmt: skip
    pair = ClosestPair("pixels", 1, 2, 0, 0.1, 0.5)
    found = Audit(
        "copies", "a verdict", ("a note",), 9, 9, 9, "held-out images", (space,), (1,), 2,
        Control(4, {"pixels": 1.0}, True, 4, False), (pair,), {1: 2},
    )  # fmt: skip
    return _file("audit.json", json.dumps(found.summary()))(place)


def _training(place: Path) -> Path:
    benchmark = BenchmarkStore(place / "benchmark")
    benchmark.begin({"seed": 1}, {}, resume=False)
    benchmark.keep_training(7, 0, 0, {"score": 0.5, "probabilities": [[0.25, 0.75]]})
    return next((place / "benchmark" / "work").rglob("*.json"))


_GROUPS = 'file,patient\na/1.png,p1\na/2.png,"p,2"\nb/1.png,p3\n'
_EXPORT = partial(_made, "an export")


@dataclass(frozen=True)
class Reader:
    """Something that syncgan reads.

    Attributes
    ----------
    make : leaves it in an empty folder, and returns the file to damage.
    read : reads it in that folder, or in a copy.
    sealed : it has a checksum, so it is refused, or what is read is exactly what was written.
    short : tries in the tests.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool = False
    short: int = 20


READERS = {
    "config.toml": Reader(
        _file("c.toml", SynCGANConfig().to_toml()), lambda place: SynCGANConfig.load(place / "c.toml")
    ),
    "config.json": Reader(
        _file("c.json", SynCGANConfig().to_json()), lambda place: SynCGANConfig.load(place / "c.json")
    ),
    "groups.csv": Reader(
        _file("groups.csv", _GROUPS),
        lambda place: read_groups(place / "groups.csv", "patient", ["a/1.png", "b/1.png"]),
    ),
    "masks.csv": Reader(_masks, lambda place: load_run_data(place / "data", masks=place / "masks")),
    "run.json": Reader(_made("the start of a run", "run/run.json"), _read_run),
    "stats.jsonl": Reader(_made("the start of a run", "run/stats.jsonl"), _read_log),
    "stats.jsonl of a report": Reader(_log_of_a_run, _draw_log, short=6),
    "report.json": Reader(_report, _kept),
    "picture of a report": Reader(lambda place: _report(place).parent / "figures" / "one.png", _kept, sealed=True),
    "audit.json": Reader(_audit, lambda place: audit_tables(read_audit(place / "audit.json"))),
    "export.json": Reader(_EXPORT("out/export.json"), lambda place: merge_export(place / "out")),
    "rows of an export": Reader(_shard, writing._export),
    "export.json of a resumed export": Reader(_EXPORT("out/export.json"), writing._export),
    "benchmark.json": Reader(
        _made("a split of a benchmark", "benchmark/benchmark.json"),
        lambda place: BenchmarkStore(place / "benchmark").splits(),
        sealed=True,
    ),
    "split of a benchmark": Reader(
        _made("a split of a benchmark", "benchmark/splits/*.json"),
        lambda place: BenchmarkStore(place / "benchmark").splits(),
        sealed=True,
    ),
    "training of a benchmark": Reader(
        _training, lambda place: BenchmarkStore(place / "benchmark").training(7, 0, 0), sealed=True
    ),
    "rows of masks": Reader(
        _made("rows of masks", "masks/parts/[0-9a-f]*.json"), lambda place: RowStore(place / "masks").rows()
    ),
    "settings of masks": Reader(
        _made("rows of masks", "masks/parts/settings.json"),
        lambda place: RowStore(place / "masks").claim({"levels": 2}),
    ),
    "store.json": Reader(_made("synthetic items", "items/store.json"), partial(writing._items, top=2)),
    "numbers of synthetic items": Reader(_made("synthetic items", "items/numbers.npy"), partial(writing._items, top=2)),
    "pixels of synthetic items": Reader(_made("synthetic items", "items/images.npy"), partial(writing._items, top=2)),
    "scores of synthetic items": Reader(_made("synthetic items", "items/scores.npy"), partial(writing._items, top=2)),
    "mask in the cache": Reader(
        _made("a mask in the cache", "cache/*.png"),
        lambda place: writing._cached(place, value=None) or NOTHING,
        sealed=True,
    ),
}


def _load(kind: Any) -> Callable[[Path], Any]:
    return lambda place: kind.load(place / "model", device="cpu")


def _checkpoint(place: Path) -> Path:
    run(*objective("mask"), steps=2, checkpoints=store(place / "stage", keep=1))
    return place / "stage" / "step-00000002" / "manifest.json"


def _restore(place: Path) -> bool:
    return store(place / "stage").restore(TrainingState.start(*objective("mask"), Precision("fp32", CPU).scaler))


RESEALED = {
    "mask GAN": (_model("mask GAN"), _load(MaskGAN)),
    "renderer": (_model("renderer"), _load(MaskToImageCGAN)),
    "whole model": (_model("whole model"), _load(SynCGANAugmenter)),
    "checkpoint": (_checkpoint, _restore),
}
