"""The presets, each as what it changes against the field defaults, so that the three can be read side by side."""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "image_size": 256,
        "levels": 2,
        "extractor": {"segmenter": "gmm"},
        "mask_gan": {
            "generator": "unet",
            "batch_size": 16,
            "variety_weight": 0.0,
            "sharing": "class",
            "warm_start_steps": 0,
            "resolution": "image",
            "width": 64,
            "discriminator_width": 64,
            "discriminator_normalisation": "batch",
            "dihedral": False,
            "learning_rate": 2e-4,
            "discriminator_learning_rate": 2e-4,
            "epochs": 1600,
            "min_steps": 1,
            "max_steps": 10_000_000,
            "saturation_window": 2000,
            "ema_half_life_images": 0.0,
        },
        "image_gan": {
            "downsamplings": "full",
            "normalisation": "batch",
            "width": 64,
            "discriminator_width": 64,
            "discriminator_normalisation": "batch",
            "dropout": 0.5,
            "batch_size": 16,
            "noise": "none",
            "head_width": 0,
            "reconstruction_cell": 1,
            "texture_weight": 0.0,
            "feature_matching_weight": 0.0,
            "class_conditional": False,
            "stain_code": False,
            "reconstruction": "mse",
            "reconstruction_weight": 100.0,
            "dihedral": False,
            "epochs": 200,
            "min_steps": 1,
            "max_steps": 10_000_000,
            "ema_half_life_images": 0.0,
            "selection": "validation",
        },
        "filters": {"mask_plausibility": False},
    },
    "tiny": {
        "image_size": 32,
        "mask_gan": {
            "generator": "decoder",
            "resolution": 32,
            "discriminator_layers": 2,
            "discriminator_width": 24,
            "batch_size": 16,
            "warm_start_steps": 500,
            "steps": 400,
        },
        "image_gan": {
            "downsamplings": 3,
            "width": 16,
            "discriminator_width": 16,
            "steps": 900,
        },
        "training": {"precision": "fp32"},
    },
}
