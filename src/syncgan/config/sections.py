"""The sections of the configuration: every setting with its bounds, its default and what it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from syncgan.config.messages import readable
from syncgan.config.text import is_finite, overlay, parse_assignment
from syncgan.errors import ConfigError

__all__ = [
    "CleaningConfig",
    "ConfigSection",
    "ExtractorConfig",
    "FiltersConfig",
    "GANConfig",
    "ImageGANConfig",
    "MaskGANConfig",
    "SamplingConfig",
    "TrainingConfig",
]

Section = TypeVar("Section", bound="ConfigSection")
Probability = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def _no_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


# A switch counts as 1 or 0 in Python, and nobody means that by an area or a share.
Amount = Annotated[float, BeforeValidator(_no_switch)]
LabelRange = tuple[Probability, Probability]


class ConfigSection(BaseModel):
    """A frozen section; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def from_mapping(cls: type[Section], values: Mapping[str, Any]) -> Section:
        """Validate `values`; every problem becomes one `ConfigError` that names key, expectation and value."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(readable(cls, error)) from None

    def merged(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with nested `values` laid over it, validated as a whole."""
        return type(self).from_mapping(overlay(self.model_dump(), values))

    def updated(self, assignments: Iterable[str]) -> Self:
        """Return a copy with ``"section.key=value"`` assignments applied; values are read as TOML, else as text.

        They are laid over each other, the last one winning, and validated together: their order does not matter.
        """
        values: dict[str, Any] = {}
        for assignment in assignments:
            values = overlay(values, parse_assignment(assignment))
        return self.merged(values)


class CleaningConfig(ConfigSection):
    """What is known of nuclei in a set of images; for segmenters that return nucleus masks or instance labels."""

    min_nucleus_area: Amount = Field(
        0.0,
        ge=0,
        description="Smaller nuclei are removed; below 1 a share of the image area, from 1 on pixels. "
        "0 leaves it to the segmenter.",
    )
    max_nucleus_area: Amount = Field(
        0.0,
        ge=0,
        description="Larger nuclei are removed; a share or pixels alike. 0: no limit.",
    )
    max_hole_share: Amount = Field(
        0.0,
        ge=0,
        le=1,
        description="Holes up to this share of the area inside their nucleus' outline are filled. "
        "0 leaves it to the segmenter.",
    )
    border_objects: Literal["keep", "remove"] = Field("keep", description="Nuclei that touch the image border.")
    split_touching: bool = Field(
        False, description="Separate touching nuclei in a plain mask; instance labels are separate already."
    )

    @model_validator(mode="after")
    def _areas_in_order(self) -> Self:
        low, high = self.min_nucleus_area, self.max_nucleus_area
        # A share and a number of pixels can be compared only once the image is known.
        if (low < 1) == (high < 1) and 0 < high < low:
            raise ValueError(
                f"min_nucleus_area {low:g} is above max_nucleus_area {high:g}, so no nucleus would be left"
            )
        return self

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        return {key: value for key, value in self.cleaning.items() if value != type(self).model_fields[key].default}

    @property
    def cleaning(self) -> dict[str, Any]:
        """The clean-up settings alone."""
        return {key: getattr(self, key) for key in CleaningConfig.model_fields}


class ExtractorConfig(CleaningConfig):
    """Nucleus masks from images (Sec. 3.2)."""

    segmenter: str = Field("auto", min_length=1, description="Name in SEGMENTERS.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="The segmenter's own parameters.")
    exclude_failed: bool = Field(
        True,
        description="Leave images out of training whose mask is empty, covers nearly everything, or does not differ "
        "from its surroundings.",
    )


class GANConfig(ConfigSection):
    """What both GANs have: networks, the adversarial game, the schedule."""

    discriminator: str = Field("patchgan", min_length=1, description="Name in DISCRIMINATORS.")
    discriminator_width: int = Field(24, ge=4, le=512, description="Filters of the discriminator's first layer.")
    discriminator_layers: int = Field(3, ge=1, le=5, description="Strided layers; 3 see 70 x 70 pixels (pix2pix).")
    discriminator_normalisation: Literal["batch", "instance", "none"] = Field(
        "instance", description="Normalisation in the discriminator (paper: batch)."
    )
    width: int = Field(24, ge=4, le=512, description="Filters of the generator's full-resolution layers.")
    adversarial: Literal["bce", "hinge", "wasserstein-gp"] = Field(
        "bce", description="Adversarial loss (paper: bce; its outlook: wasserstein-gp)."
    )
    gradient_penalty_weight: float = Field(10.0, ge=0, description="Weight of wasserstein-gp's gradient penalty.")
    r1_weight: float = Field(0.0, ge=0, description="Weight of the R1 penalty; 0 turns it off (paper).")
    r1_every: int = Field(8, ge=1, description="Apply R1 every so many steps, scaled up to keep its strength.")
    dihedral: bool = Field(True, description="Flip and quarter-turn training items at random (8 symmetries).")
    augmentation: tuple[Literal["translation", "scaling", "colour", "cutout"], ...] = Field(
        (), description="What D sees is changed at random, real and generated alike, map and image alike (paper: none)."
    )
    augmentation_probability: Probability = Field(
        0.6, description="Probability of each such change for an item; below 1, so that none leaks into samples."
    )
    batch_size: int = Field(16, ge=1, le=4096, description="Items in one update.")
    steps: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Generator updates; 'auto': as many as `epochs` passes take, within the bounds below."
    )
    epochs: int = Field(75, ge=1, description="Passes over the training items when steps is 'auto' (paper: 200).")
    min_steps: int = Field(450, ge=1, description="At least so many updates when steps is 'auto'.")
    max_steps: int = Field(2000, ge=1, description="At most so many updates when steps is 'auto'.")
    learning_rate: float = Field(2e-4, gt=0, le=0.1, description="Adam's step size for the generator.")
    discriminator_learning_rate: float = Field(2e-4, gt=0, le=0.1, description="Adam's step size for D.")
    betas: tuple[Decay, Decay] = Field((0.5, 0.999), description="Adam's moment decays (pix2pix).")
    ema_half_life_images: float = Field(
        2000.0, ge=0, description="Half-life of the generator's moving average, in images; 0 turns it off (paper)."
    )
    discriminator_steps: int = Field(
        1, ge=1, le=100, description="Updates of D for each of G, each on a batch of its own (paper: 1)."
    )

    @model_validator(mode="after")
    def _game_is_sound(self) -> Self:
        if self.adversarial == "wasserstein-gp" and self.discriminator_normalisation == "batch":
            raise ValueError(
                "wasserstein-gp penalises D's gradient for each item by itself, which batch normalisation mixes; set "
                "discriminator_normalisation to 'instance' or 'none'"
            )
        return self

    def total_steps(self, items: int) -> int:
        """Return the number of updates for `items` items: `steps`, or `epochs` passes within the bounds."""
        if self.steps != "auto":
            return self.steps
        return min(self.max_steps, max(self.min_steps, -(-self.epochs * items // self.batch_size)))


class MaskGANConfig(GANConfig):
    """One mask GAN per class (Sec. 3.4), or one for all."""

    width: int = Field(16, ge=4, le=512, description="Filters of the generator's full-resolution layers.")
    discriminator_width: int = Field(16, ge=4, le=512, description="Filters of the discriminator's first layer.")
    batch_size: int = Field(4, ge=1, le=4096, description="Items in one update (paper: left open; preset: 16).")
    epochs: int = Field(200, ge=1, description="Passes over the class's masks when steps is 'auto' (paper: 1600).")
    min_steps: int = Field(1000, ge=1, description="At least so many updates when steps is 'auto'.")
    max_steps: int = Field(2000, ge=1, description="At most so many updates when steps is 'auto'.")
    learning_rate: float = Field(1e-3, gt=0, le=0.1, description="Adam's step size for the generator.")
    discriminator_learning_rate: float = Field(5e-4, gt=0, le=0.1, description="Adam's step size for D.")
    generator: str = Field(
        "mosaic",
        min_length=1,
        description="Name in MASK_GENERATORS: a GAN (paper: unet; decoder), or a prior without one (mosaic, warp, "
        "shapes).",
    )
    warm_start_steps: int = Field(
        1000,
        ge=0,
        description="Updates on the masks of all classes together, from which each class's GAN then goes its own way; "
        "0 starts each from random weights (paper).",
    )
    resolution: Annotated[int, Field(ge=16, le=1024)] | Literal["image"] = Field(
        64, description="Side in pixels at which masks are learned, then enlarged; 'image': image_size (paper)."
    )
    latent_dim: int = Field(64, ge=1, le=4096, description="Length of the Gaussian latent vector.")
    real_label_range: LabelRange = Field((0.9, 1.0), description="Label smoothing of D, real (paper).")
    fake_label_range: LabelRange = Field((0.0, 0.1), description="Label smoothing of D, fake (paper).")
    flip_probability: Probability = Field(0.05, description="Probability that one update of D has its labels flipped.")
    saturation_window: int = Field(
        0,
        ge=0,
        description="Stop when G's mean loss no longer moves over three windows of so many steps; 0 turns it off.",
    )
    saturation_tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Relative change of G's mean loss over three windows, in trend or mean, that counts as moving.",
    )
    sharing: Literal["class", "shared", "auto"] = Field(
        "auto",
        description="One GAN a class (paper), one that is told the class, or that only where a class has few masks.",
    )
    shared_below: int = Field(30, ge=0, description="Masks below which a class has few, when sharing is 'auto'.")
    variety_weight: float = Field(
        5.0,
        ge=0,
        description="Weight of the term that keeps the generated masks of a batch as far apart as real ones, against "
        "collapse; 0: off (paper).",
    )

    @model_validator(mode="after")
    def _masks_have_no_colour(self) -> Self:
        if "colour" in self.augmentation:
            raise ValueError("augmentation: masks have no colour; use translation, scaling or cutout")
        return self


class ImageGANConfig(GANConfig):
    """The mask-to-image conditional GAN (Sec. 3.3)."""

    batch_size: int = Field(2, ge=1, le=4096, description="Items in one update (paper: left open; preset: 16).")
    epochs: int = Field(40, ge=1, description="Passes over the training items when steps is 'auto' (paper: 200).")
    min_steps: int = Field(2000, ge=1, description="At least so many updates when steps is 'auto'.")
    max_steps: int = Field(4000, ge=1, description="At most so many updates when steps is 'auto'.")
    generator: str = Field("unet", min_length=1, description="Name in IMAGE_GENERATORS.")
    downsamplings: Annotated[int, Field(ge=2, le=10)] | Literal["full"] = Field(
        5, description="Halvings in the U-Net; 'full': down to one pixel (pix2pix)."
    )
    normalisation: Literal["batch", "instance"] = Field("instance", description="Normalisation in the generator.")
    dropout: Probability = Field(0.0, description="Dropout where the U-Net no longer widens, in training only.")
    noise: Literal["none", "input", "scales"] = Field(
        "scales",
        description="Where Gaussian noise enters the renderer: nowhere (paper), as an input channel, or at every scale "
        "of the decoder, as strongly as the features there say.",
    )
    head_width: int = Field(
        16, ge=0, le=256, description="Filters of one more convolution at full resolution; 0 for none (paper)."
    )
    class_conditional: bool = Field(True, description="Tell renderer and discriminator the class besides the mask.")
    stain_code: bool = Field(
        True, description="Condition on the mean colours of the levels, sampled per class when rendering."
    )
    stain_variety: float = Field(
        1.0,
        ge=0,
        le=10,
        description="How far the amounts of haematoxylin, eosin and DAB of samples are varied: standard deviation of "
        "their logarithm, in fifths; 0: not at all.",
    )
    from_colours: bool = Field(
        True,
        description="Render as changes to the map painted in the colours of the stain code; no effect without one.",
    )
    perceptual_weight: float = Field(
        5.0,
        ge=0,
        description="Weight of the distance between real and rendered in features of EfficientNet-Lite0 (extra "
        "`metrics`); 0: off (paper).",
    )
    reconstruction: Literal["mse", "l1"] = Field("l1", description="Reconstruction loss (paper: mse).")
    reconstruction_weight: float = Field(10.0, ge=0, description="Its weight, on the [-1, 1] range (paper: 100).")
    reconstruction_cell: int = Field(
        1, ge=1, le=64, description="Side in pixels of the cells whose means are compared; 1: pixels (paper)."
    )
    texture_weight: float = Field(
        10.0, ge=0, description="Weight of the distance between the patch distributions of real and rendered; 0: off."
    )
    mode_seeking_weight: float = Field(
        0.0, ge=0, description="Weight of the term that keeps renderings of one mask apart; 0: off (paper)."
    )
    feature_matching_weight: float = Field(
        10.0, ge=0, description="Weight of the L1 distance between D's features of real and rendered; 0: off (paper)."
    )
    selection: Literal["validation", "utility", "last"] = Field(
        "last",
        description="Keep the model with the lowest validation generator loss (paper), with the best utility score on "
        "validation images, or the last.",
    )
    validation_share: float = Field(
        0.25, gt=0, lt=0.9, description="Share of the items held out when selection needs them and none were given."
    )

    @model_validator(mode="after")
    def _modes_need_noise(self) -> Self:
        if self.mode_seeking_weight and self.noise == "none":
            raise ValueError("mode_seeking_weight keeps renderings of different noise apart, but noise is 'none'")
        return self


class SamplingConfig(ConfigSection):
    """Rendering of synthetic samples (Sec. 3.5)."""

    chunk_size: int = Field(16, ge=1, le=4096, description="Items rendered at once; part of a sample's identity.")
    max_attempts: int = Field(
        32,
        ge=1,
        le=1000,
        description="Draws for one item until it passes the filters; then a mask is kept with a warning, a sample is "
        "an error, and so are 8 or more masks drawn together that are all refused.",
    )


class FiltersConfig(ConfigSection):
    """What a synthetic sample must pass; one that does not is drawn again."""

    mask_plausibility: bool = Field(
        True,
        description="Clear away nuclei smaller than any in the class's training masks, and refuse masks whose nucleus "
        "area or count lies outside what those show.",
    )
    samples: tuple[str, ...] = Field((), description="Names in SAMPLE_FILTERS, applied to image and mask.")
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Sample filter -> its own parameters."
    )

    @field_validator("parameters")
    @classmethod
    def _finite(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, own in value.items():
            for key, given in own.items():
                if not is_finite(given):  # no file of a model could hold it
                    raise ValueError(f"expected finite numbers, got {given!r} for {key!r} of {name!r}")
        return value


class TrainingConfig(ConfigSection):
    """The engine: precision, memory, log, checkpoints, several processes."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Autocast; 'auto': bf16 where the hardware multiplies bf16, else fp32; fp16 has a loss scale and "
        "needs CUDA.",
    )
    log_every: int = Field(10, ge=1, description="Write losses to stats.jsonl every so many steps.")
    checkpoint_seconds: float = Field(60.0, ge=0, description="Write a checkpoint when so many seconds have passed.")
    keep_checkpoints: int = Field(2, ge=1, le=100, description="Keep the last so many checkpoints of a stage.")
    validate_every: Annotated[int, Field(ge=1)] | Literal["epoch"] = Field(
        "epoch", description="Steps between two validations, where something is held out."
    )
    accumulation: int = Field(
        1, ge=1, le=4096, description="Parts in which a batch passes through the networks, to save memory."
    )
    channels_last: bool = Field(True, description="Keep the channels of a pixel side by side in memory.")
    compile: bool = Field(False, description="Compile the networks with torch.compile.")
    cuda_graphs: bool = Field(False, description="Compile, and replay CUDA graphs; no effect elsewhere.")
    data_device: Literal["auto", "device", "host"] = Field(
        "auto", description="Where training items lie: on the device if they fit (auto), always, or never."
    )
    max_rollbacks: int = Field(
        2,
        ge=0,
        le=100,
        description="Returns to the last good state after losses that are not finite, before giving up.",
    )
    distributed_timeout_seconds: float = Field(
        600.0, gt=0, description="Under torchrun: how long a process waits for the others."
    )
    preview_every: int = Field(
        200, ge=0, description="Steps between two previews, shown to callbacks and in the report; 0: none."
    )
    score_every: int = Field(
        200,
        ge=1,
        description="Steps between two validations where a utility score is computed, instead of validate_every.",
    )
