"""TensorBoard: numbers and previews as they come, and a clear word where it is missing."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from syncgan.errors import ConfigError
from syncgan.training.events import FitEvent
from syncgan.training.previews import Preview

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the extra `tensorboard` is not installed"
)


def events(preview):
    told = SimpleNamespace(classes_=("a", "b"))
    validated = {"event": "validated", "validation": {"generator": 2.5, "utility": None}}
    return [
        FitEvent("plan", told),
        FitEvent("step", told, stage="image_gan", done=10, losses={"generator": 3.0}, images_per_second=7.0),
        FitEvent("event", told, stage="image_gan", done=10, line=validated),
        FitEvent("event", told, stage="image_gan", done=10, line={"event": "eclipse"}),
        FitEvent("preview", told, stage="image_gan", done=10, preview=preview),
        FitEvent("fitted", told),
    ]


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_losses_speed_scores_and_previews_are_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from syncgan.evaluation.tensorboard import TensorBoardCallback

    callback = TensorBoardCallback(tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
    for event in events(Preview("image_gan", 10, 20, torch.zeros((2, 16, 16), dtype=torch.uint8), 3)):
        callback(event)
    found = EventAccumulator(str(tmp_path / "logs")).Reload()
    scalars = {tag: [(item.step, item.value) for item in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars == {
        "image_gan/loss/generator": [(10, 3.0)],
        "image_gan/images_per_second": [(10, 7.0)],
        "image_gan/validation/generator": [(10, 2.5)],
    }
    assert found.Tags()["images"] == ["image_gan/preview"]


def test_without_the_package_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    from syncgan.evaluation.tensorboard import TensorBoardCallback

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'syncgan\[tensorboard\]'"):
        TensorBoardCallback(tmp_path)


def test_the_command_passes_it_to_the_fit(tmp_path, monkeypatch):
    from syncgan.evaluation import runs
    from syncgan.evaluation.tensorboard import TensorBoardCallback
    from test_cli import syncgan, write_images

    told = []

    def stop(*_, callbacks, **__):
        told.extend(callbacks)
        raise ConfigError("enough")

    data = write_images(tmp_path / "data", {"a": 2, "b": 2})
    monkeypatch.setattr(runs, "fit_run", stop)
    for options, expected in ([], False), (["--tensorboard"], True):
        told.clear()
        assert syncgan("fit", data, "--out", tmp_path / "run", "--preset=tiny", *options).code == 2
        assert any(isinstance(callback, TensorBoardCallback) for callback in told) == expected
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused = syncgan("fit", tmp_path / "nowhere", "--out", tmp_path / "run", "--tensorboard")
    assert refused.code == 2
    assert "syncgan[tensorboard]" in refused.err  # before the missing folder is noticed
