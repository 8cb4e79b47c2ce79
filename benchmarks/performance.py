"""Cost against the goals: masks, training step, sampling, memory and imports, each beside its baseline in one run.

    python benchmarks/performance.py [--rows masks step ...] [--pairs N] [--size 256] [--width 64] [--json FILE]

Prints a row for each figure: the goal, what was measured, lowest and highest pair, and what limits it. Everything is
measured on one thread by the process's CPU time, by turns (A B A B), and the median of the pairs' ratios counts; on a
GPU by the clock, synchronised. Peak memory is that of a child process. Rows that need hardware which is not here say
"not measured". Baselines: `baselines/networks.py` (pix2pix as published; the paper's renderer as first written) and
`baselines/naive_masks.py` (needs scikit-image >= 0.26).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mask_speed
import torch
from measuring import Paired, in_child, paired, peak_growth
from steps import forward, sample, step

from syncgan import SynCGANConfig

THREADS = 1


@dataclass(frozen=True)
class Row:
    """One line of the table. `higher` tells whether the figure shall be at least the goal, or at most."""

    figure: str
    goal: float
    measured: float | None
    spread: tuple[float, float] | None = None
    higher: bool = True
    unit: str = "x"
    remark: str = ""

    @property
    def reached(self) -> str:
        """Say whether the goal is reached."""
        if self.measured is None:
            return "not measured"
        return "yes" if (self.measured >= self.goal) == self.higher or self.measured == self.goal else "no"


@dataclass(frozen=True)
class Options:
    """What to measure at."""

    pairs: int
    size: int
    width: int
    mask_size: tuple[int, int]
    data: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--pairs", type=int, default=5, help="pairs of measurements a figure")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--width", type=int, default=64, help="filters of the networks")
    parser.add_argument("--mask-size", default="640x480", metavar="WxH", help="images that masks are extracted from")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("SYNCGAN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")),
    )
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    mask_speed.use_one_thread()
    width, height = (int(side) for side in given.mask_size.split("x"))
    options = Options(given.pairs, given.size, given.width, (width, height), given.data)
    print(f"{machine()}\n\n| figure | goal | measured | pairs | reached | remark |\n|---|---|---|---|---|---|")
    rows = []
    for name in given.rows:
        for row in ROWS[name](options):
            rows.append(row)
            print(line(row), flush=True)
    if given.json:
        given.json.write_text(
            json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1), encoding="utf-8"
        )


def line(row: Row) -> str:
    """Return a row as Markdown."""
    measured = "" if row.measured is None else f"{row.measured:.2f} {row.unit}"
    spread = "" if row.spread is None else f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
    sign = ">=" if row.higher else "<="
    return f"| {row.figure} | {sign} {row.goal:g} {row.unit} | {measured} | {spread} | {row.reached} | {row.remark} |"


def machine() -> str:
    """Return what was measured on."""
    info = Path("/proc/cpuinfo")
    names = [text for text in info.read_text().splitlines() if text.startswith("model name")] if info.exists() else []
    cpu = names[0].split(":")[1].strip() if names else platform.processor()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cpu} ({torch.backends.cpu.get_cpu_capability()}), {THREADS} thread, {gpu}, torch {torch.__version__}"


def compared(figure: str, goal: float, found: Paired, *, inverse: bool = False, remark: str = "") -> Row:
    """Return a row of theirs / ours, or of ours / theirs, which shall stay below the goal."""
    ends = (found.lowest, found.highest)
    ratio, spread = (1 / found.ratio, (1 / ends[1], 1 / ends[0])) if inverse else (found.ratio, ends)
    times = f"{1e3 * found.ours:.1f} ms against {1e3 * found.theirs:.1f} ms"
    return Row(figure, goal, ratio, spread, not inverse, remark=f"{times}{'; ' if remark else ''}{remark}")


# --- masks -----------------------------------------------------------------------------------------------------------


def masks(options: Options) -> Iterator[Row]:
    """Compare extraction with the naive and the careful pipeline, and with decoding the file."""
    images = mask_speed.resized(mask_speed.source_images(options.data), options.mask_size)
    ours = mask_speed.segmenter("gmm")
    where = f"{options.mask_size[0]}x{options.mask_size[1]}"
    for name, goal, pairs in (("naive, all pixels", 700, 2), ("naive, fit on 10k", 27, options.pairs)):
        found = mask_speed.paired_ms(ours, mask_speed.METHODS[name], images, pairs)
        yield compared(f"masks at {where} against {name}", goal, summary(*found))
    for kind, settings, goal in (("JPEG", {"quality": 90}, 6), ("PNG", {}, 1.5)):
        files = [mask_speed.encoded(image, kind, settings) for image in images]
        found = mask_speed.paired_ms(ours, mask_speed.decoded, images, options.pairs, files)
        yield compared(f"masks at {where} against decoding {kind}", goal, summary(*found), inverse=True)


def summary(ours: Any, theirs: Any) -> Paired:
    """Return the medians of milliseconds measured in pairs."""
    ratios = [float(b / a) for a, b in zip(ours, theirs, strict=True)]
    first, second = (statistics.median(float(ms) for ms in column) / 1e3 for column in (ours, theirs))
    return Paired(first, second, statistics.median(ratios), min(ratios), max(ratios))


# --- networks --------------------------------------------------------------------------------------------------------


def steps(options: Options) -> Iterator[Row]:
    """Compare the training step on the CPU."""
    cases = [("pix2pix", batch, {"fp32": 1.4, "bf16": 2.5}) for batch in (1, 4)]
    cases.append(("written", 4, {"fp32": 2.2, "bf16": 4.0}))
    for kind, batch, goals in cases:
        for precision, goal in goals.items():
            figure = f"training step, batch {batch}, {precision}, against {NAMES[kind]}"
            if precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
                yield Row(figure, goal, None, remark="this CPU does not multiply bf16")
                continue
            sizes = {"batch": batch, "size": options.size, "width": options.width, "device": "cpu"}
            tasks = (step("syncgan", precision=precision, **sizes), step(kind, precision="fp32", **sizes))
            yield compared(figure, goal, paired(*tasks, pairs=options.pairs))


def gpu(options: Options) -> Iterator[Row]:
    """Compare the training step on a GPU, against the baseline in TF32, and count images a second."""
    for batch in (1, 32, 128):
        figure = f"training step on a GPU, batch {batch}, bf16, against {NAMES['pix2pix']} in TF32"
        if not torch.cuda.is_available():
            yield Row(figure, 3, None, remark="no GPU")
            continue
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        sizes = {"batch": batch, "size": options.size, "width": options.width, "device": "cuda"}
        ours = step("syncgan", precision="bf16", compiled=True, **sizes)
        found = paired(ours, step("pix2pix", precision="fp32", **sizes), pairs=max(20, options.pairs), device="cuda")
        yield compared(figure, 3, found)
        if batch == 128:
            yield Row("training on a GPU", 3500, batch / found.ours, unit="images/s")
    if not torch.cuda.is_available():
        yield Row("training on a GPU", 3500, None, unit="images/s", remark="no GPU")
        yield Row("sampling on a GPU", 25000, None, unit="images/s", remark="no GPU")
        return
    sizes = {"batch": 128, "size": options.size, "width": options.width, "precision": "bf16", "device": "cuda"}
    render = forward("syncgan", **sizes)
    yield Row("sampling on a GPU", 25000, 128 / paired(render, render, pairs=20, device="cuda").ours, unit="images/s")


def sampling(options: Options) -> Iterator[Row]:
    """Compare rendering on the CPU, in the chunks in which samples are rendered."""
    chunk = SynCGANConfig().sampling.chunk_size
    for precision, goal in (("fp32", 1.6), ("bf16", 3.2)):
        figure = f"rendering, {precision}, against {NAMES['pix2pix']}"
        if precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
            yield Row(figure, goal, None, remark="this CPU does not multiply bf16")
            continue
        sizes = {"batch": chunk, "size": options.size, "width": options.width, "device": "cpu"}
        tasks = (forward("syncgan", precision=precision, **sizes), forward("pix2pix", precision="fp32", **sizes))
        found = paired(*tasks, pairs=options.pairs)
        yield compared(figure, goal, found, remark=f"{chunk} images each")
        whole = (sample(precision=precision, **sizes), tasks[1])
        yield compared(
            f"{figure}, masks of a decoder included",
            goal,
            paired(*whole, pairs=options.pairs),
            remark="the same images",
        )


def memory(options: Options) -> Iterator[Row]:
    """Compare the peak memory of two training steps, networks and optimiser included.

    Once of the memory in use (glibc then gives back at once what is freed), once of what its allocator keeps resident
    by default, which depends on the order in which large blocks come and go.
    """
    for what, environment in (("in use", {"MALLOC_MMAP_THRESHOLD_": str(2**20)}), ("resident", {})):
        ours, theirs = (
            in_child(_step_peak, kind, options.size, options.width, environment=environment)
            for kind in ("syncgan", "pix2pix")
        )
        remark = f"{ours / 2**20:.0f} MB against {theirs / 2**20:.0f} MB"
        figure = f"peak memory of training, {what}, batch 4, against {NAMES['pix2pix']}"
        yield Row(figure, 0.85, ours / theirs, higher=False, remark=remark)


def _step_peak(kind: str, size: int, width: int) -> int:
    torch.set_num_threads(THREADS)
    small = step(kind, batch=2, size=32, width=8, precision="fp32", device="cpu")
    small(), small()  # libraries are loaded

    def train() -> None:
        task = step(kind, batch=4, size=size, width=width, precision="fp32", device="cpu")
        task(), task()

    return peak_growth(train)


# --- imports ---------------------------------------------------------------------------------------------------------


def imports(options: Options) -> Iterator[Row]:
    """Measure seconds of CPU of fresh processes."""
    package = [cpu_seconds("import syncgan") - cpu_seconds("") for _ in range(options.pairs)]
    yield Row("import syncgan, beyond the interpreter", 0.15, statistics.median(package), None, False, "s")
    command = "import sys; sys.argv = ['syncgan', '--help']; from syncgan.cli import main; main()"
    helped = [cpu_seconds(command) for _ in range(options.pairs)]
    yield Row("syncgan --help", 0.4, statistics.median(helped), None, False, "s")
    training = "import syncgan.training.loop, syncgan.image_cgan"
    pairs = [(cpu_seconds(training), cpu_seconds("import torch")) for _ in range(options.pairs)]
    yield Row("imports of training against import torch", 1.05, statistics.median(a / b for a, b in pairs), None, False)


def cpu_seconds(code: str) -> float:
    """Return the seconds of CPU that a fresh interpreter takes for `code`."""
    timed = (
        "import os\ntry:\n exec(" + repr(code) + ")\nexcept SystemExit:\n pass\n"
        "import sys; print(sum(os.times()[:2]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1])


NAMES = {"pix2pix": "pix2pix as published", "written": "the paper's networks as first written"}
ROWS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "masks": masks,
    "step": steps,
    "sampling": sampling,
    "memory": memory,
    "imports": imports,
    "gpu": gpu,
}


if __name__ == "__main__":
    main()
