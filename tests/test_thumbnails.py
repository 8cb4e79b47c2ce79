"""Real images: no report, preview or log of a training shows one that nobody asked for."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from syncgan import ConfigError, MaskExtractor, Phantom, SynCGANConfig
from syncgan.cli import app
from syncgan.evaluation import features
from syncgan.evaluation.audit.showing import write_audit
from syncgan.evaluation.audit.sources import audit_images, folder_images
from syncgan.evaluation.features import TextureFeatures
from syncgan.evaluation.mask_folder import extract_folder
from syncgan.evaluation.real_sources import Sources
from syncgan.evaluation.reporting import make_report
from syncgan.evaluation.runs import fit_run
from syncgan.training.events import FitEvent
from syncgan.training.previews import Preview

CANARY = 251, 2, 253  # in a corner of every real image, and in nothing that is drawn or rendered
CONFIG = SynCGANConfig.preset("tiny").updated(
    [
        "mask_gan.generator=warp",
        "image_gan.steps=2",
        "image_gan.width=4",
        "image_gan.discriminator_width=4",
        "filters.mask_plausibility=false",
        "extractor.segmenter=otsu",
        "extractor.exclude_failed=false",
    ]
)


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(features, "available_features", lambda device="cpu": [TextureFeatures()])
    monkeypatch.setattr(features, "default_features", lambda device="cpu", side=128: TextureFeatures())


def write_images(folder: Path, first: int, count: int = 6) -> Path:
    phantom = Phantom(30, image_size=32, seed=3)
    for label, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + count):
            pixels = phantom.image(30 * label + number).copy()
            pixels[:12, :12] = CANARY
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Return images, others, a run and an audit of it, with and without thumbnails."""
    root = tmp_path_factory.mktemp("canary")
    data = write_images(root / "data", 0, 3)  # so few that no mask prior is drawn, which takes longest
    write_images(root / "others", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "default_features", lambda device="cpu", side=128: TextureFeatures())
        for name, thumbnails in (("run", False), ("shown", True)):
            fit_run(data, root / name, config=CONFIG, device="cpu", thumbnails=thumbnails)
    given = folder_images(
        write_images(root / "new", 9), Sources(root / "others", held_out=write_images(root / "held", 15, 8))
    )
    found = audit_images(given, pixels_only=True)
    for name, thumbnails in (("audit", False), ("audit_shown", True)):
        write_audit(found, root / name, *given.images, thumbnails=thumbnails)
    return root


@pytest.fixture
def root(places, tmp_path):
    return Path(shutil.copytree(places, tmp_path / "places"))


def pictures(path: Path) -> Iterator[Any]:
    """Yield the pixels of every picture in a file."""
    content = path.read_bytes()
    if path.suffix == ".html":
        for found in re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", content):
            yield np.asarray(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB"))
    elif path.suffix == ".png":
        yield np.asarray(Image.open(path).convert("RGB"))


def showing(place: Path) -> set[str]:
    """Return the files that show a real image."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {
        path.name
        for path in files
        for pixels in pictures(path)
        if (np.abs(pixels.astype(int) - CANARY).max(axis=-1) < 12).any()
    }


def test_a_run_folder_shows_real_images_only_when_asked_for(root):
    assert showing(root / "run") == set()
    assert list((root / "run" / "previews").rglob("*.png"))
    assert showing(root / "shown") >= {"report.html", "mask-overlays.png", "real-a.png", "step-000002.png"}


def test_a_report_says_how_to_see_them_or_that_it_shows_them(root):
    page, shown = ((root / name / "report.html").read_text("utf-8") for name in ("run", "shown"))
    assert "shows no real images" in page
    assert "syncgan report RUN --data DATA --thumbnails" in page
    assert "thumbnails of the real images: share it only" in shown


def test_a_later_report_shows_them_when_asked_for_and_not_the_time_after(root):
    given = {"data": root / "data", "audit": root / "audit_shown", "device": "cpu"}
    assert showing(make_report(root / "run", **given).path) == set()
    made = make_report(root / "run", held_out=root / "held", thumbnails=True, **given)
    assert {section.key for section in made.report.sections if any(figure.real for figure in section.figures)} == {
        "masks",
        "samples",
        "metrics",
        "audit",
    }
    assert showing(made.path)
    assert showing(make_report(root / "run", audit=root / "audit_shown", device="cpu").path) == set()
    assert showing(make_report(root / "run", thumbnails=True, device="cpu").path)  # kept by the one before


def test_pictures_of_a_fit_with_thumbnails_stay_out_of_a_page_for_others(root, tmp_path):
    page = make_report(root / "shown", out=tmp_path / "for-a-colleague.html", device="cpu").path
    assert len(list(pictures(page))) > 3
    assert showing(page) == set()


def test_an_audit_shows_the_closest_pairs_only_when_asked_for(root):
    assert showing(root / "audit") == set()
    assert "--thumbnails" in (root / "audit" / "audit.html").read_text("utf-8")
    assert showing(root / "audit_shown") == {"audit.html", "pairs.png"}


def test_an_audit_without_them_leaves_no_pairs_of_the_one_before(root):
    given = folder_images(root / "new", Sources(root / "others", held_out=root / "held"))
    write_audit(audit_images(given, pixels_only=True), root / "audit_shown", *given.images)
    assert showing(root / "audit_shown") == set()


def test_a_report_on_masks_shows_images_only_when_asked_for(root, tmp_path):
    for out, thumbnails in (("plain", False), ("shown", True)):
        extractor = MaskExtractor("otsu")
        extract_folder(root / "data", tmp_path / out, extractor=extractor, n_jobs=1, report=True, thumbnails=thumbnails)
    assert showing(tmp_path / "plain" / "report.html") == set()
    assert "--thumbnails" in (tmp_path / "plain" / "report.html").read_text("utf-8")
    assert showing(tmp_path / "shown" / "report.html")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs TensorBoard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("thumbnails", [False, True])
def test_the_log_of_tensorboard_shows_them_only_when_asked_for(tmp_path, thumbnails):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from syncgan.evaluation.tensorboard import TensorBoardCallback

    maps, gray = torch.zeros((2, 16, 16), dtype=torch.uint8), torch.full((2, 3, 16, 16), 128, dtype=torch.uint8)
    real = torch.tensor(CANARY, dtype=torch.uint8)[None, :, None, None].expand(2, 3, 16, 16)
    shown = Preview("image_gan", 1, 2, maps, 2, gray, real)
    callback = TensorBoardCallback(tmp_path / "logs", thumbnails=thumbnails)
    callback(FitEvent("preview", None, stage="image_gan", done=1, total=2, preview=shown))
    callback.close()
    found = EventAccumulator(str(tmp_path / "logs")).Reload().Images("image_gan/preview")
    (tmp_path / "preview.png").write_bytes(found[0].encoded_image_string)
    assert bool(showing(tmp_path / "preview.png")) == thumbnails


@pytest.mark.parametrize("words", [("masks", "DATA"), ("audit", "RUN", "--data", "DATA")])
def test_thumbnails_that_would_go_nowhere_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        app([*words, "--thumbnails"])
    assert stop.value.code == 2
    assert str(ConfigError("--thumbnails: expected with")) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (("fit", "data", "--out", "made"), "syncgan.evaluation.runs.fit_run"),
        (("report", "run"), "syncgan.evaluation.reporting.make_report"),
        (("masks", "data", "--out", "made", "--report"), "syncgan.evaluation.mask_folder.extract_folder"),
    ],
)
def test_every_command_passes_on_what_was_asked_for(root, monkeypatch, words, function):
    asked = []

    def stop(*_, thumbnails, **__):
        asked.append(thumbnails)
        raise ConfigError("enough")

    monkeypatch.chdir(root)
    monkeypatch.setattr(function, stop)
    for more in ((), ("--thumbnails",)):
        with pytest.raises(SystemExit):
            app([*words, *more])
    assert asked == [False, True]
