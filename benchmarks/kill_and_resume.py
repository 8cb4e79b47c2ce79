"""Kill a training at random moments by SIGKILL, resume it, and compare everything with an undisturbed run.

Both GANs of a tiny augmenter are trained on simulated smears with a checkpoint after every step. A run is killed,
resumed and killed again until it is done, then the next begins, until there were as many kills as asked for. Compared
without any tolerance: weights, moving averages, both optimisers, history and counters of the last checkpoint of every
stage, the saved model, and the lines of ``stats.jsonl`` without times and memory.

    python benchmarks/kill_and_resume.py --kills 50

Ends with 1 when anything differs, and prints what.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch._dynamo  # what every optimiser imports when it is made; here once instead of in every process

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig

SETTINGS = [
    "mask_gan.steps=8",
    "mask_gan.warm_start_steps=4",
    "mask_gan.sharing=class",
    "mask_gan.width=4",
    "mask_gan.discriminator_width=4",
    "image_gan.steps=10",
    "image_gan.width=4",
    "image_gan.discriminator_width=4",
    "image_gan.selection=validation",
    "image_gan.dropout=0.5",
    "image_gan.texture_weight=1",
    'image_gan.augmentation=["translation", "colour"]',
    "image_gan.augmentation_probability=0.5",
    "filters.mask_plausibility=false",
    "training.checkpoint_seconds=0",
    "training.log_every=3",
    "training.validate_every=4",
]
MEASURED = ("images_per_second", "seconds", "peak_memory_mb")

_FORK = multiprocessing.get_context("fork")


def fit(folder: Path) -> None:
    """Train, or go on with what is in `folder`."""
    torch.set_num_threads(1)
    phantom = Phantom(4, image_size=32, seed=1)
    config = SynCGANConfig.preset("tiny").updated(SETTINGS)
    masks = [phantom.mask(index) for index in range(len(phantom))]
    SynCGANAugmenter(config, device="cpu", seed=5).fit(phantom, masks, run_dir=folder)


def fit_for(folder: Path, seconds: float | None) -> bool:
    """Fit in a process of its own, and kill it after `seconds`; return whether it was killed."""
    process = _FORK.Process(target=fit, args=(folder,))
    process.start()
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the training failed with {process.exitcode}")
    return process.exitcode != 0


def outcome(folder: Path) -> dict[str, Any]:
    """Return everything that must be the same, by name."""
    found: dict[str, Any] = {}
    for stage in sorted((folder / "checkpoints").iterdir()):
        checkpoint = sorted(stage.glob("step-*"))[-1]
        manifest = json.loads((checkpoint / "manifest.json").read_text("utf-8"))
        found[f"{stage.name}: state"] = manifest["state"]
        found |= {f"{stage.name}: {group}": entry["sha256"] for group, entry in manifest["files"].items()}
    model = json.loads((folder / "model" / "manifest.json").read_text("utf-8"))
    found |= {f"model: {group}": entry["sha256"] for group, entry in model["files"].items()}
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text("utf-8").splitlines()]
    found["stats.jsonl"] = [{key: line[key] for key in line if key not in MEASURED} for line in lines]
    return found


def main() -> None:
    """Kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kills-per-run", type=int, default=5, help="about so many kills until a run is done")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        fit_for(Path(place, "undisturbed"), None)
        duration = time.monotonic() - started
        expected = outcome(Path(place, "undisturbed"))
        kills = runs = 0
        differences: list[str] = []
        while kills < options.kills or runs == 0:
            folder = Path(place, f"run-{runs}")
            while kills < options.kills and fit_for(folder, moments.uniform(0, 2 * duration / options.kills_per_run)):
                kills += 1
            fit_for(folder, None)
            got = outcome(folder)
            differences += [
                f"run {runs}: {name}" for name in {**expected, **got} if expected.get(name) != got.get(name)
            ]
            runs += 1
    print(json.dumps({"kills": kills, "runs": runs, "compared": len(expected), "differences": differences}))
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
