"""Write an image folder
=====================

Write synthetic images as an image folder with masks and a manifest, and read them back::

    python examples/export_folder.py                (fits on the built-in phantom)
    python examples/export_folder.py --model RUN    (samples the model of a run folder)
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from torchvision.datasets import ImageFolder

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run folder or a saved model")
    parser.add_argument("--out", type=Path, default=Path("synthetic"))
    parser.add_argument("--per-class", type=int, default=90)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    if options.model:
        augmenter = SynCGANAugmenter.load(options.model)
    else:
        config = SynCGANConfig.preset("tiny")
        if options.quick:
            few = [
                "mask_gan.warm_start_steps=0",
                "mask_gan.steps=3",
                "image_gan.steps=3",
                "filters.mask_plausibility=false",
            ]
            config = config.updated(few)
        augmenter = SynCGANAugmenter(config, seed=0).fit(Phantom(12, image_size=64))

    # `resume=True` would go on where an interrupted export stopped.
    summary = augmenter.export(
        options.out,
        dict.fromkeys(augmenter.classes_, options.per_class),
        seed=1,
        progress=lambda done, total: print(f"{done} of {total}", end="\r"),
    )
    print(f"{summary.written} images in {summary.folder}: {summary.counts}")

    with summary.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    print("first row of the manifest:", rows[0])

    # What torchvision reads is what was written, with the same classes.
    folder = ImageFolder(options.out / "images")
    print("read back by ImageFolder:", dict(Counter(folder.classes[label] for label in folder.targets)))


if __name__ == "__main__":
    main()
