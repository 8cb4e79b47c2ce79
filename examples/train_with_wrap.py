"""Train on real and synthetic images
==================================

Train a torchvision ResNet-18 on real and synthetic images together::

    python examples/train_with_wrap.py DATA         (DATA: one folder a class)
    python examples/train_with_wrap.py --quick      (the built-in phantom, a few steps)
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="folder of class folders; the phantom when left out")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    # One transform for real and synthetic items: resize first, because real images may have any size.
    side = 64 if options.quick else 128
    to_float = v2.Compose([v2.ToImage(), v2.Resize((side, side)), v2.ToDtype(torch.float32, scale=True)])
    real = ImageFolder(options.data, to_float) if options.data else Phantom(8, image_size=64, transform=to_float)

    # Fit on the training images only: what the test set holds must not reach the synthetic images.
    generator = torch.Generator().manual_seed(0)
    train, test = torch.utils.data.random_split(real, [0.75, 0.25], generator=generator)
    config = SynCGANConfig.preset("tiny" if options.quick or not options.data else "default")
    if options.quick:
        few = [
            "mask_gan.warm_start_steps=0",
            "mask_gan.steps=3",
            "image_gan.steps=3",
            "filters.mask_plausibility=false",
        ]
        config = config.updated(few)
    augmenter = SynCGANAugmenter(config, seed=0).fit(train)
    augmented = augmenter.wrap(train, strategy=2.0)
    print(f"{len(train)} real and {len(augmented) - len(train)} synthetic images, {len(test)} real ones to test")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = resnet18(num_classes=len(augmenter.classes_)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    # Synthetic images are rendered already, so workers never touch the GPU.
    loader = DataLoader(augmented, batch_size=16, shuffle=True, num_workers=2, drop_last=True)
    for epoch in range(1 if options.quick else 20):
        model.train()
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")

    model.eval()
    with torch.no_grad():
        hits = [int(model(image[None].to(device)).argmax()) == label for image, label in test]
    print(f"accuracy on {len(hits)} held-out real images: {sum(hits) / len(hits):.2f}")


if __name__ == "__main__":
    main()
