"""R6: models and checkpoints whose bytes are not those that were written are noticed; an older checkpoint is used."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faults.engine import Fault, Outcome, random_damage, seeds
from small_games import CPU, objective, run, store, weights
from syncgan import MaskGAN, MaskToImageCGAN, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.errors import ArtefactError
from syncgan.storage import FORMAT_VERSION, sha256
from syncgan.training.precision import Precision
from syncgan.training.state import TrainingState

__all__ = ["FAULTS", "SETTINGS"]

SETTINGS = [
    "image_size=16",
    "mask_gan.steps=1",
    "mask_gan.width=4",
    "mask_gan.discriminator_width=4",
    "mask_gan.warm_start_steps=0",
    "mask_gan.resolution=16",
    "image_gan.steps=1",
    "image_gan.width=4",
    "image_gan.discriminator_width=4",
    "filters.mask_plausibility=false",
]
_MANIFEST = "manifest.json"
_DAMAGES = ("a flipped bit", "a zeroed page", "a cut", "appended bytes", "swapped files", "a newer format")


# --- damage ----------------------------------------------------------------------------------------------------------


def _damaged(kind: str, folder: Path, sibling: Path, draw: random.Random) -> str:
    """Damage one file of an artefact, or exchange two with each other or with its sibling's; say which."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    victim = draw.choice(files)
    if kind == "a newer format":
        victim = folder / _MANIFEST
        _rewrite(victim, format_version=FORMAT_VERSION + draw.randrange(1, 1000))
    elif kind == "swapped files":
        others = [*files, *(path for path in sibling.iterdir() if path.is_file())]
        other = draw.choice([path for path in others if path.read_bytes() != victim.read_bytes()])
        mine, theirs = victim.read_bytes(), other.read_bytes()
        victim.write_bytes(theirs)
        if other.parent == folder:
            other.write_bytes(mine)
    else:
        victim.write_bytes(random_damage(kind, victim.read_bytes(), draw))
    return f"{folder.name}/{victim.name}"


def _rewrite(path: Path, **changes: Any) -> None:
    """Write a manifest with other values and a right seal, as another version would."""
    content = {**json.loads(path.read_text()), **changes}
    del content["manifest_sha256"]
    body = json.dumps(content, sort_keys=True, ensure_ascii=False)
    path.write_text(json.dumps({**content, "manifest_sha256": sha256(body.encode())}), encoding="utf-8")


# --- models ----------------------------------------------------------------------------------------------------------


def _config() -> SynCGANConfig:
    return SynCGANConfig.preset("tiny").updated(SETTINGS)


def _maps() -> np.ndarray[Any, Any]:
    maps = np.zeros((4, 16, 16), np.uint8)
    maps[:, 2:14, 2:14] = 1
    maps[:, 5:10, 5:10] = 2
    return maps


def _mask_gan(seed: int) -> MaskGAN:
    return MaskGAN(_config(), seed=seed, device="cpu").fit(_maps())


def _image_gan(seed: int) -> MaskToImageCGAN:
    images = np.random.default_rng(seed).integers(0, 256, (4, 3, 16, 16)).astype(np.uint8)
    return MaskToImageCGAN(_config(), seed=seed, device="cpu").fit(images, _maps(), [0, 0, 1, 1])


def _augmenter(seed: int) -> SynCGANAugmenter:
    phantom = Phantom(2, image_size=32)
    masks = [phantom.mask(index) for index in range(len(phantom))]
    return SynCGANAugmenter(_config(), device="cpu", seed=seed).fit(phantom, masks)


MODELS: dict[str, tuple[Callable[[int], Any], Callable[..., Any]]] = {
    "mask GAN": (_mask_gan, MaskGAN.load),
    "renderer": (_image_gan, MaskToImageCGAN.load),
    "whole model": (_augmenter, SynCGANAugmenter.load),
}


def _content(model: Any) -> Mapping[str, Tensor]:
    if isinstance(model, SynCGANAugmenter):
        parts = {f"mask {index}": gan for index, gan in enumerate(model.mask_gans_)} | {"image": model.image_gan_}
        return {f"{name} {key}": value for name, part in parts.items() for key, value in _content(part).items()}
    return {f"{group}.{name}": value for group, part in model.state()[0].items() for name, value in part.items()}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _damage_model(which: str, kind: str, place: Path, tries: int) -> Outcome:
    make, load = MODELS[which]
    for seed, name in enumerate(("model", "other")):
        make(seed).save(place / name)
    expected, original = _content(load(place / "model", device="cpu")), _bytes_of(place / "model")
    outcome = Outcome()
    for draw in seeds(tries, f"{which} {kind}"):
        told = _damaged(kind, place / "model", place / "other", draw)
        try:
            # What differs in white space alone holds what was saved.
            kept = _same(_content(load(place / "model", device="cpu")), expected) and kind != "a newer format"
        except ArtefactError:
            kept = True
        except Exception as error:
            kept, told = False, f"{told}: {error!r}"
        outcome.record(kept, told)
        _restore(place / "model", original)
    return outcome


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _restore(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        if not (folder / name).is_file() or (folder / name).read_bytes() != data:
            (folder / name).write_bytes(data)


# --- checkpoints -----------------------------------------------------------------------------------------------------


class _Warnings(logging.Handler):
    """Counts what the checkpoints' log says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def _damage_checkpoint(kind: str, place: Path, tries: int) -> Outcome:
    game, config = objective("mask")
    run(game, config, steps=3, checkpoints=store(place))
    state = TrainingState.start(game, config, Precision("fp32", CPU).scaler)
    before, last = sorted(place.glob("step-*"))
    original = _bytes_of(last)
    found = {}
    for folder in (before, last):
        hidden = None if folder == last else last.rename(place / "hidden")
        store(place).restore(state)
        found[folder] = (state.step, weights(state).clone(), state.numbers())
        if hidden is not None:
            hidden.rename(last)
    log, heard = logging.getLogger("syncgan.training.checkpoint"), _Warnings()
    log.addHandler(heard)
    log.propagate = False
    outcome = Outcome()
    try:
        for draw in seeds(tries, f"checkpoint {kind}"):
            heard.count = 0
            told = _damage_one(kind, place, last, before, draw)
            outcome.record(_goes_on_from(place, state, found, heard), told)
            for path in last.iterdir():
                if path.name not in original:
                    path.unlink()
            _restore(last, original)
    finally:
        log.removeHandler(heard)
        log.propagate = True
    return outcome


def _damage_one(kind: str, place: Path, last: Path, before: Path, draw: random.Random) -> str:
    if kind == "another step's checkpoint in its place":
        shutil.rmtree(last)
        shutil.copytree(before, last)
        return last.name
    return _damaged(kind, last, before, draw)


def _goes_on_from(place: Path, state: TrainingState, found: Mapping[Path, Any], heard: _Warnings) -> bool:
    """Tell whether training goes on from the checkpoint before, and this is said; or from all that was saved last."""
    before, last = found
    try:
        restored = store(place).restore(state)
    except Exception as error:
        logging.getLogger(__name__).warning("%r", error)
        return False
    chosen = before if heard.count else last
    step, expected, numbers = found[chosen]
    return restored and state.step == step and torch.equal(weights(state), expected) and state.numbers() == numbers


def _exchange_stages(place: Path, tries: int) -> Outcome:
    """Put the newest checkpoint of one class's mask GAN in the place of another's."""
    phantom = Phantom(3, image_size=32)
    masks = [phantom.mask(index) for index in range(len(phantom))]
    config = _config().updated(["mask_gan.sharing=class", "mask_gan.steps=2", "training.checkpoint_seconds=0"])

    def fit() -> Mapping[str, Tensor]:
        return _content(SynCGANAugmenter(config, device="cpu").fit(phantom, masks, run_dir=place / "run"))

    expected, outcome = fit(), Outcome()
    stages = sorted((place / "run" / "checkpoints").glob("mask_gan*"))
    log = logging.getLogger("syncgan.training.checkpoint")
    log.disabled = True
    try:
        for draw in seeds(tries, "stages"):
            mine, theirs = draw.sample(stages, 2)
            newest = sorted(mine.iterdir())[-1]
            shutil.rmtree(newest)
            shutil.copytree(theirs / newest.name, newest)
            outcome.record(_same(fit(), expected), f"{theirs.name} for {mine.name}")
    finally:
        log.disabled = False
    return outcome


# --- the table -------------------------------------------------------------------------------------------------------

_REFUSED = "noticed: loading refuses, naming the file"
_PASSED_OVER = "noticed: training goes on from the checkpoint before, and says so"

FAULTS = [
    *(
        Fault("R6", f"{kind} in a {which}", _REFUSED, partial(_damage_model, which, kind), 10, 500)
        for which in MODELS
        for kind in _DAMAGES
    ),
    *(
        Fault("R6", f"{kind} in a checkpoint", _PASSED_OVER, partial(_damage_checkpoint, kind), 12, 500)
        for kind in _DAMAGES
    ),
    Fault(
        "R6",
        "a checkpoint of another step in its place",
        _PASSED_OVER,
        partial(_damage_checkpoint, "another step's checkpoint in its place"),
        1,
        1,
    ),
    Fault("R6", "a checkpoint of another class in its place", _PASSED_OVER, _exchange_stages, 1, 20),
]
