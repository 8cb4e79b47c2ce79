"""Resume a training
=================

Interrupt a training and go on with it: the same weights, bit for bit, as without the interruption::

    python examples/resume.py                       (the built-in phantom, about a minute)
    python examples/resume.py --quick               (a few steps only)
"""

import argparse
import signal
from pathlib import Path

import torch

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    steps = 6 if options.quick else 200
    settings = ["mask_gan.generator=mosaic", f"image_gan.steps={steps}", "filters.mask_plausibility=false"]
    # A checkpoint every minute is the default; here one after every step.
    config = SynCGANConfig.preset("tiny").updated([*settings, "training.checkpoint_seconds=0", "training.log_every=1"])
    phantom = Phantom(6, image_size=32)

    straight = SynCGANAugmenter(config, seed=0).fit(phantom)

    def interrupt(event):
        """Press Ctrl-C half-way; kill -9 would cost no more than the steps since the last checkpoint."""
        if event.kind == "step" and event.stage == "image_gan" and event.done == steps // 2:
            signal.raise_signal(signal.SIGINT)

    try:
        SynCGANAugmenter(config, seed=0).fit(phantom, run_dir="run", callbacks=[interrupt])
    except KeyboardInterrupt:
        print("stopped; checkpoints:", *sorted(path.name for path in Path("run").glob("checkpoints/*/step-*")))

    # The same call again. `syncgan fit DATA --out RUN --resume` does the same on the command line.
    resumed = SynCGANAugmenter(config, seed=0).fit(phantom, run_dir="run")
    same = all(torch.equal(straight.sample(name, 4).images, resumed.sample(name, 4).images) for name in phantom.classes)
    print("equal to a training without interruption:", same)


if __name__ == "__main__":
    main()
