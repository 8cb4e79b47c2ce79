"""syncgan: synthetic labelled cytology images from class-specific mask priors.

Four nouns, one direction: `MaskExtractor` finds nucleus masks, `MaskGAN` learns them per class,
`MaskToImageCGAN` renders masks as images, and `SynCGANAugmenter` composes the three around a dataset.

Every name is imported on first use (PEP 562), so ``import syncgan`` itself is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ArtefactError": "errors",
    "ConfigError": "errors",
    "ContractError": "errors",
    "DataError": "errors",
    "ImageReadError": "errors",
    "NotFittedError": "errors",
    "PluginError": "errors",
    "RunExistsError": "errors",
    "SamplingError": "errors",
    "SyncganError": "errors",
    "TrainingError": "errors",
    "UnknownNameError": "errors",
    "WorkerError": "errors",
    "SynCGANConfig": "config",
    "ARMS": "registry",
    "CLASSIFIERS": "registry",
    "DISCRIMINATORS": "registry",
    "IMAGE_GENERATORS": "registry",
    "MASK_GENERATORS": "registry",
    "SAMPLE_FILTERS": "registry",
    "SEGMENTERS": "registry",
    "MaskExtractor": "extractor",
    "MaskGAN": "mask_gan",
    "MaskToImageCGAN": "image_cgan",
    "SynCGANAugmenter": "augmenter",
    "Phantom": "data.phantom",
    "Samples": "data.tensors",
}
__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:
    from syncgan.augmenter import SynCGANAugmenter as SynCGANAugmenter
    from syncgan.config import SynCGANConfig as SynCGANConfig
    from syncgan.data.phantom import Phantom as Phantom
    from syncgan.data.tensors import Samples as Samples
    from syncgan.errors import ArtefactError as ArtefactError
    from syncgan.errors import ConfigError as ConfigError
    from syncgan.errors import ContractError as ContractError
    from syncgan.errors import DataError as DataError
    from syncgan.errors import ImageReadError as ImageReadError
    from syncgan.errors import NotFittedError as NotFittedError
    from syncgan.errors import PluginError as PluginError
    from syncgan.errors import RunExistsError as RunExistsError
    from syncgan.errors import SamplingError as SamplingError
    from syncgan.errors import SyncganError as SyncganError
    from syncgan.errors import TrainingError as TrainingError
    from syncgan.errors import UnknownNameError as UnknownNameError
    from syncgan.errors import WorkerError as WorkerError
    from syncgan.extractor import MaskExtractor as MaskExtractor
    from syncgan.image_cgan import MaskToImageCGAN as MaskToImageCGAN
    from syncgan.mask_gan import MaskGAN as MaskGAN
    from syncgan.registry import ARMS as ARMS
    from syncgan.registry import CLASSIFIERS as CLASSIFIERS
    from syncgan.registry import DISCRIMINATORS as DISCRIMINATORS
    from syncgan.registry import IMAGE_GENERATORS as IMAGE_GENERATORS
    from syncgan.registry import MASK_GENERATORS as MASK_GENERATORS
    from syncgan.registry import SAMPLE_FILTERS as SAMPLE_FILTERS
    from syncgan.registry import SEGMENTERS as SEGMENTERS


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"syncgan.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'syncgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
