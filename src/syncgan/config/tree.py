"""The configuration tree: all sections, validated together; presets, and TOML or JSON in and out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from syncgan.config.messages import nearest
from syncgan.config.presets import PRESETS
from syncgan.config.sections import (
    ConfigSection,
    ExtractorConfig,
    FiltersConfig,
    ImageGANConfig,
    MaskGANConfig,
    SamplingConfig,
    TrainingConfig,
)
from syncgan.config.text import parse_file, without_none
from syncgan.errors import ConfigError

__all__ = ["SynCGANConfig", "checked"]


class SynCGANConfig(ConfigSection):
    """All settings of a run.

    Examples
    --------
    >>> SynCGANConfig.preset("paper").image_size
    256
    >>> SynCGANConfig().updated(["image_gan.steps=3000"]).image_gan.steps
    3000
    """

    image_size: int = Field(128, ge=16, le=2048, description="Side S of the square images and masks, in pixels.")
    levels: int = Field(3, ge=2, le=8, description="Levels of the semantic map: 2 nucleus or not, 3 adds stained.")
    stain_classes: int = Field(
        6,
        ge=0,
        le=7,
        description="Classes into which the colours of the set divide what is not nucleus, each a level of the map; 0: "
        "`levels` as it stands (paper).",
    )
    nuclear_classes: int = Field(
        2,
        ge=1,
        le=8,
        description="With `stain_classes`: classes into which the models divide nuclei by colour; masks that come out "
        "do not show them. 1: nuclei are one (paper).",
    )
    geometry: Literal["resize", "pad", "crop"] = Field("resize", description="How any shape becomes S x S.")
    extractor: ExtractorConfig = ExtractorConfig()
    mask_gan: MaskGANConfig = MaskGANConfig()
    image_gan: ImageGANConfig = ImageGANConfig()
    sampling: SamplingConfig = SamplingConfig()
    filters: FiltersConfig = FiltersConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _sizes_can_be_halved(self) -> SynCGANConfig:
        if self.image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {self.image_size}")
        resolution = self.mask_gan.resolution
        if resolution != "image" and (resolution & (resolution - 1) or resolution > self.image_size):
            raise ValueError(
                f"mask_gan.resolution must be a power of two up to image_size ({self.image_size}), got {resolution}; "
                f"set mask_gan.resolution={1 << self.image_size.bit_length() - 1} (--set on the command line)"
            )
        cell = self.image_gan.reconstruction_cell
        if self.image_size % cell:
            raise ValueError(
                f"image_size {self.image_size} cannot be cut into cells of {cell} pixels "
                "(image_gan.reconstruction_cell)"
            )
        window = self.mask_gan.saturation_window
        if 0 < window < self.training.log_every:
            raise ValueError(
                f"mask_gan.saturation_window {window} is shorter than one interval of the log "
                f"(training.log_every {self.training.log_every})"
            )
        halvings = self.image_gan.downsamplings
        if halvings != "full" and self.image_size % 2**halvings:
            raise ValueError(
                f"image_size {self.image_size} cannot be halved {halvings} times (image_gan.downsamplings)"
            )
        return self

    @classmethod
    def preset(cls, name: str) -> SynCGANConfig:
        """Return the preset `name`: ``"paper"`` (256 px), ``"default"`` (128 px) or ``"tiny"`` (32 px).

        Raises
        ------
        ConfigError
            No such preset; the message lists them.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}{nearest(name, PRESETS)}")
        return cls.from_mapping(PRESETS[name])

    @classmethod
    def load(cls, path: Path | str, *, preset: str = "default") -> SynCGANConfig:
        """Read the ``.toml`` or ``.json`` file `path`; keys that it leaves out have the preset's values.

        Raises
        ------
        ConfigError
            Missing file, wrong suffix, syntax error, unknown key or value out of bounds.
        """
        path = Path(path)
        values = parse_file(path)
        name = values.pop("preset", preset)
        try:
            return cls.preset(name).merged(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def save(self, path: Path | str) -> None:
        """Write ``.toml`` or ``.json`` by the suffix of `path`; settings that are None are left out of TOML.

        Raises
        ------
        ConfigError
            Another suffix.
        """
        from syncgan.storage import write_text

        path = Path(path)
        if path.suffix == ".toml":
            write_text(path, self.to_toml())
        elif path.suffix == ".json":
            write_text(path, self.to_json() + "\n")
        else:
            raise ConfigError(f"{path}: expected a name that ends in .toml or .json")

    def to_toml(self) -> str:
        """Return the settings as TOML. None (only possible among a segmenter's parameters) is left out."""
        import tomli_w

        return tomli_w.dumps(without_none(self.model_dump(mode="json")))

    def to_json(self) -> str:
        """Return the settings as indented JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)

    def identity(self) -> dict[str, Any]:
        """Return what makes two runs the same run: all settings but those that change nothing of the training.

        Filters are fitted anew whenever a run is finished or gone on with, so they are not part of it.
        """
        values = self.model_dump(mode="json")
        del values["filters"], values["sampling"]["max_attempts"]
        values["training"] = {key: value for key, value in values["training"].items() if key not in _FREE_TO_CHANGE}
        return values

    def advice_for(self, side: float) -> str:
        """Say which settings suit images of this side in pixels, which are smaller than what is trained on."""
        fitting = max(_SMALLEST_SIDE, 1 << (math.ceil(side) - 1).bit_length())
        if fitting >= self.image_size:
            return "give larger images"
        resolution = self.mask_gan.resolution
        too_fine = resolution != "image" and resolution > fitting
        masks = f" and mask_gan.resolution={fitting}" if too_fine else ""
        return f"set image_size={fitting}{masks} (by --set on the command line), or give larger images"

    def plugin_names(self) -> list[tuple[str, str]]:
        """Return kind and name of every plug-in that a fit uses, without the segmenter."""
        return [
            ("mask generator", self.mask_gan.generator),
            ("image generator", self.image_gan.generator),
            ("discriminator", self.mask_gan.discriminator),
            ("discriminator", self.image_gan.discriminator),
            *(("sample filter", name) for name in (*self.filters.samples, *self.filters.parameters)),
        ]

    @property
    def mask_resolution(self) -> int:
        """Side in pixels at which masks are learned."""
        resolution = self.mask_gan.resolution
        return self.image_size if resolution == "image" else resolution


_SMALLEST_SIDE = 32  # below it the renderer of preset "default" cannot halve often enough
_FREE_TO_CHANGE = frozenset(
    {
        "accumulation",
        "checkpoint_seconds",
        "data_device",
        "distributed_timeout_seconds",
        "keep_checkpoints",
        "max_rollbacks",
        "preview_every",
    }
)


def checked(config: object) -> SynCGANConfig:
    """Return `config`, or preset ``default`` for None; anything else is refused with `ConfigError`."""
    if config is None:
        return SynCGANConfig()
    if not isinstance(config, SynCGANConfig):
        raise ConfigError(
            f"expected a SynCGANConfig, got {type(config).__name__}; for a preset use SynCGANConfig.preset('tiny')"
        )
    return config
