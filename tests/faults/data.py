"""R14: data of which little or nothing can be learned is refused clearly, or learned from in a stated way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faults.artefacts import SETTINGS
from faults.engine import Fault, Outcome
from image_files import encoded
from syncgan import Phantom, SynCGANConfig
from syncgan.errors import SyncganError
from syncgan.evaluation.runs import fit_run

__all__ = ["FAULTS"]

Pixels = np.ndarray[Any, Any]


def _real(index: int) -> Pixels:
    return Phantom(6, image_size=32).image(index)


def _flat(value: int, _: int) -> Pixels:
    return np.full((32, 32, 3), value, np.uint8)


def _noise(index: int) -> Pixels:
    return np.random.default_rng(index).integers(0, 256, (32, 32, 3)).astype(np.uint8)


_CASES: dict[str, tuple[dict[str, int], Callable[[int], Pixels], str]] = {
    "no image at all": ({}, _real, "empty"),
    "a class without an image": ({"a": 3, "b": 0}, _real, "at least 2 class folders"),
    "a class of one image": ({"a": 3, "b": 1}, _real, "'b' has 1"),
    "one class": ({"a": 4}, _real, "at least 2 class folders"),
    "classes of two images": ({"a": 2, "b": 2}, _real, ""),
    "all images black": ({"a": 3, "b": 3}, partial(_flat, 0), "usable mask"),
    "all images white": ({"a": 3, "b": 3}, partial(_flat, 255), "usable mask"),
    "all images one gray": ({"a": 3, "b": 3}, partial(_flat, 128), "usable mask"),
    "all images the same": ({"a": 3, "b": 3}, lambda _: _real(0), ""),
    "images of noise": ({"a": 3, "b": 3}, _noise, ""),
}


def _poor(place: Path, _: int) -> Outcome:
    outcome = Outcome()
    config = SynCGANConfig.preset("tiny").updated([*SETTINGS, "extractor.segmenter=otsu"])
    for number, (name, (classes, image, reason)) in enumerate(_CASES.items()):
        data, index = place / f"{number}", 0
        data.mkdir()
        for class_name, count in classes.items():
            (data / class_name).mkdir()
            for _each in range(count):
                (data / class_name / f"{index}.png").write_bytes(encoded(image(index), "PNG"))
                index += 1
        outcome.record(*_refused_or_fitted(data, place / f"run-{number}", config, name, reason))
    return outcome


def _refused_or_fitted(data: Path, out: Path, config: SynCGANConfig, name: str, reason: str) -> tuple[bool, str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            samples = fit_run(data, out, config=config, device="cpu").augmenter.sample("a", 2)
        except SyncganError as error:
            return bool(reason) and reason in str(error), f"{name}: refused with {error}"
        except Exception as error:
            return False, f"{name}: {error!r}"
    return not reason and samples.images.shape == (
        2,
        3,
        16,
        16,
    ), f"{name}: was fitted, {[str(one.message) for one in said]}"


FAULTS = [
    Fault("R14", "too few images, black, white, gray, equal and noisy ones", "a clear message, or samples", _poor, 0, 1)
]
