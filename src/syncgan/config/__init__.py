"""The configuration: frozen pydantic models with bounds, presets, and TOML or JSON in and out.

`SynCGANConfig()` is preset ``default``. ``sections`` holds every setting, ``presets`` what each preset changes.
"""

from syncgan.config.sections import (
    CleaningConfig,
    ConfigSection,
    ExtractorConfig,
    FiltersConfig,
    GANConfig,
    ImageGANConfig,
    MaskGANConfig,
    SamplingConfig,
    TrainingConfig,
)
from syncgan.config.tree import SynCGANConfig, checked

__all__ = [
    "CleaningConfig",
    "ConfigSection",
    "ExtractorConfig",
    "FiltersConfig",
    "GANConfig",
    "ImageGANConfig",
    "MaskGANConfig",
    "SamplingConfig",
    "SynCGANConfig",
    "TrainingConfig",
    "checked",
]
