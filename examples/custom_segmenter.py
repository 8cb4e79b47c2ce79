"""Bring your own segmenter
========================

Bring your own segmenter: a function of one image, registered under a name::

    python examples/custom_segmenter.py             (writes overlays of two segmenters to the folder `overlays`)
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import syncgan
from syncgan import MaskExtractor, Phantom
from syncgan.testing import check_segmenter


@syncgan.SEGMENTERS.register("otsu-red")
def otsu_red(image, *, blur_px=1.0):
    """Find nuclei by Otsu's threshold on the red channel, which nuclear dyes absorb most.

    A segmenter gets an (H, W, 3) uint8 RGB array and returns an (H, W) mask: bool, {0, 1}, {0, 255} or instance labels.
    """
    red = cv2.GaussianBlur(image[..., 0], (0, 0), blur_px)
    _, mask = cv2.threshold(red, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    # Otsu splits an even image too: without contrast there is nothing to find.
    return mask if np.ptp(red) > 20 else np.zeros_like(mask)


def dice(found, truth):
    """Overlap of two masks, 1 when they agree."""
    return 2 * np.count_nonzero(found & truth) / max(1, np.count_nonzero(found) + np.count_nonzero(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two images a class instead of twelve")
    parser.add_argument("--out", type=Path, default=Path("overlays"))
    options = parser.parse_args()

    check_segmenter("otsu-red", blur_px=2.0)  # says what is wrong, if anything is

    phantom = Phantom(2 if options.quick else 12, image_size=128)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, parameters in (("auto", {}), ("otsu-red", {"blur_px": 2.0})):
        extractor = MaskExtractor(name, **parameters)
        masks = extractor.extract(phantom)
        scores = [dice(mask, truth) for mask, truth in zip(masks, phantom.masks, strict=True)]
        print(f"{extractor}: mean Dice {np.mean(scores):.2f} on {len(phantom)} images of the phantom")
        picture = phantom.image(0)
        picture[masks[0] > 0] = picture[masks[0] > 0] // 2 + np.array([0, 127, 0], np.uint8)
        Image.fromarray(picture).save(options.out / f"{name}.png")

    # Everything that takes a segmenter takes the name, its function, or the extractor:
    # SynCGANAugmenter(extractor="otsu-red"), SynCGANAugmenter(extractor=MaskExtractor(otsu_red, levels=3, blur_px=2.0))


if __name__ == "__main__":
    main()
