"""Training in two processes: the same gradients as one, the same state in both, and what happens when one dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from syncgan.errors import ConfigError
from syncgan.training.distributed import Ranks
from syncgan.training.launch import is_main_process


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_processes")
    script = Path(__file__).with_name("two_processes.py")
    subprocess.run([sys.executable, script, folder], check=True, timeout=250)
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["mask", "image"])
@pytest.mark.parametrize("label", ["plain", "parts"])
def test_two_processes_have_the_gradients_of_one(done: Path, kind: str, label: str) -> None:
    one = load_file(done / f"one-{label}-{kind}-0.safetensors")
    for rank in (0, 1):
        two = load_file(done / f"two-{label}-{kind}-{rank}.safetensors")
        assert one.keys() == two.keys()
        for part in ("generator", "discriminator"):
            expected, got = (
                torch.cat([x[key].flatten() for key in sorted(x) if key.startswith(part)]) for x in (one, two)
            )
            assert float((got - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("kind", ["mask", "image"])
def test_both_processes_end_in_the_same_state_and_only_the_first_reports(done: Path, kind: str) -> None:
    first, second = (load_file(done / f"whole-{kind}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    first_told, second_told = (read(done / f"whole-{kind}-{rank}.json") for rank in (0, 1))
    assert first_told["numbers"]["history"] == second_told["numbers"]["history"]
    assert first_told["numbers"]["skips"][0] == second_told["numbers"]["skips"][0] == 1
    assert (first_told["lines"], second_told["lines"]) == (3, 0)


def test_when_one_dies_the_other_leaves_with_a_clear_error_and_a_resumable_run(done: Path) -> None:
    codes = read(done / "codes.json")
    assert codes["killed"] == [3, -9]
    told = read(done / "killed-0.json")
    assert "another process died or did not answer" in told["error"]
    assert "--resume" in told["error"]
    assert told["seconds"] < 25
    assert codes["resumed"] == [0, 0]
    resumed, undisturbed = ((done / name / "step-00000006" / "manifest.json") for name in ("killed", "undisturbed"))
    assert read(resumed)["files"] == read(undisturbed)["files"]


def test_a_signal_to_one_process_stops_both_at_the_same_step(done: Path) -> None:
    assert read(done / "codes.json")["stopped"] == [143, 143]
    assert [path.name for path in (done / "stopped").glob("step-*")] == ["step-00000004"]


def test_a_batch_that_cannot_be_shared_evenly_is_refused(done: Path) -> None:
    assert "multiple of 2" in (done / "uneven-0.txt").read_text()
    with pytest.raises(ConfigError, match="multiple of 3"):
        Ranks(rank=1, world=3).slice_of(16)
    assert [Ranks(rank, 4).slice_of(16) for rank in range(4)] == [(0, 4), (4, 8), (8, 12), (12, 16)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_group_that_is_there_says_which_process_writes(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    assert is_main_process() is (rank == 0)
