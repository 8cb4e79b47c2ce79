"""Benchmark an arm of your own
============================

Ask whether synthetic images help a classifier: splits, arms, intervals and a verdict in words::

    python examples/benchmark.py DATA               (DATA: one folder a class; hours on a CPU)
    python examples/benchmark.py --quick            (the built-in phantom, far too short for a verdict)
"""

import argparse

from torchvision.datasets import ImageFolder

import syncgan
from syncgan import Phantom, SynCGANConfig
from syncgan.evaluation.arms import ArmPlan, traditional
from syncgan.evaluation.benchmark.runner import run_benchmark
from syncgan.evaluation.benchmark.settings import BenchmarkConfig


@syncgan.ARMS.register("Balanced+Trad")
def balanced(dataset, augmenter, seed=0):
    """Train on real images and as many synthetic ones as make the classes equal, under flips and rotation."""
    return ArmPlan(augmenter.wrap(dataset, "balance", seed=seed, refresh=1), transform=traditional())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="folder of class folders; the phantom when left out")
    parser.add_argument("--out", default="results", help="folder of results; gone on with if it is there")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    data = ImageFolder(options.data) if options.data else Phantom(12 if options.quick else 60, image_size=32)
    config = SynCGANConfig.preset("default" if options.data else "tiny")
    if options.quick:
        few = ["mask_gan.generator=mosaic", "image_gan.steps=3", "filters.mask_plausibility=false"]
        config = config.updated(few)

    summary = run_benchmark(
        data,
        options.out,
        config=config,
        settings=BenchmarkConfig(steps=5 if options.quick else 300),
        arms=["Orig", "Orig+Trad", "Balanced+Trad"],
        classifiers=["small_cnn"],
        repeats=3 if options.quick else 10,
        per_class=4 if options.quick else 12,
        seed=0,
    )
    # Means with intervals; then each arm against Orig, on the same test images of the same splits.
    print(summary.markdown)
    for comparison in summary.analysis.comparisons:
        print(comparison.sentence)


if __name__ == "__main__":
    main()
