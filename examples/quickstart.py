"""Quick start
===========

Fit on a few images, draw new ones with their nucleus masks, and look at them beside the real ones::

    python examples/quickstart.py               (the built-in phantom, about a minute; writes quickstart.png)
    python examples/quickstart.py --quick       (a few steps only)
"""

import argparse

import matplotlib.pyplot as plt

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
parser.add_argument("--steps", type=int, default=900, help="updates of the renderer")
parser.add_argument("--out", default="quickstart.png", help="the picture")
options = parser.parse_args()

# Any dataset of images and labels will do; this one draws "benign" and "malignant" smears.
dataset = Phantom(24, image_size=32)

# Preset tiny is for a first try; leave the configuration out for preset default (128 px).
steps = 3 if options.quick else options.steps
config = SynCGANConfig.preset("tiny").updated(["mask_gan.generator=mosaic", f"image_gan.steps={steps}"])
augmenter = SynCGANAugmenter(config, seed=0).fit(dataset)

figure, grid = plt.subplots(6, 6, figsize=(6, 6.6), layout="constrained")
for row, name in zip((0, 3), augmenter.classes_, strict=True):
    samples = augmenter.sample(name, 6, seed=1)
    first = dataset.targets.index(dataset.classes.index(name))
    for column in range(6):
        grid[row, column].imshow(dataset.image(first + column))
        grid[row + 1, column].imshow(samples.masks[column].cpu(), cmap="gray_r")
        grid[row + 2, column].imshow(samples.images[column].permute(1, 2, 0).cpu())
    for line, text in enumerate(("real", "mask", "synthetic")):
        grid[row + line, 0].set_title(f"{name}, {text}", loc="left", fontsize=9)
for axes in grid.flat:
    axes.axis("off")
figure.savefig(options.out)
print("drawn: real images, masks and synthetic images of", ", ".join(augmenter.classes_))
