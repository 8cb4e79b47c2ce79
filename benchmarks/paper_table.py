"""Estimate how long the paper's whole table takes on one GPU, from counted work: no GPU is needed.

    python benchmarks/paper_table.py --images 150 --classes 2
    python benchmarks/paper_table.py --images 150 --classes 2 --steps 150 --set mask_gan.max_steps=1500

Counted, with the networks of preset ``paper`` and of `PAPER_OUTLINE`: floating-point operations, and the calls that a
step makes, of which each costs the host some microseconds whatever the GPU is. A step takes the longer of both. The
two rates are assumptions: ``--tflops`` that convolutions reach in bfloat16 at batch 16, and ``--microseconds`` a call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from syncgan import CLASSIFIERS, MaskGAN, MaskToImageCGAN, SynCGANConfig
from syncgan.evaluation.benchmark.settings import PAPER_OUTLINE, BenchmarkConfig
from syncgan.networks import upsampling, winograd

BATCH, COUNTED = 16, 2  # images in a step, and in a step that is counted: batch normalisation needs two
FIT_SHARE = 3 / 5  # 3:1:1
TRADITIONAL_MS = 1.0  # an image; flips, rotation and noise, one image after another


class Calls(TorchDispatchMode):
    """Counts what is dispatched; views cost no kernel, but the host's time all the same."""

    number = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return function(*args, **(kwargs or {}))


def counted(work: Callable[[], Any]) -> tuple[float, int]:
    """Return floating-point operations and calls."""
    with FlopCounterMode(display=False) as operations, Calls() as calls:
        work()
    return float(operations.get_total_flops()), calls.number


def classifier_step(name: str, classes: int, side: int) -> tuple[float, int]:
    """Return the work of one training step with its update, without computing anything."""
    with torch.device("meta"):
        network = CLASSIFIERS.get(name)(classes)
        images, labels = torch.zeros(COUNTED, 3, side, side), torch.zeros(COUNTED, dtype=torch.long)
    optimiser = torch.optim.AdamW(network.parameters(), foreach=True)
    with torch.autocast("cpu", torch.bfloat16):
        return counted(
            lambda: (torch.nn.functional.cross_entropy(network(images), labels).backward(), optimiser.step())
        )


def gan_step(name: str, config: SynCGANConfig) -> tuple[float, int]:
    """Return the work of one update of a GAN: two steps less one, computed on the CPU."""
    masks = torch.zeros(COUNTED, config.image_size, config.image_size, dtype=torch.uint8)
    masks[:, 96:160, 96:160] = 1
    images = (255 * (1 - masks))[:, None].expand(-1, 3, -1, -1).contiguous()

    def fit(steps: int) -> None:
        schedule = {"steps": steps, "batch_size": COUNTED}
        if name == "mask GAN":
            MaskGAN(config.merged({"mask_gan": schedule}), seed=0, device="cpu").fit(masks)
            return
        own = {"selection": "last", **({"generator": "plain_gan"} if name == "plain GAN" else {})}
        short = config.merged({"image_gan": {**schedule, **own}})
        MaskToImageCGAN(short, seed=0, device="cpu").fit(images, masks, labels=[0] * COUNTED)

    fit(1)  # what is made once and kept is no part of a step
    (one, calls), (two, more) = (counted(lambda steps=steps: fit(steps)) for steps in (1, 2))
    return two - one, more - calls


def main() -> None:
    """Print the estimate as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="of all classes together")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=BenchmarkConfig().steps, help="of a classifier")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as for `syncgan benchmark`")
    parser.add_argument("--tflops", type=float, default=250.0)
    parser.add_argument("--microseconds", type=float, default=12.0)
    options = parser.parse_args()
    # A GPU takes the plain forms of convolutions; what a CPU does instead must not be counted.
    upsampling._WORTH_COMMUTING = winograd._WORTH_CHANNELS = sys.maxsize
    config = SynCGANConfig.preset("paper").updated(options.settings)
    training, splits = round(FIT_SHARE * options.images), PAPER_OUTLINE.repeats
    arms = len(PAPER_OUTLINE.arms)
    traditional = sum("Trad" in arm for arm in PAPER_OUTLINE.arms)

    steps_of = dict.fromkeys(PAPER_OUTLINE.classifiers, arms * options.steps)
    of_class = config.mask_gan.total_steps(round(training / options.classes))
    steps_of |= {"mask GAN": options.classes * of_class}
    steps_of |= dict.fromkeys(("renderer", "plain GAN"), config.image_gan.total_steps(training))
    print("| what | GFLOP an image | calls a step | ms a step | steps a split | minutes |\n|---|---|---|---|---|---|")
    changing = len(PAPER_OUTLINE.classifiers) * traditional * options.steps * BATCH * TRADITIONAL_MS
    total = changing / 6e4 * splits
    for what, steps in steps_of.items():
        is_classifier = what in PAPER_OUTLINE.classifiers
        work = classifier_step(what, options.classes, config.image_size) if is_classifier else gan_step(what, config)
        each = work[0] / COUNTED
        ms = max(each * BATCH / options.tflops / 1e9, work[1] * options.microseconds / 1e3)
        minutes = ms / 6e4 * steps * splits
        total += minutes
        print(f"| {what} | {each / 1e9:.1f} | {work[1]} | {ms:.1f} | {steps} | {minutes:.1f} |", flush=True)
    print(f"| traditional augmentation | | | | | {changing / 6e4 * splits:.1f} |\n| all | | | | | {total:.0f} |")


if __name__ == "__main__":
    main()
