"""Train in several processes
==========================

Fit on several GPUs, or in several processes: the same script, started by torchrun::

    torchrun --nproc-per-node 2 examples/torchrun.py            (each process takes half of every batch)
    python examples/torchrun.py --quick                         (one process, a few steps)
"""

import argparse
import os

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="run", help="run folder; gone on with if it is there")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

    # Every batch is cut into one slice a process, so batch sizes must divide evenly.
    config = SynCGANConfig.preset("tiny").updated(["mask_gan.batch_size=16", "image_gan.batch_size=8"])
    if options.quick:
        few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=3", "image_gan.steps=3"]
        config = config.updated([*few, "filters.mask_plausibility=false"])

    def say(event):
        """Report; only the first process calls callbacks, writes files and needs the run folder."""
        if event.kind == "step":
            print(f"{event.stage}: {event.done} of {event.total}, {event.images_per_second:.0f} images a second")

    # All processes read the same data; device "auto" gives each its own GPU, or the CPU to all.
    dataset = Phantom(8 if options.quick else 40, image_size=32)
    augmenter = SynCGANAugmenter(config, seed=0).fit(dataset, run_dir=options.out, callbacks=[say])

    # Each has the whole model afterwards. Write from one.
    if rank == 0:
        summary = augmenter.export("synthetic", {"benign": 4, "malignant": 4}, seed=1)
        print(f"fitted by {processes} process(es); written: {summary.counts}")


if __name__ == "__main__":
    main()
