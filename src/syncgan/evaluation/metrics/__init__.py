"""How near are synthetic images to real ones, and how near could they be? Metrics for 20 to 200 images.

Everything here works on features (N, D), see `evaluation.features`; only `compare_images` knows images. No figure
stands alone: each has an interval, and beside it what two sets of real images of the same size give.
"""

from syncgan.evaluation.metrics.comparison import ImageComparison, MetricRow, compare_features, compare_images
from syncgan.evaluation.metrics.frechet import frechet_distance
from syncgan.evaluation.metrics.kernel import Chance, kernel_distance, kernel_distance_interval, real_against_real
from syncgan.evaluation.metrics.neighbours import Distances, coverage, density, label_agreement, precision, recall
from syncgan.evaluation.metrics.variety import mean_pairwise_distance, vendi_score

__all__ = [
    "Chance",
    "Distances",
    "ImageComparison",
    "MetricRow",
    "compare_features",
    "compare_images",
    "coverage",
    "density",
    "frechet_distance",
    "kernel_distance",
    "kernel_distance_interval",
    "label_agreement",
    "mean_pairwise_distance",
    "precision",
    "real_against_real",
    "recall",
    "vendi_score",
]
