"""Audit samples for copies
========================

Ask whether samples are copies of training images, and refuse to write them if they are::

    python examples/audit.py                        (fits on the built-in phantom, writes the folder `audited`)
    python examples/audit.py --quick                (a few steps only)
"""

import argparse

import torch

from syncgan import Phantom, SynCGANAugmenter, SynCGANConfig
from syncgan.evaluation.audit import audit, require_no_copies
from syncgan.evaluation.audit.showing import write_audit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    # Images of one class; the second half is held out: the model never sees it, so it is the yardstick.
    each = 20 if options.quick else 40
    phantom = Phantom(2 * each, image_size=32)
    pixels = torch.stack([torch.from_numpy(phantom.image(index).copy()) for index in range(len(phantom))])
    images = pixels.permute(0, 3, 1, 2)
    benign, malignant = images[: 2 * each], images[2 * each :]
    training, held_out = benign[:each], benign[each:]

    items = [(image, 0) for image in training] + [(image, 1) for image in malignant[:each]]
    config = SynCGANConfig.preset("tiny").updated(["mask_gan.generator=mosaic"])
    if options.quick:
        config = config.updated(["image_gan.steps=3", "filters.mask_plausibility=false"])
    augmenter = SynCGANAugmenter(config, seed=0).fit(items)
    samples = augmenter.sample(0, each, seed=1).images.cpu()

    found = audit(samples, training, held_out, pixels_only=options.quick)
    print(found.verdict)
    for path in write_audit(found, "audited", samples, training, held_out, thumbnails=True):
        print("written:", path)  # look at pairs.png yourself

    # What a copying model would get: the training images themselves, mirrored.
    copied = audit(training.flip(3), training, held_out, pixels_only=True)
    print("mirrored training images:", copied.verdict)
    try:
        require_no_copies(copied)
    except ValueError as error:
        print("refused:", str(error).partition(";")[0])


if __name__ == "__main__":
    main()
