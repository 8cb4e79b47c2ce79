"""Draw real | mask | synthetic of a run: the picture in the README and in the tutorial.

    python benchmarks/picture.py RUN DATA [--out docs/images/samples.png] [--count 3] [--seed 0] [--side 86]

Nothing is chosen: a row a class shows the first images of its folder in DATA, and the first samples of `--seed` with
the masks that they were rendered from. The palette is cut to 256 colours, so that the picture stays small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from syncgan import SynCGANAugmenter
from syncgan.data.folders import ClassFolders, load_class_folders
from syncgan.data.tensors import fit_image
from syncgan.evaluation.plots import colour_map

Pixels = NDArray[np.uint8]
GAP_PX, HEAD_PX, NAME_PX = 3, 22, 18
HEADS = ("real", "mask, drawn by syncgan", "synthetic, rendered from it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or a saved model")
    parser.add_argument("data", type=Path, help="folder of class folders")
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    parser.add_argument("--count", type=int, default=3, help="images of each kind in a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=86, help="of one image in the picture, in pixels")
    options = parser.parse_args()
    augmenter = SynCGANAugmenter.load(options.run, device="cpu")
    folders, _ = load_class_folders(options.data)
    rows = [_row(augmenter, folders, name, options.count, options.seed) for name in augmenter.classes_]
    picture = _drawn(rows, augmenter.classes_, options.side).quantize(256, dither=Image.Dither.NONE)
    picture.save(options.out, optimize=True)
    print(f"{options.out}: {picture.width} x {picture.height} px, {options.out.stat().st_size / 1000:.0f} kB")


def _row(
    augmenter: SynCGANAugmenter, folders: ClassFolders, name: str, count: int, seed: int
) -> tuple[list[Pixels], ...]:
    """Return real images, masks, and samples of a class, each (H, W, 3) uint8."""
    config = augmenter.config
    members = [index for index, label in enumerate(folders.targets) if folders.classes[label] == name][:count]
    real = [fit_image(folders.image(index), config.image_size, config.geometry) for index in members]
    samples = augmenter.sample(name, count, seed=seed)
    masks = [colour_map(mask.numpy(), augmenter.levels_) for mask in samples.masks]
    return real, masks, [image.permute(1, 2, 0).numpy() for image in samples.images]


def _drawn(rows: list[tuple[list[Pixels], ...]], names: tuple[str, ...], side: int) -> Image.Image:
    """Return the picture: a row a class under its name, a column a kind under its heading."""
    step, count = side + GAP_PX, len(rows[0][1])
    group = count * step + 3 * GAP_PX
    canvas = Image.new("RGB", (len(HEADS) * group - 3 * GAP_PX, HEAD_PX + len(rows) * (NAME_PX + step)), "white")
    draw, head, plain = ImageDraw.Draw(canvas), ImageFont.load_default(15), ImageFont.load_default(13)
    for column, text in enumerate(HEADS):
        draw.text((column * group, 2), text, "black", head)
    for line, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = HEAD_PX + line * (NAME_PX + step)
        draw.text((0, top + 1), name, "dimgray", plain)
        for column, images in enumerate(row):
            for place, image in enumerate(images):
                tile = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
                canvas.paste(tile, (column * group + place * step, top + NAME_PX))
    return canvas


if __name__ == "__main__":
    main()
