"""What lies on either side of the limit from which ``syncgan doctor`` calls two images near copies.

For each public set: the highest correlations between two different files, and for each kind of edit the lowest one
between an image and its edited copy. Edits and symmetries are made on the images
themselves, not on their small versions.

    python benchmarks/near_copies.py [--data FOLDER]
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from image_sets import root
from numpy.typing import NDArray
from PIL import Image

from syncgan.data.images import decode_image
from syncgan.data.scan import scan_images
from syncgan.evaluation.same_images import NEAR_COPY, ImagePrint, inside_likeness, print_of_pixels

Pixels = NDArray[np.uint8]
SETS = ("cric_fields", "cric_pap", "pbc_wbc4", "bccd_nuclei/images", "dsb2018_purple/images")
EDITED = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="DIR", help="folder of the sets; $SYNCGAN_DATA without it")
    data = root(parser.parse_args().data)
    print(f"limit {NEAR_COPY}")
    for name in SETS:
        folders = scan_images(data / name)
        images = [decode_image(folders.root / file).pixels for file in folders.files]
        own = [print_of_pixels(image) for image in images]
        turned = [[print_of_pixels(image) for image in views] for views in zip(*map(symmetries, images), strict=True)]
        found = np.max([likeness(own, view) for view in turned], axis=0)[np.triu_indices(len(images), 1)]
        highest = " ".join(f"{value:.2f}" for value in np.sort(found)[:-9:-1])
        surrounded = sum(one.inside is not None for one in own)
        print(f"{name}: {len(images)} images, {surrounded} in a flat surround; the eight most alike: {highest}")
        lowest: dict[str, float] = {}
        for image in images[:: max(1, len(images) // EDITED)]:
            views = [print_of_pixels(view) for view in symmetries(image)]
            for edit, pixels in edits(image):
                lowest[edit] = min(lowest.get(edit, 1.0), float(likeness(views, [print_of_pixels(pixels)]).max()))
        print("  edited copies, the least alike: " + ", ".join(f"{edit} {value:.2f}" for edit, value in lowest.items()))


def likeness(some: Sequence[ImagePrint], others: Sequence[ImagePrint]) -> NDArray[np.float32]:
    """Return the correlation of all with all, as they are: of what is inside, too, where both have a surround."""
    whole = np.stack([one.structure for one in some]) @ np.stack([one.structure for one in others]).T
    rows, columns = ([at for at, one in enumerate(own) if one.inside is not None] for own in (some, others))
    if rows and columns:
        inside = inside_likeness(
            np.stack([some[at].inside for at in rows]), np.stack([others[at].inside for at in columns])
        )
        whole[np.ix_(rows, columns)] = np.minimum(whole[np.ix_(rows, columns)], inside)
    return whole


def symmetries(image: Pixels) -> list[Pixels]:
    """Return the eight flips and quarter turns."""
    turns = [np.rot90(image, turn) for turn in range(4)]
    return [np.ascontiguousarray(view) for turn in turns for view in (turn, turn[:, ::-1])]


def edits(image: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Yield what people do to images, and at the end what the method does not find."""
    height, width = image.shape[:2]
    yield "turned", np.ascontiguousarray(np.rot90(image)[:, ::-1])
    yield "JPEG quality 50", jpeg(image, 50)
    yield "JPEG quality 20", jpeg(image, 20)
    yield "half the size", cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    yield "a third of the size", cv2.resize(image, (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    yield "twice the size", cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    yield "brightened", scaled(image, 1.2, 10)
    yield "darkened", scaled(image, 0.7, 0)
    yield "gamma 0.7", (255 * (image / 255) ** 0.7).astype(np.uint8)
    yield "gray", np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    yield "blurred", cv2.GaussianBlur(image, (0, 0), 1.5)
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    yield "half, brightened, JPEG and flipped", np.ascontiguousarray(jpeg(scaled(half, 1.15, 5), 60)[::-1])
    margin = round(0.03 * width)
    yield "3 % cut off all around (not found)", image[margin:-margin, margin:-margin]


def jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return np.asarray(picture.convert("RGB"))


def scaled(image: Pixels, factor: float, offset: float) -> Pixels:
    return np.clip(image * factor + offset, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
