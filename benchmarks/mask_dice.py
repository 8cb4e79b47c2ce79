"""Dice of unsupervised masks against ground truth, and time per image: ``MaskExtractor("gmm")`` and the naive pipeline.

    python benchmarks/mask_dice.py [--data DIR] [--every K] [--naive all|10k|none]

Needs scikit-image >= 0.26 for the baseline, and the sets ``dsb2018_purple`` and ``bccd_nuclei`` in DIR, $SYNCGAN_DATA
or ``../shared/data`` beside the project. Times are CPU time of one thread; compare them only within one run.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from baselines.naive_masks import naive_mask
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from threadpoolctl import threadpool_limits

from syncgan.extractor import MaskExtractor

SETS = ("dsb2018_purple", "bccd_nuclei")
Array = NDArray[np.uint8]
Segment = Callable[[Array], Array]


def pairs(folder: Path, every: int) -> Iterator[tuple[Array, Array]]:
    """Yield every K-th image, (H, W, 3) uint8, with its true nucleus mask, (H, W) uint8 {0, 1}."""
    for path in sorted((folder / "images").glob("*.png"))[::every]:
        image = np.array(Image.open(path).convert("RGB"))
        yield image, (np.array(Image.open(folder / "masks" / path.name)) > 0).astype(np.uint8)


def dice(mask: Array, truth: Array) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def interval(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval (BCa) of the mean."""
    result = stats.bootstrap((scores,), np.mean, n_resamples=2000, rng=np.random.default_rng(0))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def measured(segment: Segment, folder: Path, every: int) -> tuple[NDArray[np.float64], float]:
    """Return the Dice of each image and the median CPU milliseconds an image."""
    scores, times = [], []
    for image, truth in pairs(folder, every):
        start = time.process_time()
        mask = segment(image)
        times.append(1000 * (time.process_time() - start))
        scores.append(dice(mask, truth))
    return np.array(scores), float(np.median(times))


def speed(methods: dict[str, Segment], folder: Path) -> None:
    """Print the CPU time of one 640 x 480 image for each method."""
    image, _ = next(pairs(folder, 1))
    image = cv2.resize(image, (640, 480), interpolation=cv2.INTER_CUBIC)
    for name, segment in methods.items():
        times = []
        for _ in range(1 if name == "naive" else 7):
            start = time.process_time()
            segment(image)
            times.append(1000 * (time.process_time() - start))
        print(f"{folder.name:16s} {name:10s} 640x480 {np.median(times):9.1f} ms")


def main() -> None:
    project = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNCGAN_DATA", project.parent / "shared" / "data"))
    parser.add_argument("--every", type=int, default=1, help="use every K-th image")
    parser.add_argument("--naive", choices=("all", "10k", "none"), default="10k", help="pixels that fit its mixture")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    extractor = MaskExtractor("gmm")
    methods: dict[str, Segment] = {"gmm": extractor}
    if arguments.naive != "none":
        methods["naive 10k"] = functools.partial(naive_mask, fit_pixels=10_000)
    if arguments.naive == "all":
        methods["naive"] = naive_mask
    with threadpool_limits(1):
        report(methods, Path(arguments.data), arguments.every)


def report(methods: dict[str, Segment], data: Path, every: int) -> None:
    """Print one line a set and method, then the times."""
    for name in SETS:
        folder = data / name
        for method, segment in methods.items():
            scores, milliseconds = measured(segment, folder, every)
            low, high = interval(scores)
            print(
                f"{name:16s} {method:10s} n={len(scores):3d}  mean Dice {scores.mean():.3f} [{low:.3f}, {high:.3f}]  "
                f"median {np.median(scores):.3f}  {milliseconds:7.1f} ms an image"
            )
        speed(methods, folder)


if __name__ == "__main__":
    main()
