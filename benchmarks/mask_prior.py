"""Measure how near the masks of each mask generator are to real ones.

    python benchmarks/mask_prior.py [--sets NAME ...] [--generators NAME ...] [--seeds N] [--size PX]
                                    [--per-class N] [--set KEY=VALUE ...]

45 training images a class (or half of the class), no slide on both sides (``image_sets.py``), preset ``default``.
For each generator 64 masks a class are drawn through the mask filter, as `SynCGANAugmenter.sample_masks` does, and
compared with the training masks of the class in nucleus count, area, eccentricity, solidity, nearest-neighbour distance
(1-Wasserstein) and mean overlap. Printed are:

* like real: the share of the diagnostics, over the classes, in which drawn masks are no further from a random half of
  the real ones than 95 % of 200 such halves are from the other half, all of equal size;
* held-out: the same against real masks of other slides;
* overlap: mean intersection over union of every two drawn masks less that of the real ones, largest over the classes;
  well above 0 they are too much alike (collapse).

``real`` are the training masks themselves: what a perfect memory would reach.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_sets import NAMES, ImageSet, load, split
from numpy.typing import NDArray

from syncgan import SynCGANAugmenter, SynCGANConfig
from syncgan.data.tensors import as_sampled
from syncgan.evaluation.mask_prior import PriorComparison, compare_masks
from syncgan.evaluation.plots import COLUMNS, colour_map, draw_strips

SAMPLES = 64
GENERATORS: dict[str, list[str]] = {
    "decoder per class": ["mask_gan.generator=decoder", "mask_gan.sharing=class"],
    "decoder shared": ["mask_gan.generator=decoder", "mask_gan.sharing=shared"],
    "unet per class": ["mask_gan.generator=unet", "mask_gan.sharing=class"],
    "warp": ["mask_gan.generator=warp"],
    "mosaic": ["mask_gan.generator=mosaic"],
    "shapes": ["mask_gan.generator=shapes"],
}
MEASURED = ["real", "decoder per class", "decoder shared", "warp", "mosaic", "shapes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--generators", nargs="+", default=MEASURED, choices=["real", *GENERATORS])
    parser.add_argument("--seeds", type=int, default=1, help="splits and trainings to average over")
    parser.add_argument("--per-class", type=int, default=45, help="training images a class, or half of the class")
    parser.add_argument("--size", type=int, help="side in pixels; left out, that of the preset")
    parser.add_argument("--set", nargs="*", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument(
        "--out", type=Path, default=Path("mask-prior-benchmark"), help="figures as JSON lines, pictures"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size = [f"image_size={options.size}"] if options.size else []
    # The renderer is not measured; one update of a small one makes it.
    config = SynCGANConfig().updated([*size, *options.settings, "image_gan.steps=1", "image_gan.width=8"])
    for name in options.sets:
        data = load(name, config, options.data)
        for seed in range(options.seeds):
            train, held_out = split(data, options.per_class, seed)
            for generator in options.generators:
                for row in _rows(name, seed, generator, config, train, held_out, options.out):
                    print(_sentence(row), flush=True)
                    with (options.out / "figures.jsonl").open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    _table(options.out / "figures.jsonl")


def _rows(
    name: str, seed: int, generator: str, config: SynCGANConfig, train: ImageSet, held_out: ImageSet, out: Path
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one generator on one split, one row a class."""
    started = time.monotonic()
    chosen = config.updated(GENERATORS.get(generator, ["mask_gan.generator=warp"]))
    augmenter = SynCGANAugmenter(chosen, seed=seed).fit(train.dataset, masks=list(train.maps.numpy()))
    resolution = augmenter.config_.mask_resolution
    strips = []
    for label, title in enumerate(train.classes):
        levels = augmenter.levels_
        real = augmenter.pairs_.of_label(label).numpy()
        others = _as_training(held_out.maps[held_out.labels == label], resolution)
        drawn = real if generator == "real" else augmenter.sample_masks(label, SAMPLES, seed=1).cpu().numpy()
        compared = {
            side: compare_masks(masks, _nuclei(drawn, levels), levels=2, seed=seed)
            for side, masks in (("train", _nuclei(real, levels)), ("held_out", others[: len(real)]))
        }
        strips += [
            (f"{title}, real", _coloured(real, levels)),
            (f"{title}, {generator}", _coloured(drawn, levels)),
        ]
        yield {
            "set": name,
            "seed": seed,
            "generator": generator,
            "class": title,
            "masks": len(real),
            "alike": [row.alike for row in compared["train"].rows],
            "alike_held_out": [row.alike for row in compared["held_out"].rows],
            "excess_overlap": compared["train"].excess_overlap,
            "differs_in": _differs(compared["train"]),
            "seconds": round(time.monotonic() - started),
        }
    (out / f"{name}-{generator.replace(' ', '-')}-{seed}.png").write_bytes(draw_strips(strips))


def _nuclei(maps: NDArray[np.uint8], levels: int) -> NDArray[np.uint8]:
    return np.asarray(maps == levels - 1, dtype=np.uint8)


def _as_training(maps: torch.Tensor, resolution: int) -> NDArray[np.uint8]:
    """Return held-out nuclei with outlines as those of training and sampled maps."""
    return np.asarray(as_sampled((maps == maps.max()).to(torch.uint8), 2, resolution).numpy())


def _coloured(maps: NDArray[np.uint8], levels: int) -> list[NDArray[np.uint8]]:
    return [colour_map(one, levels) for one in maps[:COLUMNS]]


def _differs(comparison: PriorComparison) -> dict[str, list[float]]:
    return {row.diagnostic: [row.distance, row.real_95] for row in comparison.rows if not row.alike}


def _sentence(row: dict[str, Any]) -> str:
    differs = ", ".join(f"{name} {pair[0]:.3g} (real {pair[1]:.3g})" for name, pair in row["differs_in"].items())
    return (
        f"{row['set']}, split {row['seed']}, {row['generator']}, {row['class']}: "
        f"like real {np.mean(row['alike']):.2f}, held-out {np.mean(row['alike_held_out']):.2f}, "
        f"overlap {row['excess_overlap']:+.3f}, {row['seconds']} s; "
        f"differs in {differs or 'nothing'}"
    )


def _table(figures: Path) -> None:
    """Print a line for each generator and set, means over classes and splits."""
    rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    print("\n| set | mask generator | splits | like real | held-out | overlap |")
    print("|---|---|---|---|---|---|")
    for key in dict.fromkeys((row["set"], row["generator"]) for row in rows):
        same = [row for row in rows if (row["set"], row["generator"]) == key]
        alike, held_out = (
            np.mean([value for row in same for value in row[name]]) for name in ("alike", "alike_held_out")
        )
        overlap = max(row["excess_overlap"] for row in same)
        splits = len({row["seed"] for row in same})
        print(f"| {key[0]} | {key[1]} | {splits} | {alike:.0%} | {held_out:.0%} | {overlap:+.3f} |")


if __name__ == "__main__":
    main()
