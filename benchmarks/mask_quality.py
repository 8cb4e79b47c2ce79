"""Are the masks right? Every registered segmenter, with its defaults, on public images.

    python benchmarks/mask_quality.py [--data DIR] [--every K] [--segmenters NAME ...] [--sheet FILE.png]

Prints, with 95 % bootstrap intervals (BCa):

* mean Dice against true nuclei on ``dsb2018_purple`` (tissue) and ``bccd_nuclei`` (blood smears);
* average F1 of objects at an intersection over union of 0.5, on the instances of ``dsb2018_purple``;
* the share of ``cric_pap`` crops (Pap smears, a nucleus annotated in the middle, no outlines) whose centre is covered
  by one object of plausible size: at least 0.3 % and at most 40 % of the crop, less wide and high than 95 % of it. The
  annotated centre often lies a little beside the nucleus, so the share with an object within 5 pixels is printed too.

The naive pipeline (``benchmarks/baselines``, mixture fitted on 10,000 pixels) stands beside them; it needs
scikit-image >= 0.26. The sets lie in DIR, $SYNCGAN_DATA or ``../shared/data`` beside the project. The sheet shows
outlines on crops spread over all classes, those that failed marked red.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from baselines.naive_masks import naive_mask
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from syncgan.extractor import MaskExtractor
from syncgan.registry import SEGMENTERS
from syncgan.segmentation.overlay import overlay

NAIVE = "naive 10k"
CROP_COLUMNS, CROP_ROWS, CROP_PX = 16, 10, 128
Array = NDArray[np.uint8]
Labels = NDArray[np.integer]
Segment = Callable[[Array], Labels]


def segmenter(name: str) -> Segment:
    """Return a function from an image to the labels of its nuclei."""
    if name == NAIVE:
        naive = functools.partial(naive_mask, fit_pixels=10_000)
        return lambda image: cv2.connectedComponents(naive(image), connectivity=8)[1]
    extractor = MaskExtractor(name, return_instances=True)
    return lambda image: extractor(image).instances


def read(path: Path) -> Array:
    return np.array(Image.open(path).convert("RGB"))


def dice(mask: Array, truth: Array) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def object_f1(labels: Labels, truth: Labels) -> float:
    """Return 2 TP / (found + true objects), a true positive being a pair with an intersection over union above 0.5."""
    found, true = np.bincount(labels.ravel()), np.bincount(truth.ravel())
    objects = int((found[1:] > 0).sum()) + int((true[1:] > 0).sum())
    if not objects:
        return 1.0
    pairs = labels.ravel().astype(np.int64) * len(true) + truth.ravel()
    values, shared = np.unique(pairs, return_counts=True)
    one, other = values // len(true), values % len(true)
    union = found[one] + true[other] - shared
    # Above one half, no object can belong to two pairs.
    return 2 * int(((shared > 0.5 * union) & (one > 0) & (other > 0)).sum()) / objects


def covers_centre(labels: Labels, within_px: float = 0.5) -> bool:
    """Say whether one object of plausible size lies over the centre of a crop, or at most so many pixels beside it."""
    height, width = labels.shape
    y, x = np.ogrid[:height, :width]
    distance = np.where(labels > 0, np.hypot(y - height // 2, x - width // 2), np.inf)
    if distance.min() > within_px:
        return False
    label = labels.flat[distance.argmin()]
    rows, columns = np.nonzero(labels == label)
    share = len(rows) / labels.size
    return 0.003 <= share <= 0.4 and np.ptp(rows) + 1 < 0.95 * height and np.ptp(columns) + 1 < 0.95 * width


def interval(scores: NDArray[np.float64]) -> str:
    if np.ptp(scores) == 0:
        return ""
    result = stats.bootstrap((scores,), np.mean, n_resamples=2000, rng=np.random.default_rng(0))
    return f" [{result.confidence_interval.low:.3f}, {result.confidence_interval.high:.3f}]"


def segmentation_scores(segment: Segment, folder: Path, every: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the Dice of every image, and the F1 of its objects where the set has instances."""
    dices, f1s = [], []
    for path in sorted((folder / "images").glob("*.png"))[::every]:
        labels = segment(read(path))
        truth = np.array(Image.open(folder / "masks" / path.name)) > 0
        dices.append(dice((labels > 0).astype(np.uint8), truth.astype(np.uint8)))
        instances = folder / "instances" / path.name
        if instances.exists():
            f1s.append(object_f1(labels, np.array(Image.open(instances)).astype(np.int64)))
    yield "mean Dice", np.array(dices)
    if f1s:
        yield "average F1 at IoU 0.5", np.array(f1s)


def crops(folder: Path, every: int) -> list[Path]:
    return sorted(folder.glob("*/*.png"))[::every]


def draw_sheet(segment: Segment, paths: list[Path], target: Path) -> None:
    """Write a contact sheet of outlines; crops whose centre was not found have a red frame."""
    count = min(len(paths), CROP_COLUMNS * CROP_ROWS)
    tiles = []
    for path in (paths[round(place)] for place in np.linspace(0, len(paths) - 1, count)):
        image = read(path)
        labels = segment(image)
        tile = cv2.resize(overlay(image, (labels > 0).astype(np.uint8)), (CROP_PX, CROP_PX))
        if not covers_centre(labels):
            cv2.rectangle(tile, (1, 1), (CROP_PX - 2, CROP_PX - 2), (255, 0, 0), 3)
        tiles.append(tile)
    tiles += [np.full((CROP_PX, CROP_PX, 3), 255, np.uint8)] * (-len(tiles) % CROP_COLUMNS)
    rows = [np.hstack(tiles[start : start + CROP_COLUMNS]) for start in range(0, len(tiles), CROP_COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(target)
    print(f"outlines on {count} crops: {target}")


def main() -> None:
    project = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNCGAN_DATA", project.parent / "shared" / "data"))
    parser.add_argument("--every", type=int, default=1, help="use every K-th image")
    parser.add_argument("--segmenters", nargs="+", default=[*SEGMENTERS.names(), NAIVE], metavar="NAME")
    parser.add_argument("--sheet", type=Path, help="write outlines of the first segmenter on cric_pap crops")
    arguments = parser.parse_args()
    data = Path(arguments.data)
    logging.getLogger("syncgan").setLevel(logging.ERROR)  # masks of everything count as what they are: wrong
    warnings.filterwarnings("ignore", message="The BCa confidence interval")
    for name in arguments.segmenters:
        segment = segmenter(name)
        for set_name in ("dsb2018_purple", "bccd_nuclei"):
            for what, scores in segmentation_scores(segment, data / set_name, arguments.every):
                line = f"{name:10s} {set_name:15s} n={len(scores):3d}  {what} {scores.mean():.3f}{interval(scores)}"
                print(line, flush=True)
        paths = crops(data / "cric_pap", arguments.every)
        found = {path: segment(read(path)) for path in paths}
        hits = {path: covers_centre(labels) for path, labels in found.items()}
        near = np.mean([covers_centre(labels, within_px=5) for labels in found.values()])
        classes = sorted({path.parent.name for path in paths})
        shares = {c: np.mean([hit for path, hit in hits.items() if path.parent.name == c]) for c in classes}
        by_class = ", ".join(f"{c} {share:.3f}" for c, share in shares.items())
        all_hits = np.array(list(hits.values()), np.float64)
        print(
            f"{name:10s} {'cric_pap':15s} n={len(hits):3d}  centre found {all_hits.mean():.3f}{interval(all_hits)}: "
            f"{by_class}; within 5 px {near:.3f}"
        )
    if arguments.sheet:
        draw_sheet(segmenter(arguments.segmenters[0]), crops(data / "cric_pap", 1), arguments.sheet)


if __name__ == "__main__":
    main()
