"""What a run's log holds after a return to an earlier state, and how long a fit will still take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from syncgan.errors import ArtefactError
from syncgan.training.clock import Progress
from syncgan.training.events import Forecast
from syncgan.training.run_folder import RunFolder


def progress(stage: str, step: int, seconds_left: float = 0.0) -> Progress:
    return Progress(
        stage=stage,
        step=step,
        total=9,
        losses={"generator": 1.0},
        images_per_second=1.0,
        seconds_left=seconds_left,
        seconds=0.0,
        peak_memory_mb=0.0,
    )


def event(name: str, step: int, stage: str = "image_gan", **details: Any) -> dict[str, Any]:
    return {"stage": stage, "event": name, "step": step, **details}


def test_after_a_return_losses_and_scores_of_what_was_undone_are_gone_and_what_happened_stays(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.record(event("validated", 8, stage="other", validation={}))
    for step in (2, 4, 6):
        run.log(progress("image_gan", step))
        run.record(event("validated", step, validation={"generator": 1.0}))
    run.record(event("skipped", 7, skipped=3))
    run.record(event("rolled_back", 4, failed_at=7, attempt=1))
    run.record(event("validated", 6, validation={"generator": 2.0}))
    lines = [line for line in run.stats() if line["stage"] == "image_gan"]
    kinds = [(line.get("event", "losses"), line["step"]) for line in lines]
    assert kinds == [
        ("losses", 2),
        ("validated", 2),
        ("losses", 4),
        ("validated", 4),
        ("skipped", 7),
        ("rolled_back", 4),
        ("validated", 6),
    ]
    assert lines[-1]["validation"] == {"generator": 2.0}
    assert len(run.stats()) == len(lines) + 1


def test_the_time_left_is_that_of_the_stage_and_of_all_that_have_not_begun() -> None:
    forecast = Forecast({"mask_gan/a": 10, "mask_gan/b": 20}, {"mask_gan/a": 1.0, "mask_gan/b": 2.0})
    assert forecast.seconds_left() == pytest.approx(50)
    assert forecast.seconds_left(progress("of its own", 1, 7.0)) == pytest.approx(57)
    assert forecast.seconds_left(progress("mask_gan/a", 5, 4.0)) == pytest.approx(44)
    assert forecast.seconds_left(progress("mask_gan/b", 5, 3.0)) == pytest.approx(3)
    assert forecast.seconds_left(progress("image_gan", 1, 7.0)) == pytest.approx(7)


def test_damaged_lines_of_the_log_are_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log(progress("image_gan", 2))
    run.record(event("stopped", 4, reason="saturated", kept_step=4))
    whole = run.stats()
    loss, stopped = (json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines())
    damaged: list[Any] = [{**loss, key: "x"} for key in loss if key not in ("stage", "total")]
    damaged += [{**loss, "step": value} for value in (True, -1, 2**70, 1.5)] + [{**loss, "loss_generator": 2**70}]
    damaged += [{**stopped, "reason": 1}, {**stopped, "kept_step": None}, {**stopped, "event": []}, [], None]
    damaged += [event("validated", 3), event("validated", 3, validation={"generator": "low"})]
    lines = [loss, *damaged, stopped]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "image')
    assert len(whole) == 2
    assert run.stats() == whole


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"identity": [], "items": {}}', '{"identity": {}, "items": {"a": []}}']
)
def test_a_damaged_description_of_a_run_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"run\.json: is damaged"):
        _ = RunFolder(tmp_path).identity
