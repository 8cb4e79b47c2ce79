"""Draw fresh samples for every batch
==================================

Draw fresh synthetic images for every batch, on the device, inside the training loop, and blend after that::

    python examples/batch_transform.py              (the built-in phantom)
    python examples/batch_transform.py --quick      (a few steps only)
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])
    dataset = Phantom(16, image_size=32, transform=v2.Compose([v2.ToImage(), normalise]))

    config = SynCGANConfig.preset("tiny")
    if options.quick:
        few = [
            "mask_gan.warm_start_steps=0",
            "mask_gan.steps=3",
            "image_gan.steps=3",
            "filters.mask_plausibility=false",
        ]
        config = config.updated(few)
    augmenter = SynCGANAugmenter(config, seed=0).fit(dataset)

    # Samples come as uint8; `transform` makes them like the batches of the loader.
    mix = augmenter.batch_transform(p=0.5, transform=normalise, seed=0)
    print(mix)
    # MixUp and CutMix come after it: they turn labels into probabilities, and need labels that are still integers.
    classes = len(augmenter.classes_)
    blend = v2.RandomChoice([v2.MixUp(num_classes=classes), v2.CutMix(num_classes=classes)])

    model = nn.Sequential(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(16, classes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loader = DataLoader(dataset, batch_size=8, shuffle=True)
    for epoch in range(1 if options.quick else 5):
        for images, labels in loader:
            images, labels = mix(images, labels)
            images, shares = blend(images, labels)
            loss = nn.functional.cross_entropy(model(images), shares)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}, batches mixed {mix.step}")

    # In evaluation mode, batches pass unchanged.
    mix.eval()
    images, labels = next(iter(loader))
    print("unchanged in evaluation mode:", mix(images, labels)[0] is images)


if __name__ == "__main__":
    main()
