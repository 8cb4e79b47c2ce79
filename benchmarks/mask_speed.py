"""Cost of unsupervised masks: time against the naive pipeline, other segmenters and decoding; memory; two processes.

    python benchmarks/mask_speed.py [--sizes 640x480 ...] [--repeats R] [--images N] [--data DIR]

Everything is measured in one run on one thread, interleaved A B A B, and reported as the median of the pairs' ratios
of CPU time (means over 50 ms of calls); only the two processes are timed by the wall clock. Images come from
``dsb2018_purple`` and ``bccd_nuclei`` in DIR, $SYNCGAN_DATA or ``../shared/data`` beside the project, resized; without
these, from the phantom. Needs scikit-image >= 0.26 for the baseline (``benchmarks/baselines/naive_masks.py``).
The naive pipeline on all pixels is measured once, on one image, where an image has more than a megapixel: it takes most
of the run's minutes.

Peak memory is the growth of a fresh process' peak resident size during one call (a call on a small image has loaded
the libraries), image excluded; on systems without /proc it is the growth of the process' all-time peak, a lower bound.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import io
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from baselines.naive_masks import naive_mask
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits

from syncgan import Phantom
from syncgan.extractor import MaskExtractor
from syncgan.registry import SEGMENTERS

SETS = ("dsb2018_purple", "bccd_nuclei")
SIZES = ("640x480", "1024x768", "2048x1536")
IMAGES_A_SET = 4
MEGAPIXEL = 1_000_000
MIN_SECONDS = 0.05
THROUGHPUT_SIZE = (640, 480)
THROUGHPUT_OF = ("gmm", "auto")
Array = NDArray[np.uint8]
Segment = Callable[[Array], Any]


def main() -> None:
    project = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WxH")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of measurements a figure")
    parser.add_argument("--images", type=int, default=2000, help="images for one and for two processes; 0: leave out")
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNCGAN_DATA", project.parent / "shared" / "data"))
    arguments = parser.parse_args()
    sizes = [(int(width), int(height)) for width, height in (size.split("x") for size in arguments.sizes)]
    sources = source_images(Path(arguments.data))
    use_one_thread()
    with threadpool_limits(1):
        for size in sizes:
            report_times(size, resized(sources, size), arguments.repeats)
        report_memory(sizes[-1], resized(sources[:1], sizes[-1])[0])
    if arguments.images:
        report_throughput(resized(sources, THROUGHPUT_SIZE), arguments.images)


def source_images(data: Path) -> list[Array]:
    """Return a few images of each stain, (H, W, 3) uint8, from the data folder or else from the phantom."""
    files = []
    for name in SETS:
        found = sorted((data / name / "images").glob("*.png"))
        files += found[:: max(1, len(found) // IMAGES_A_SET)][:IMAGES_A_SET]
    if not files:
        tell(f"no images under {data}: using the phantom")
        phantom = Phantom(IMAGES_A_SET, image_size=256)
        return [np.array(phantom.image(index)) for index in range(len(phantom))]
    # Alternating, so that few repeats see both stains.
    files = [file for pair in zip(files[: len(files) // 2], files[len(files) // 2 :], strict=False) for file in pair]
    return [np.array(Image.open(file).convert("RGB")) for file in files]


def resized(images: list[Array], size: tuple[int, int]) -> list[Array]:
    return [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8) for image in images]


def use_one_thread() -> None:
    cv2.setNumThreads(1)


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def segmenter(name: str) -> Segment:
    """Return a registered segmenter with its default parameters."""
    plugin: Any = SEGMENTERS.get(name)
    built: Segment = plugin() if inspect.isclass(plugin) else plugin
    return built


METHODS: dict[str, Segment] = {
    "naive, all pixels": naive_mask,
    "naive, fit on 10k": functools.partial(naive_mask, fit_pixels=10_000),
}


# --- time ------------------------------------------------------------------------------------------------------------


def report_times(size: tuple[int, int], images: list[Array], repeats: int) -> None:
    """Print how many times as long as gmm each method takes, and how many times as long as decoding gmm takes."""
    print(f"\n{size[0]}x{size[1]}, one thread, medians of {repeats} pairs")
    gmm = segmenter("gmm")
    others = {name: functools.partial(named, name) for name in SEGMENTERS.names() if name != "gmm"}
    for name, method in {**METHODS, **others}.items():
        once = name == "naive, all pixels" and size[0] * size[1] > MEGAPIXEL
        tell(f"{size[0]}x{size[1]}: {name}")
        try:
            ours, theirs = paired_ms(gmm, method, images, 1 if once else repeats)
        except Exception as error:  # a plug-in may fail in any way, and the others are still wanted
            print(f"  {name:20s} failed: {type(error).__name__}: {error}")
            continue
        ratio = np.median(theirs / ours)
        print(f"  {name:20s} {np.median(theirs):9.1f} ms = {ratio:7.2f} x gmm ({np.median(ours):.2f} ms)", flush=True)
    for kind, options in (("JPEG", {"quality": 90}), ("PNG", {})):
        files = [encoded(image, kind, options) for image in images]
        ours, theirs = paired_ms(gmm, decoded, images, repeats, files)
        print(
            f"  {'decoding ' + kind:20s} {np.median(theirs):9.1f} ms; gmm takes {np.median(ours / theirs):.2f} x that"
        )


def named(name: str, image: Array) -> Any:
    return segmenter(name)(image)


def paired_ms(
    ours: Segment, theirs: Callable[[Any], Any], images: list[Array], repeats: int, inputs: list[Any] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (repeats,) CPU milliseconds of each, measured by turns, after one call of each on a small image."""
    inputs = images if inputs is None else inputs
    small = np.ascontiguousarray(images[0][:64, :64])
    ours(small)
    theirs(small if inputs is images else inputs[0])
    pairs = []
    for repeat in range(repeats):
        index = repeat % len(images)
        pairs.append((cpu_ms(ours, images[index]), cpu_ms(theirs, inputs[index])))
    ours_ms, theirs_ms = np.array(pairs).T
    return ours_ms, theirs_ms


def cpu_ms(function: Callable[[Any], Any], argument: Any) -> float:
    """Return the mean of as many calls as fill `MIN_SECONDS`: the clock is coarse for calls of a millisecond."""
    calls, start = 0, time.process_time()
    while (elapsed := time.process_time() - start) < MIN_SECONDS or calls == 0:
        function(argument)
        calls += 1
    return 1000 * elapsed / calls


def encoded(image: Array, kind: str, options: dict[str, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(file: bytes) -> Array:
    return np.array(Image.open(io.BytesIO(file)).convert("RGB"))


# --- memory ----------------------------------------------------------------------------------------------------------


def report_memory(size: tuple[int, int], image: Array) -> None:
    """Print the peak memory of each method, but the naive one on all pixels, which has the longest run."""
    print(f"\npeak memory at {size[0]}x{size[1]}, image excluded")
    pixels = size[0] * size[1]
    for name in [*SEGMENTERS.names(), "naive, fit on 10k"]:
        tell(f"memory: {name}")
        try:
            # A fresh process each: what another method has freed would hide what this one takes.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                peak = pool.submit(peak_bytes, name, image).result()
        except Exception as error:  # as above
            print(f"  {name:20s} failed: {type(error).__name__}: {error}")
            continue
        print(f"  {name:20s} {peak / pixels:7.1f} bytes a pixel", flush=True)


def peak_bytes(name: str, image: Array) -> int:
    """Return by how many bytes this process grows at most during one call."""
    use_one_thread()
    method = METHODS.get(name) or segmenter(name)
    method(np.ascontiguousarray(image[:128, :128]))
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        method(image)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return grown if sys.platform == "darwin" else 1024 * grown
    reset.write_text("5")  # the peak starts again from what is resident now
    before = kilobytes(status, "VmRSS")
    method(image)
    return 1024 * (kilobytes(status, "VmHWM") - before)


def kilobytes(status: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(key))


# --- two processes ---------------------------------------------------------------------------------------------------


class Repeated:
    """A dataset of `length` items that repeats a few images."""

    def __init__(self, images: list[Array], length: int) -> None:
        self.images, self.length = images, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Array:
        return self.images[index % len(self.images)]


def report_throughput(images: list[Array], total: int, rounds: int = 3) -> None:
    """Print images a second through `MaskExtractor.extract` for one and for two processes (loky, warm pool)."""
    use_one_thread()
    warm_pool(images)
    dataset = Repeated(images, total)
    print(
        f"\n{total} images of {THROUGHPUT_SIZE[0]}x{THROUGHPUT_SIZE[1]} through MaskExtractor.extract, one thread each"
    )
    for name in (name for name in THROUGHPUT_OF if name in SEGMENTERS.names()):
        try:
            extractor = MaskExtractor(name)
            pairs = []
            for turn in range(rounds if name == "gmm" else 1):
                tell(f"throughput: {name}, round {turn + 1}")
                pairs.append([wall_seconds(extractor, dataset, jobs) for jobs in (1, 2)])
            seconds = np.array(pairs)
        except Exception as error:  # as above
            print(f"  {name:20s} failed: {type(error).__name__}: {error}")
            continue
        one, two = total / np.median(seconds, axis=0)
        gain = np.median(seconds[:, 0] / seconds[:, 1])
        print(f"  {name:20s} {one:7.1f} images/s on one, {two:7.1f} on two: {gain:.2f} x", flush=True)


def warm_pool(images: list[Array]) -> None:
    """Start both workers, restrict each to one thread, and let each load the segmenter."""
    Parallel(n_jobs=2)(delayed(prepare_worker)() for _ in range(8))
    MaskExtractor("gmm").extract(images * 4, n_jobs=2)


def prepare_worker() -> None:
    use_one_thread()
    time.sleep(0.3)  # long enough for the other worker to take its share of these tasks


def wall_seconds(extractor: MaskExtractor, dataset: Repeated, jobs: int) -> float:
    start = time.perf_counter()
    extractor.extract(dataset, n_jobs=jobs)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
