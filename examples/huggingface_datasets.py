"""Use Hugging Face datasets
=========================

Fit on a Hugging Face dataset, train with it, and read exported images back as one::

    pip install datasets
    python examples/huggingface_datasets.py             (the built-in phantom; nothing is downloaded)
    python examples/huggingface_datasets.py --quick     (a few steps only)
"""

import argparse
from pathlib import Path

import torch
from datasets import ClassLabel, Dataset, Features, Image, concatenate_datasets, load_dataset
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    parser.add_argument("--out", type=Path, default=Path("synthetic"))
    options = parser.parse_args()

    # Any dataset with a column `image` and a column `label`; rename others, and leave the rest out by `select_columns`.
    phantom = Phantom(12, image_size=32)
    features = Features({"image": Image(), "label": ClassLabel(names=phantom.classes)})
    rows = {"image": [image for image, _ in phantom], "label": phantom.targets}
    real = Dataset.from_dict(rows, features=features)

    config = SynCGANConfig.preset("tiny")
    if options.quick:
        few = [
            "mask_gan.warm_start_steps=0",
            "mask_gan.steps=3",
            "image_gan.steps=3",
            "filters.mask_plausibility=false",
        ]
        config = config.updated(few)
    augmenter = SynCGANAugmenter(config, seed=0).fit(real)
    print("classes by their names in the dataset:", augmenter.classes_)

    # The transform that is set serves real and synthetic rows alike.
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    real.set_transform(lambda rows: {"pixel_values": to_float(rows["image"]), "labels": rows["label"]})
    augmented = augmenter.wrap(real, strategy=2.0)
    batch = next(iter(DataLoader(augmented, batch_size=16, shuffle=True)))
    print(len(augmented), "rows;", {name: tuple(values.shape) for name, values in batch.items()})

    # For a training that wants a dataset of the library's own: export, and read back, without a network.
    summary = augmenter.export(options.out, 8, seed=1)
    images, cache = str(summary.folder / "images"), str(summary.folder / "cache")
    synthetic = load_dataset("imagefolder", data_dir=images, split="train", cache_dir=cache)
    print("columns read back:", synthetic.column_names)
    real.reset_format()
    both = concatenate_datasets([real, synthetic.select_columns(["image", "label"]).cast(features)])
    print(len(both), "rows, the last of class", both.features["label"].int2str(both[-1]["label"]))


if __name__ == "__main__":
    main()
