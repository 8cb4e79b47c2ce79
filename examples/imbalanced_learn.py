"""Balance classes in imbalanced-learn
===================================

Balance classes by synthetic images inside a pipeline of imbalanced-learn::

    pip install 'syncgan[imbalanced]'
    python examples/imbalanced_learn.py             (a few minutes on a laptop)
    python examples/imbalanced_learn.py --quick     (a few steps only)
"""

import argparse
from collections import Counter

import numpy as np
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.preprocessing import FunctionTransformer

from syncgan import Phantom, SynCGANConfig
from syncgan.bridges import SynCGANSampler


def features(images: np.ndarray) -> np.ndarray:
    """Return mean and spread of every colour of each image."""
    scaled = images / 255
    return np.concatenate([scaled.mean(axis=(1, 2)), scaled.std(axis=(1, 2))], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that everything runs")
    options = parser.parse_args()

    # Twelve benign images and four malignant ones.
    phantom = Phantom(12, image_size=32)
    images = np.stack([phantom.image(index) for index in range(16)])
    labels = np.array([phantom.classes[label] for label in phantom.targets[:16]])

    config = SynCGANConfig.preset("tiny")
    if options.quick:
        few = [
            "mask_gan.warm_start_steps=0",
            "mask_gan.steps=3",
            "image_gan.steps=3",
            "filters.mask_plausibility=false",
        ]
        config = config.updated(few)

    # Alone, as every sampler of imbalanced-learn: real images first and untouched, synthetic ones after.
    sampler = SynCGANSampler(sampling_strategy="auto", random_state=0, config=config)
    resampled, resampled_labels = sampler.fit_resample(images, labels)
    print("added:", sampler.sampling_strategy_, "now:", dict(Counter(resampled_labels.tolist())))
    print("the first synthetic one is row", int(np.flatnonzero(sampler.is_synthetic_)[0]), "of", resampled.shape)

    # In a pipeline it learns from the training part of each fold alone, and does nothing at prediction.
    pipeline = make_pipeline(sampler, FunctionTransformer(features), LogisticRegression(max_iter=1000))
    scores = cross_val_score(pipeline, images, labels, cv=StratifiedKFold(2), scoring="balanced_accuracy")
    print(f"balanced accuracy on held-out real images: {scores.mean():.2f}")

    # Classes that were learned once can be drawn in any number.
    more = SynCGANSampler(sampling_strategy={"malignant": 30}, random_state=1, augmenter=sampler.augmenter_)
    print(more.fit_resample(images, labels)[0].shape[0], "images with 30 malignant ones")


if __name__ == "__main__":
    main()
