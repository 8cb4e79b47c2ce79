"""The training engine: exact resume, stopping, logging, and what stands still when it must."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncgan import MaskGAN, MaskToImageCGAN, SynCGANConfig
from syncgan.errors import ArtefactError, ConfigError, TrainingError
from syncgan.training.batches import batch_indices, stay_on_host
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.loop import Progress, resolve_device, resolve_precision
from syncgan.training.objectives import ImageObjective, MaskObjective
from syncgan.training.state import TrainingState

IDENTITY = {"config": "a", "seed": 0}


def config(*settings: str) -> SynCGANConfig:
    base = ["mask_gan.steps=12", "image_gan.steps=12", "mask_gan.width=4", "image_gan.width=4"]
    widths = ["mask_gan.discriminator_width=4", "image_gan.discriminator_width=4", "mask_gan.batch_size=3"]
    return SynCGANConfig.preset("tiny").updated([*base, *widths, "image_gan.batch_size=3", *settings])


def maps(count: int = 5) -> np.ndarray[Any, Any]:
    masks = np.zeros((count, 32, 32), np.uint8)
    for index, mask in enumerate(masks):
        mask[4:28, 4:28] = 1
        mask[8 + index : 18 + index, 10:20] = 2
    return masks


def images(count: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def store(folder: Path, **options: Any) -> CheckpointStore:
    return CheckpointStore(folder, **{"identity": IDENTITY, "every_seconds": 1e9, "keep": 2, **options})


class Stopped(BaseException):
    """What a test raises to break off a training, past every handler of ordinary errors."""


def fit_mask_gan(checkpoints: CheckpointStore | None, observe: Any = None, **settings: Any) -> MaskGAN:
    model = MaskGAN(config(*settings.get("settings", ())), seed=3, device="cpu")
    return model.fit(maps(), checkpoints=checkpoints, observe=observe)


def fit_image_gan(checkpoints: CheckpointStore | None, observe: Any = None, **settings: Any) -> MaskToImageCGAN:
    model = MaskToImageCGAN(config(*settings.get("settings", ())), seed=3, device="cpu")
    return model.fit(images(), maps(), [0, 0, 1, 1, 1], checkpoints=checkpoints, observe=observe)


def newest(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the newest checkpoint as bytes by group, and its state."""
    checkpoint = sorted(folder.glob("step-*"))[-1]
    files = {path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")}
    return files, json.loads((checkpoint / "manifest.json").read_text())["state"]


@pytest.mark.parametrize("fit", [fit_mask_gan, fit_image_gan])
@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(fit: Any, stop_at: int, tmp_path: Path) -> None:
    fit(store(tmp_path / "whole"), settings=("training.log_every=5",))

    class StopsAfter(CheckpointStore):
        def due(self) -> bool:
            self.asked = getattr(self, "asked", 0) + 1
            return self.asked == stop_at

        def save(self, state: TrainingState) -> None:
            super().save(state)
            if state.step == stop_at:
                raise Stopped

    options = {"identity": IDENTITY, "every_seconds": 1e9, "keep": 2}
    with pytest.raises(Stopped):
        fit(StopsAfter(tmp_path / "parts", **options), settings=("training.log_every=5",))
    fit(store(tmp_path / "parts"), settings=("training.log_every=5",))
    assert newest(tmp_path / "parts") == newest(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    fit_mask_gan(store(tmp_path, every_seconds=0.0))
    folders = sorted(tmp_path.glob("step-*"))
    assert [folder.name for folder in folders] == ["step-00000011", "step-00000012"]
    victim = next(folders[-1].glob("generator-*.safetensors"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    seen: list[Progress] = []
    fit_mask_gan(store(tmp_path), observe=seen.append)
    assert [progress.step for progress in seen] == [12]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    fit_mask_gan(store(tmp_path))
    with pytest.raises(ArtefactError, match="another seed"):
        fit_mask_gan(store(tmp_path, identity={**IDENTITY, "seed": 1}))


def test_a_loss_that_is_not_finite_stops_the_training_and_is_never_saved(tmp_path: Path) -> None:
    class Poisoned(CheckpointStore):
        def restore(self, state: TrainingState) -> bool:
            with torch.no_grad():
                next(state.generator.parameters()).fill_(math.nan)
            return False

    with pytest.raises(TrainingError, match=r"NaN or infinite again and again, last at step 1,.*lower learning_rate"):
        fit_mask_gan(Poisoned(tmp_path, identity=IDENTITY, every_seconds=0.0, keep=2))
    assert not list(tmp_path.glob("step-*"))


@pytest.mark.parametrize(("fit", "game"), [(fit_mask_gan, MaskObjective), (fit_image_gan, ImageObjective)])
def test_a_run_goes_on_past_losses_that_are_not_finite(
    fit: Any, game: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = game.discriminator_losses
    bad = {5, 6, 7}
    monkeypatch.setattr(
        game,
        "discriminator_losses",
        lambda self, batch, fake: (
            term * (math.nan if batch.step in bad else 1.0) for term in original(self, batch, fake)
        ),
    )
    events: list[Any] = []
    model = fit(store(tmp_path, every_seconds=0.0, log=events.append), settings=("training.log_every=4",))
    assert model.stop_reason_ == "all steps done"
    assert [event["event"] for event in events] == ["skipped", "skipped", "skipped", "rolled_back", "stopped"]
    assert all(bool(torch.isfinite(value).all()) for value in model.state()[0]["generator"].values())
    assert all(math.isfinite(value) for value in model.history_)


@pytest.mark.parametrize("fit", [fit_mask_gan, fit_image_gan])
def test_bfloat16_trains_like_float32_for_a_few_steps(fit: Any) -> None:
    expected = fit(None, settings=("training.precision=fp32",)).history_
    assert fit(None, settings=("training.precision=bf16",)).history_ == pytest.approx(expected, rel=0.1)


def test_a_failing_observer_does_not_stop_the_training() -> None:
    def fails(progress: Progress) -> None:
        raise RuntimeError("the disk of the logger is full")

    assert fit_mask_gan(None, observe=fails).stop_reason_ == "all steps done"


@pytest.mark.parametrize("fit", [fit_mask_gan, fit_image_gan])
def test_a_failing_log_does_not_stop_the_training(fit: Any, tmp_path: Path) -> None:
    told: list[Any] = []

    def fails(event: Any) -> None:
        told.append(event["event"])
        raise OSError("no space left on the disk of the log")

    assert fit(store(tmp_path, log=fails)).stop_reason_ == "all steps done"
    assert told == ["stopped"]
    assert list(tmp_path.glob("step-*"))


def test_a_failing_score_does_not_stop_the_training() -> None:
    asked: list[int] = []

    def fails(rendered: Any, real: Any, training: Any) -> float:
        asked.append(len(rendered))
        raise RuntimeError("the features of the score cannot be loaded")

    model = MaskToImageCGAN(config("image_gan.selection=utility", "training.score_every=4"), seed=3, device="cpu")
    model.fit(images(), maps(), validation=(images(2), maps(2)), score=fails)
    assert asked
    assert model.stop_reason_ == "all steps done, but no utility score was finite"
    assert model.best_step_ is None


def test_ctrl_c_saves_the_state_and_then_interrupts(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_mask_gan(store(tmp_path), observe=interrupt, settings=("training.log_every=2",))
    assert newest(tmp_path)[1]["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_saturation_ends_the_mask_gan_early() -> None:
    settings = ("mask_gan.saturation_window=2", "mask_gan.saturation_tolerance=1", "training.log_every=1")
    model = fit_mask_gan(None, settings=settings)
    assert model.stop_reason_ == "saturated"
    assert len(model.history_) == 6


def test_the_best_model_by_validation_is_kept() -> None:
    model = MaskToImageCGAN(config("image_gan.selection=validation"), seed=0, device="cpu")
    model.fit(images(), maps(), [0, 0, 1, 1, 1])
    assert model.best_step_ is not None
    assert 1 <= model.best_step_ <= 12


def test_items_stay_on_the_host_only_where_they_are_asked_to_or_do_not_fit() -> None:
    tensors = [torch.zeros(10, dtype=torch.uint8)]
    cpu = torch.device("cpu")
    assert [stay_on_host(tensors, cpu, where) for where in ("auto", "device", "host")] == [False, False, True]


@pytest.mark.parametrize("fit", [fit_mask_gan, fit_image_gan])
def test_where_items_lie_and_how_weights_do_changes_no_result(fit: Any) -> None:
    expected = fit(None).state()[0]["generator"]
    got = fit(None, settings=("training.data_device=host", "training.channels_last=false")).state()[0]["generator"]
    assert all(torch.allclose(expected[name].float(), got[name].float(), atol=1e-4) for name in expected)


@pytest.mark.parametrize("adversarial", ["bce", "hinge", "wasserstein-gp"])
def test_everything_random_is_drawn_for_the_whole_batch_so_that_it_may_pass_in_parts(adversarial: str) -> None:
    terms = ["texture_weight=1", "mode_seeking_weight=1", "feature_matching_weight=1", "r1_weight=1", "r1_every=1"]
    settings = [f"image_gan.{term}" for term in (*terms, f"adversarial={adversarial}", "steps=3", "batch_size=4")]
    settings += ['image_gan.augmentation=["translation", "scaling", "colour", "cutout"]', "training.log_every=1"]
    whole = fit_image_gan(None, settings=settings).history_
    assert fit_image_gan(None, settings=[*settings, "training.accumulation=3"]).history_ == pytest.approx(
        whole, rel=1e-3
    )


def test_dropout_is_drawn_by_seed_and_step_and_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = fit_image_gan(None, settings=("image_gan.dropout=0.5",)).state()[0]["generator"]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again = fit_image_gan(None, settings=("image_gan.dropout=0.5",)).state()[0]["generator"]
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_every_item_is_seen_equally_often_and_batches_need_no_memory() -> None:
    drawn = [batch_indices(step, items=5, batch_size=3, seed=1, address=("x",)) for step in range(10)]
    assert torch.bincount(torch.cat(drawn)).tolist() == [6] * 5
    again = batch_indices(7, items=5, batch_size=3, seed=1, address=("x",))
    assert torch.equal(again, drawn[7])


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert batch_indices(2, items=2, batch_size=7, seed=0, address=()).tolist().count(0) in (3, 4)


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fit_mask_gan(None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_precision_names_resolve_to_autocast_types() -> None:
    assert resolve_precision("fp32", torch.device("cpu")) is None
    assert resolve_precision("bf16", torch.device("cpu")) is torch.bfloat16
    assert resolve_precision("auto", torch.device("mps")) is None
    assert resolve_precision("fp16", torch.device("cuda")) is torch.float16
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        resolve_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize("name", ["cuda:77", "gpu", ""])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used here"):
        resolve_device(name)
    assert resolve_device("cpu") == torch.device("cpu")
