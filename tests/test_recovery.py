"""What a training survives: losses that are not finite, full memory, signals; and that parts of a batch equal it."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_games import CPU, ITEMS, objective, run, store, weights
from syncgan.errors import ConfigError, TrainingError
from syncgan.training.batches import batch_length, cut, parts_of
from syncgan.training.objectives import ImageBatch
from syncgan.training.precision import Precision
from syncgan.training.state import TrainingState


class Poison:
    """Makes a loss NaN at chosen draws, however often they are tried."""

    def __init__(self, game: Any, name: str, bad: Any) -> None:
        self.original = getattr(game, name)
        self.bad = bad
        setattr(game, name, self)

    def __call__(self, batch: Any, fake: Tensor) -> Any:
        loss = self.original(batch, fake)
        if not self.bad(batch.step):
            return loss
        if isinstance(loss, dict):
            return {name: term * math.nan for name, term in loss.items()}
        return (term + math.inf for term in loss)


# --- parts of a batch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mask", "image"])
@pytest.mark.parametrize("parts", [2, 4, 6])
def test_training_in_parts_equals_training_on_whole_batches(kind: str, parts: int) -> None:
    whole = run(*objective(kind))
    cut_up = run(*objective(kind), training={"accumulation": parts})
    assert torch.allclose(weights(whole), weights(cut_up), rtol=1e-5, atol=1e-7)
    assert whole.history == pytest.approx(cut_up.history, rel=1e-5)


def test_a_batch_is_cut_without_losing_or_repeating_an_item() -> None:
    batch = objective("mask")[0].draw(3)
    for parts in (1, 2, 4, 6, 9):
        pieces = list(parts_of(batch, parts))
        assert sum(share for _, share in pieces) == pytest.approx(1.0)
        assert torch.equal(torch.cat([piece.real_target for piece, _ in pieces]), batch.real_target)
        assert torch.equal(torch.cat([piece.noise for piece, _ in pieces]), batch.noise)
        assert [batch_length(piece) / ITEMS for piece, _ in pieces] == [share for _, share in pieces]
    conditioned = ImageBatch(0, torch.zeros(3, 1), torch.zeros(3, 1), {"label": torch.arange(3)}, None)
    assert cut(conditioned, 1, 3).conditions["label"].tolist() == [1, 2]


def test_d_takes_several_steps_for_one_of_g_each_on_a_batch_of_its_own() -> None:
    game, config = objective("mask", discriminator_steps=3)
    seen: list[int] = []
    original = game.discriminator_losses
    game.discriminator_losses = lambda batch, fake: (seen.append(batch.step), original(batch, fake))[1]
    run(game, config, steps=2)
    assert seen == [0, 1, 2, 3, 4, 5]


# --- losses that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["discriminator_losses", "generator_losses"])
def test_a_step_whose_loss_is_not_finite_changes_no_weights_of_its_network_nor_the_average(name: str) -> None:
    before = run(*objective("mask"), steps=3)
    game, config = objective("mask")
    Poison(game, name, lambda step: step == 3)
    after = run(game, config, steps=4)
    groups = ["generator", "generator_optimiser", "ema"]
    if name == "discriminator_losses":
        groups += ["discriminator", "discriminator_optimiser"]
    for group in groups:
        for key, value in before.tensors()[group].items():
            assert torch.equal(value, after.tensors()[group][key]), (group, key)
    assert after.step == 4
    assert after.skips[0] == 1


def test_skipped_steps_are_counted_in_the_log_and_left_out_of_the_means(tmp_path: Path) -> None:
    game, config = objective("mask")
    Poison(game, "generator_losses", lambda step: step in (1, 4))
    events: list[Any] = []
    state = run(game, config, checkpoints=store(tmp_path, log=events.append))
    skipped = [(event["step"], event["skipped"]) for event in events if event["event"] == "skipped"]
    assert skipped == [(2, 1), (5, 2)]
    assert len(state.history) == 3
    assert all(math.isfinite(value) for value in state.history)


@pytest.mark.parametrize("on_disk", [True, False])
def test_three_skips_in_a_row_lead_back_to_a_good_state_and_to_other_batches(on_disk: bool, tmp_path: Path) -> None:
    game, config = objective("mask")
    Poison(game, "discriminator_losses", lambda step: step in (4, 5, 6))
    events: list[Any] = []
    checkpoints = store(tmp_path, log=events.append) if on_disk else None
    state = run(game, config, steps=9, checkpoints=checkpoints)
    assert (state.step, state.attempt, int(state.skips[0])) == (9, 1, 3)
    assert state.is_finite()
    if on_disk:
        back = [event for event in events if event["event"] == "rolled_back"]
        assert back == [{"stage": "stage", "event": "rolled_back", "step": 4, "failed_at": 7, "attempt": 1}]


def test_a_training_that_fails_again_and_again_ends_with_what_to_change_and_a_good_checkpoint(tmp_path: Path) -> None:
    game, config = objective("mask")
    Poison(game, "discriminator_losses", lambda step: step >= 3)
    events: list[Any] = []
    with pytest.raises(TrainingError, match=r"after 2 returns to an earlier state; lower learning_rate"):
        run(game, config, steps=9, checkpoints=store(tmp_path, log=events.append))
    assert [event["step"] for event in events if event["event"] == "rolled_back"] == [3, 3]
    newest = sorted(tmp_path.glob("step-*"))[-1]
    assert newest.name == "step-00000003"
    state = TrainingState.start(objective("mask")[0], config, Precision("fp32", CPU).scaler)
    assert store(tmp_path).restore(state)
    assert state.is_finite()
    assert state.attempt == 2


def test_statistics_of_a_batch_that_is_not_finite_do_not_stay_in_the_network() -> None:
    game, config = objective("image", feature_matching_weight=0.0)
    game.generator.layers.insert(1, nn.BatchNorm2d(4).double())
    original = game.draw

    def poisoned(step: int) -> ImageBatch:
        batch = original(step)
        return cut(ImageBatch(step, batch.maps * (math.nan if step == 2 else 1), batch.images, {}, None), 0, ITEMS)

    game.draw = poisoned
    state = run(game, config, steps=4)
    assert state.is_finite()
    assert (state.attempt, int(state.skips[0])) == (0, 1)


def test_under_a_loss_scale_an_overflow_lowers_the_scale_and_is_no_failure(tmp_path: Path) -> None:
    config = objective("mask")[1]

    def scaled(scale: float) -> TrainingState:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Precision, "__init__", lambda self, *_: vars(self).update(dtype=None, scaler=scaler))
            patch.setattr(Precision, "autocast", lambda self: torch.autocast("cpu", enabled=False))
            return run(*objective("mask", r1_weight=0.0), steps=4, checkpoints=store(tmp_path / f"{scale:g}"))

    plain, usual, huge = run(*objective("mask", r1_weight=0.0), steps=4), scaled(2.0**10), scaled(2.0**127)
    assert torch.allclose(weights(plain), weights(usual), rtol=1e-6, atol=1e-9)
    assert huge.scaler.get_scale() < 2.0**127
    assert int(huge.skips[0]) == 0
    assert huge.attempt == 0
    again = TrainingState.start(objective("mask")[0], config, torch.amp.GradScaler("cpu"))
    assert store(tmp_path / f"{2.0**127:g}").restore(again)
    again.scaler.scale(torch.ones(()))
    assert again.scaler.get_scale() == huge.scaler.get_scale()


def test_float16_elsewhere_than_on_cuda_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device, got cpu; use auto"):
        run(*objective("mask"), training={"precision": "fp16"})


# --- out of memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mask", "image"])
@pytest.mark.parametrize("name", ["discriminator_losses", "generator_losses", "render"])
def test_when_memory_runs_out_batches_are_cut_and_the_result_is_the_same(kind: str, name: str, tmp_path: Path) -> None:
    expected = run(*objective(kind))
    game, config = objective(kind)
    original = getattr(game, name)

    def small_memory(batch: Any, *rest: Any) -> Any:
        if batch_length(batch) > 2 and (name != "render" or batch.step >= 2):
            raise torch.OutOfMemoryError("tried to allocate too much")
        return original(batch, *rest)

    setattr(game, name, small_memory)
    events: list[Any] = []
    state = run(game, config, checkpoints=store(tmp_path, log=events.append))
    assert torch.allclose(weights(expected), weights(state), rtol=1e-5, atol=1e-7)
    assert state.accumulation == 4
    assert [event["accumulation"] for event in events if event["event"] == "out_of_memory"] == [2, 4]


def test_when_not_even_one_item_fits_the_training_ends_with_a_remedy() -> None:
    game, config = objective("mask")

    def no_memory(batch: Any, fake: Tensor) -> Any:
        raise torch.OutOfMemoryError("tried to allocate too much")

    game.generator_losses = no_memory
    with pytest.raises(TrainingError, match=r"one item at a time.*lower image_size"):
        run(game, config)


# --- compilation -----------------------------------------------------------------------------------------------------


def test_networks_that_cannot_be_compiled_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: nn.Module, **_: Any) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError("no compiler here")

        self._compiled_call_impl = fails

    monkeypatch.setattr(nn.Module, "compile", broken)
    expected = run(*objective("image"), steps=3)
    game, config = objective("image")
    with pytest.warns(UserWarning, match="cannot be compiled"):
        state = run(game, config, steps=3, training={"compile": True})
    assert torch.equal(weights(expected), weights(state))


def test_a_trained_network_is_left_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(self: nn.Module, **_: Any) -> None:
        self._compiled_call_impl = self._call_impl

    monkeypatch.setattr(nn.Module, "compile", compiled)
    game, config = objective("image")
    run(game, config, steps=2, training={"compile": True})
    assert game.generator._compiled_call_impl is None
    assert game.discriminator._compiled_call_impl is None


@pytest.mark.parametrize("kind", ["mask", "image"])
def test_what_is_frozen_in_a_discriminator_stays_as_it_is(kind: str) -> None:
    game, config = objective(kind)
    first = next(game.discriminator.parameters()).requires_grad_(False)
    before = first.detach().clone()
    run(game, config, steps=3)
    assert torch.equal(first, before)
    assert not first.requires_grad
    assert all(part.requires_grad for part in list(game.discriminator.parameters())[1:])


def test_cuda_graphs_elsewhere_have_no_effect_and_say_so() -> None:
    with pytest.warns(UserWarning, match="no effect on cpu"):
        run(*objective("mask"), steps=1, training={"cuda_graphs": True})


# --- signals ---------------------------------------------------------------------------------------------------------


def test_a_handler_that_python_did_not_install_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: found.append(number))
    run(*objective("mask"), steps=1)
    assert not found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["draw", "render", "discriminator_losses", "generator_losses", "validate"])
@pytest.mark.parametrize("kind", ["mask", "image"])
def test_a_signal_at_any_moment_leaves_the_checkpoint_of_that_step(
    kind: str, phase: str, number: int, tmp_path: Path
) -> None:
    game, config = objective(kind)
    original, calls = getattr(game, phase), 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), number)
        return original(*arguments)

    setattr(game, phase, interrupted)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as caught:
        run(game, config, checkpoints=store(tmp_path, every_seconds=1e9), training={"validate_every": 1})
    if number == signal.SIGTERM:
        assert caught.value.code == 143
    state = json.loads((tmp_path / "step-00000002" / "manifest.json").read_text())["state"]
    assert state["step"] == 2
    setattr(game, phase, original)
    resumed = run(*objective(kind), checkpoints=store(tmp_path))
    assert torch.equal(weights(resumed), weights(run(*objective(kind))))


def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    game, config = objective("mask")
    original = game.render

    def interrupted(batch: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return original(batch)

    game.render = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(game, config, checkpoints=store(tmp_path))
    assert not list(tmp_path.glob("step-*"))


# --- checkpoints that cannot be used ---------------------------------------------------------------------------------


def _damage(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"{")


def _steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in sorted(folder.glob("step-*"))]


def test_a_damaged_checkpoint_ahead_never_takes_the_place_of_a_good_one(tmp_path: Path) -> None:
    run(*objective("mask"), steps=4, checkpoints=store(tmp_path, keep=3))
    assert _steps(tmp_path) == [2, 3, 4]
    _damage(tmp_path / "step-00000003")
    _damage(tmp_path / "step-00000004")
    state = TrainingState.start(*objective("mask"), Precision("fp32", CPU).scaler)
    assert store(tmp_path, keep=1).restore(state)
    store(tmp_path, keep=1).save(state)  # as a later run does whose checkpoints fall on other steps
    assert state.step == 2
    assert _steps(tmp_path) == [2, 3, 4]
    resumed = run(*objective("mask"), checkpoints=store(tmp_path, keep=1))
    assert _steps(tmp_path) == [6]
    assert torch.equal(weights(resumed), weights(run(*objective("mask"))))


def test_a_stage_without_a_usable_checkpoint_begins_again_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(*objective("mask"), steps=1, checkpoints=store(tmp_path))
    _damage(tmp_path / "step-00000001")
    resumed = run(*objective("mask"), checkpoints=store(tmp_path))
    assert "no checkpoint here can be used; this stage begins again" in caplog.text
    assert torch.equal(weights(resumed), weights(run(*objective("mask"))))


def test_a_copy_that_somebody_made_of_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-00000001 copy").mkdir()
    run(*objective("mask"), checkpoints=store(tmp_path, keep=1))
    assert store(tmp_path).last_step() == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001 copy", "step-00000006"]


# --- which weights are kept ------------------------------------------------------------------------------------------


def test_the_best_weights_outlive_the_checkpoints_of_their_step(tmp_path: Path) -> None:
    game, config = objective("image")
    scores = iter([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    kept: list[dict[str, Tensor]] = []

    def validate(generator: nn.Module, parts: int) -> dict[str, float]:
        kept.append({name: value.clone() for name, value in generator.state_dict().items()})
        return {"generator": 0.0, "utility": next(scores)}

    game.validate = validate
    events: list[Any] = []
    options = {"training": {"validate_every": 1}, "select_by": "utility"}
    state = run(game, config, checkpoints=store(tmp_path, log=events.append), **options)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000005", "step-00000006"]
    fresh = TrainingState.start(objective("image")[0], config, Precision("fp32", CPU).scaler)
    assert store(tmp_path).restore(fresh)
    for holder in (state, fresh):
        assert holder.best_step == 2
        assert all(torch.equal(holder.chosen_weights()[name], kept[1][name]) for name in kept[1])
    validated = [event["validation"] for event in events if event["event"] == "validated"]
    assert [values["utility"] for values in validated] == [3.0, 1.0, 2.0, 5.0, 4.0, 6.0]
    assert events[-1] == {
        "stage": "stage",
        "event": "stopped",
        "step": 6,
        "reason": "all steps done",
        "kept_step": 2,
    }


def test_without_a_score_to_select_by_the_last_weights_are_kept() -> None:
    game, config = objective("image")
    game.validate = lambda generator, parts: {"generator": 1.0}
    state = run(game, config)
    assert state.best is None
    last = state.sampling_generator().state_dict()
    assert all(torch.equal(value, last[name]) for name, value in state.chosen_weights().items())
