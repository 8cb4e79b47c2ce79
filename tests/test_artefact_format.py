"""The page on file formats lists the keys that files really have."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.evaluation.audit import audit

PROJECT = Path(__file__).resolve().parent.parent
PAGE = (PROJECT / "docs" / "artefact-format.md").read_text(encoding="utf-8")
FEW = ["mask_gan.generator=mosaic", "image_gan.steps=1", "image_gan.width=4", "filters.mask_plausibility=false"]


def rows(heading: str) -> dict[str, str]:
    """Return the table below a heading: first cell -> second cell."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {first.strip(): second.strip() for first, second in cells if "`" in first or "entry of" in first}


def names(cell: str) -> set[str]:
    """Return what stands in backticks, but for values in quotation marks."""
    return {name for name in re.findall(r"`([^`]+)`", cell) if not name.startswith('"')}


def keys(heading: str) -> set[str]:
    return set().union(*(names(first) for first in rows(heading)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artefacts")
    config = SynCGANConfig.preset("tiny").updated(FEW)
    augmenter = SynCGANAugmenter(config, device="cpu").fit(Phantom(4, image_size=32), run_dir=folder / "run")
    augmenter.export(folder / "synthetic", 2)
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_model(written: Path) -> None:
    manifest = read(written / "run" / "model" / "manifest.json")
    assert set(manifest) == keys("A model")
    assert set(next(iter(manifest["files"].values()))) == names(rows("A model")["`files`"])


def test_a_run(written: Path) -> None:
    assert {name.partition("/")[0] for name in keys("A run")} <= {path.name for path in (written / "run").iterdir()}
    run = read(written / "run" / "run.json")
    documented = names(rows("A run")["`run.json`"])
    assert set(run) | set(run["identity"]) == documented
    kinds = [read(path)["kind"] for path in written.glob("run/checkpoints/*/*/manifest.json")]
    assert kinds
    assert "augmenter" not in kinds


def test_an_export(written: Path) -> None:
    folder, page = written / "synthetic", rows("An export")
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    assert names(page["`manifest.csv`"]) - {"= + - @"} == set(columns)
    line = json.loads((folder / "images" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert names(page["`images/metadata.jsonl`"]) <= set(line)
    assert names(page["`export.json`"]) - {"check"} == set(read(folder / "export.json"))


@pytest.mark.skipif(not (PROJECT / "benchmarks" / "results").is_dir(), reason="no stored results beside the tests")
def test_a_benchmark() -> None:
    folder, page = PROJECT / "benchmarks" / "results" / "pbc_wbc4-12", rows("A benchmark")
    head = {"format", "format_version", "kind", "sha256"}
    described = read(folder / "benchmark.json")
    assert set(described) - head == {"identity", "record"} <= names(page["`benchmark.json`"])
    for part in ("identity", "record"):
        listed = re.search(rf"`{part}`: ([^;]+)", page["`benchmark.json`"]).group(1)
        assert {word.replace("configuration", "config") for word in listed.split(", ")} == set(described[part])
    split = read(folder / "splits" / "split-001.json")
    assert set(split) - head <= names(page["`splits/split-NNN.json`"])
    assert set(split["results"][0]) == names(page["an entry of `results`"])


def test_an_audit() -> None:
    images = torch.from_numpy(Phantom(12, image_size=32).image(0)).permute(2, 0, 1).repeat(24, 1, 1, 1)
    noise = torch.Generator().manual_seed(0)
    images = (images + torch.randint(0, 60, images.shape, generator=noise)).clamp(0, 255).to(torch.uint8)
    summary = audit(*images.split(8), pixels_only=True).summary()
    assert set(summary) == keys("An audit")
