"""Bring your own generators
=========================

Bring your own generators: masks that are drawn by rule, and a small renderer that syncgan trains::

    python examples/custom_generator.py [--quick]       (fits on the built-in phantom, writes samples.png)
"""

import argparse

import numpy as np
import torch
from PIL import Image
from torch import nn

from syncgan import IMAGE_GENERATORS, MASK_GENERATORS, Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.testing import check_image_generator, check_mask_generator


@MASK_GENERATORS.register("turned")
class Turned:
    """An object that learns by itself: it keeps real masks and turns them by quarters."""

    def fit(self, masks, labels=None, seed=0):
        self.masks = torch.from_numpy(masks)

    def sample(self, n, label=None, seed=0):
        draws = (np.random.default_rng([seed, position]) for position in range(n))
        return np.stack([np.rot90(self.masks[draw.integers(len(self.masks))], draw.integers(4)) for draw in draws])

    def state_dict(self):
        return {"masks": self.masks}

    def load_state_dict(self, state):
        self.masks = state["masks"]


@IMAGE_GENERATORS.register("dilated")
class Dilated(nn.Module):
    """A network that syncgan trains: one-hot maps (N, L, S, S) to images (N, 3, S, S) before tanh."""

    def __init__(self, *, config, levels, image_size):
        super().__init__()
        self.noise_shape = (1, image_size, image_size)
        layers, channels = [], levels + 1
        for dilation in (1, 2, 4, 8):
            layers += [nn.Conv2d(channels, config.width, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.2)]
            channels = config.width
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 3, 1))

    def forward(self, onehot, noise=None, label=None):
        return self.layers(torch.cat([onehot, noise], dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()
    check_mask_generator("turned", levels=3)  # says what is wrong, if anything is
    check_image_generator("dilated", levels=3)
    config = SynCGANConfig.preset("tiny").updated(["mask_gan.generator=turned", "image_gan.generator=dilated"])
    config = config.updated(["image_gan.steps=3"] if options.quick else [])
    augmenter = SynCGANAugmenter(config, seed=0).fit(Phantom(4 if options.quick else 24, image_size=32))
    rows = [torch.cat(list(augmenter.sample(name, 6).images.cpu()), dim=2) for name in augmenter.classes_]
    Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy()).save("samples.png")
    print("samples.png: one row a class,", ", ".join(augmenter.classes_))


if __name__ == "__main__":
    main()
