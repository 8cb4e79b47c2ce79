"""`MaskGAN`: the class-specific prior over nucleus masks (Sec. 3.4)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import MaskGANConfig, SynCGANConfig, checked
from syncgan.data.tensors import as_array, binarise, collect_masks, index_labels, level_shares
from syncgan.errors import ConfigError, ContractError, NotFittedError, UnknownNameError
from syncgan.networks.folding import FoldedCopy
from syncgan.registry import MASK_GENERATORS, accepted, make, require_methods
from syncgan.storage import StoredModel
from syncgan.training.augmentation import dihedral, draw_augmentation, draw_dihedral
from syncgan.training.batches import batch_indices, stay_on_host
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.discriminators import build_discriminator
from syncgan.training.loop import Progress, resolve_device, train
from syncgan.training.objectives import MaskBatch, MaskObjective
from syncgan.training.precision import memory_format
from syncgan.training.previews import PREVIEWED, Preview, evaluating

__all__ = ["MaskGAN"]

_KIND = "mask_gan"


class MaskGAN(StoredModel):
    """Learn a distribution of semantic maps and draw new ones (Sec. 3.4).

    The paper trains one for each class: call `fit` with the masks of one class. With `labels`, one network learns all
    classes and is told the class.

    Parameters
    ----------
    config : a `SynCGANConfig`, or its section ``mask_gan`` alone; None for preset ``default``.
    seed : of initial weights, order of items and label noise.
    device : "auto", or a torch device.

    Attributes
    ----------
    config_ : the `SynCGANConfig` it was fitted with.
    levels_ : number L of levels; 2 when the masks hold only nucleus and background, whatever the configuration says.
    nuclear_levels_ : how many of them, the last, are parts of the nucleus.
    label_values_ : the labels it was fitted on, sorted; empty without labels.
    history_ : G's mean loss, one value per log interval.
    stop_reason_ : why training ended.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((4, 32, 32), np.uint8)
    >>> masks[:, 10:20, 12:22] = 1
    >>> config = SynCGANConfig.preset("tiny").updated(["mask_gan.steps=2"])
    >>> MaskGAN(config=config, device="cpu").fit(masks).sample(3).shape
    torch.Size([3, 1, 32, 32])
    """

    kind = _KIND

    history_: list[float]
    stop_reason_: str | None
    discriminator_: nn.Module  # only after `fit`, never saved

    def __init__(
        self,
        config: SynCGANConfig | MaskGANConfig | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        if isinstance(config, MaskGANConfig):
            config = SynCGANConfig(mask_gan=config)
        self.config = checked(config)
        self.seed = operator.index(seed)
        self.device = device

    def fit(
        self,
        masks: Any,
        labels: Sequence[int] | Tensor | None = None,
        *,
        checkpoints: CheckpointStore | None = None,
        observe: Callable[[Progress], None] | None = None,
        stage: str = _KIND,
        levels: int | None = None,
        nuclear_levels: int = 1,
        start: MaskGAN | None = None,
        preview: Callable[[Preview], None] | None = None,
    ) -> Self:
        """Learn from masks.

        Parameters
        ----------
        masks : (N, H, W) or (N, 1, H, W) uint8 array or tensor, or a list of (H, W) arrays of any size: values
            0 .. L-1, or 0 and 255 for two levels. Brought to S x S by the configuration's ``geometry``.
        labels : (N,) integers to learn all classes with one network; None for one distribution.
        checkpoints : where to save to and resume from.
        observe : called with a `Progress` every ``training.log_every`` steps.
        stage : name in log and checkpoints.
        levels : L; None takes the configuration's, or 2 when nothing but nucleus and background occurs.
        nuclear_levels : the last so many levels are parts of the nucleus.
        start : a `MaskGAN` of the same settings that `fit` has trained; its weights are the first weights here.
        preview : called with a `Preview` of the same few masks every ``training.preview_every`` steps and at the end.

        Raises
        ------
        DataError
            No masks, wrong shape, dtype or values, or a wrong number of labels.
        TrainingError
            Losses stayed NaN or infinite, or memory ran out with one item at a time.
        """
        config = self.config
        maps, found = collect_masks(
            masks, config.image_size, config.geometry, levels or config.levels, maps=levels is not None
        )
        values, classes = index_labels(labels, len(maps))
        self._start(levels or found, values, stage, nuclear_levels)
        if isinstance(self.generator_, nn.Module):
            self._train(maps, classes, checkpoints, observe, stage, start, preview)
        else:
            self.generator_.fit(maps.numpy(), labels=None if labels is None else classes.numpy(), seed=self.seed)
            self.stop_reason_ = "fitted by the plug-in"
        return self

    def sample(self, n: int, label: int | None = None, seed: int = 0) -> Tensor:
        """Draw masks; a pure function of `seed` and position, so `n` masks are the first of `n + k`.

        Parameters
        ----------
        n : how many.
        label : which label, for a GAN fitted with labels; None draws labels evenly.
        seed : of the noise.

        Returns
        -------
        (n, 1, S, S) uint8 tensor on the model's device, values 0 .. L-1; the nucleus is L-1, or the last
        `nuclear_levels_`.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        UnknownNameError
            A label that it was not fitted on.
        ConfigError
            A negative `n`.
        """
        self._require_fitted()
        if n < 0:
            raise ConfigError(f"expected a number of masks of at least 0, got {n}")
        if label is not None and label not in self.label_values_:
            known = ", ".join(str(value) for value in self.label_values_) or "none: it was fitted without labels"
            raise UnknownNameError(f"unknown label {label!r} for this MaskGAN; it knows {known}")
        chosen = None
        if self.label_values_:
            count = len(self.label_values_)
            chosen = [index % count if label is None else self.label_values_.index(label) for index in range(n)]
        seeds = [rng.seed_for(seed, "mask", index) for index in range(n)]
        with torch.autocast(self.device_.type, enabled=False):  # whatever the caller computes in
            return self.draw(seeds, chosen)[:, None]

    def draw(self, item_seeds: Sequence[int], classes: Sequence[int] | None = None) -> Tensor:
        """Draw one mask per seed; each depends on its own seed (and class index) alone.

        Parameters
        ----------
        item_seeds : the seed of each mask.
        classes : the class index of each, (n,) int64; None for a GAN of one class.

        Returns
        -------
        (n, S, S) uint8 tensor on the model's device.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        ConfigError
            torch's default device or type is not the CPU or float32.
        """
        self._require_fitted()
        rng.require_plain_defaults()
        size = self.config_.image_size
        chunk = self.config_.sampling.chunk_size
        parts = [torch.zeros((0, size, size), dtype=torch.uint8, device=self.device_)]
        for start in range(0, len(item_seeds), chunk):
            seeds = list(item_seeds[start : start + chunk])
            told = None if classes is None else list(classes[start : start + chunk])
            parts.append(self._draw_chunk(seeds, told))
        return torch.cat(parts)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors, of any shape, by group and name, and a JSON-compatible description, for `from_state`."""
        self._require_fitted()
        tensors = {name: torch.as_tensor(value) for name, value in self.generator_.state_dict().items()}
        manifest = {
            "config": self.config_.model_dump(mode="json"),
            "seed": self.seed,
            "levels": self.levels_,
            "nuclear_levels": self.nuclear_levels_,
            "label_values": list(self.label_values_),
            "history": self.history_,
            "stop_reason": self.stop_reason_,
        }
        return {"generator": tensors}, manifest

    @classmethod
    def from_state(
        cls,
        tensors: Mapping[str, dict[str, Tensor]],
        manifest: Mapping[str, Any],
        *,
        device: str | torch.device = "auto",
    ) -> Self:
        """Make a fitted model from what `state` returned, `tensors` and `manifest`, on a device."""
        model = cls(SynCGANConfig.from_mapping(manifest["config"]), seed=manifest["seed"], device=device)
        nuclear = manifest["nuclear_levels"]
        model._start(manifest["levels"], tuple(manifest["label_values"]), nuclear_levels=nuclear)
        model.generator_.load_state_dict(tensors["generator"])
        model.history_, model.stop_reason_ = manifest["history"], manifest["stop_reason"]
        if isinstance(model.generator_, nn.Module):
            model.generator_.to(model.device_).to(memory_format=memory_format(model.config_.training)).eval()
        return model

    def is_network(self, levels: int) -> bool:
        """Tell whether the generator for so many `levels` is a network for our loop, not an object that fits itself."""
        return isinstance(self._unfitted(levels).generator_, nn.Module)

    def learns_all_classes(self, levels: int) -> bool:
        """Tell whether the generator for so many `levels` is an object that is to be fitted once, on all classes."""
        return bool(getattr(self._unfitted(levels).generator_, "learns_all_classes", False))

    def knows_nuclear_levels(self) -> bool:
        """Tell whether the generator can draw nuclei of several levels: a network, or what takes `nuclear_levels`."""
        factory = MASK_GENERATORS.get(self.config.mask_gan.generator)
        return bool(accepted(factory, {"nuclear_levels": 1})) or self.is_network(self.config.levels)

    def _unfitted(self, levels: int) -> Self:
        """Return another one that has a generator, untrained, so that to ask about it changes nothing here."""
        asked = type(self)(self.config, seed=self.seed, device=self.device)
        asked._start(levels, ())
        return asked

    def _start(self, levels: int, label_values: tuple[int, ...], stage: str = _KIND, nuclear_levels: int = 1) -> None:
        """Make the generator and set the fitted attributes that do not come from training."""
        self.config_ = self.config
        self.device_ = resolve_device(self.device)
        self.levels_, self.nuclear_levels_ = levels, nuclear_levels
        self.label_values_ = label_values
        self.history_, self.stop_reason_ = [], None
        self._sampling = FoldedCopy()
        factory = MASK_GENERATORS.get(self.config.mask_gan.generator)
        offered = {
            "config": self.config.mask_gan,
            "levels": levels,
            "nuclear_levels": nuclear_levels,
            "image_size": self.config.image_size,
            "resolution": self.config.mask_resolution,
            "classes": len(label_values),
        }
        self.generator_: Any = rng.build(lambda: make(factory, **offered), self.seed, stage, "generator")
        if not isinstance(self.generator_, nn.Module):
            require_methods(self.generator_, "mask generator", self.config.mask_gan.generator, "fit", "sample")

    def _train(
        self,
        maps: Tensor,
        classes: Tensor,
        checkpoints: CheckpointStore | None,
        observe: Callable[[Progress], None] | None,
        stage: str,
        start: MaskGAN | None,
        preview: Callable[[Preview], None] | None,
    ) -> None:
        gan, training, device = self.config.mask_gan, self.config.training, self.device_
        # The first call is when lazy layers get their weights.
        resolution = rng.build(self._output_resolution, self.seed, stage, "generator", "first call")
        discriminator = build_discriminator(
            gan,
            in_channels=self.levels_,
            classes=len(self.label_values_),
            image_size=resolution,
            seed=self.seed,
            address=(stage, "discriminator"),
        )
        if start is not None:
            self.generator_.load_state_dict(start.generator_.state_dict())
            discriminator.load_state_dict(start.discriminator_.state_dict())
        if not stay_on_host([maps], device, training.data_device):
            maps = maps.to(device)
        objective = MaskObjective(
            self.generator_.to(device, memory_format=memory_format(training)),
            discriminator.to(device).to(memory_format=memory_format(training)),
            config=gan,
            batches=self._batches(maps, classes, resolution, stage),
            seed=self.seed,
            address=(stage,),
        )
        state = train(
            objective,
            stage=stage,
            steps=gan.total_steps(len(maps)),
            steps_per_epoch=max(1, len(maps) // gan.batch_size),
            gan=gan,
            training=training,
            device=device,
            seed=self.seed,
            checkpoints=checkpoints,
            observe=observe,
            preview=None if preview is None else partial(self._show, preview, stage, gan.total_steps(len(maps))),
        )
        self.generator_.load_state_dict(state.chosen_weights())
        self.generator_.eval().zero_grad(set_to_none=True)
        self.discriminator_ = discriminator
        self.history_, self.stop_reason_ = state.history, state.stop_reason

    def _batches(self, maps: Tensor, classes: Tensor, resolution: int, stage: str) -> Callable[[int], MaskBatch]:
        """Return the function that makes the batch of a step."""
        gan, device = self.config.mask_gan, self.device_

        def batch(step: int) -> MaskBatch:
            indices = batch_indices(step, items=len(maps), batch_size=gan.batch_size, seed=self.seed, address=(stage,))
            generator = rng.torch_generator(self.seed, stage, "batch", step)
            chosen = rng.moved(maps[indices.to(maps.device)], device)
            if gan.dihedral:
                chosen = dihedral(chosen, draw_dihedral(len(chosen), generator))
            noise = torch.randn((len(chosen), *self._noise_shape()), generator=generator).to(device)
            told = {"label": classes[indices].to(device)} if self.label_values_ else {}
            shares = level_shares(chosen, self.levels_, resolution) * 2 - 1
            augmentation = draw_augmentation(
                gan.augmentation,
                len(chosen),
                resolution,
                probability=gan.augmentation_probability,
                generator=generator,
                device=device,
            )
            mixing = torch.rand((len(chosen), 1, 1, 1), generator=generator).to(device)
            return MaskBatch(step, shares, noise, told, augmentation=augmentation, mixing=mixing)

        return batch

    def _show(self, preview: Callable[[Preview], None], stage: str, total: int, network: nn.Module, step: int) -> None:
        """Call `preview` with masks of the same noise every time."""
        count = min(PREVIEWED, self.config_.sampling.chunk_size)
        seeds = [rng.seed_for(self.seed, "preview", index) for index in range(count)]
        classes = [index % len(self.label_values_) for index in range(count)] if self.label_values_ else None
        with evaluating(network):
            maps = self._draw_chunk(seeds, classes, network)
        preview(Preview(stage, step, total, maps.cpu(), self.levels_))

    @torch.inference_mode()
    def _draw_chunk(self, seeds: list[int], classes: list[int] | None, network: nn.Module | None = None) -> Tensor:
        """Draw up to one chunk, padded to its fixed size so that a result does not depend on how many were asked."""
        if not isinstance(self.generator_, nn.Module):
            return self._draw_by_plugin(seeds, classes)
        count, padding = len(seeds), self.config_.sampling.chunk_size - len(seeds)
        shape = self._noise_shape()
        rows = [torch.randn(shape, generator=rng.torch_generator(seed, "latent")) for seed in seeds]
        noise = rng.moved(torch.stack([*rows, *[torch.zeros(shape)] * padding]), self.device_)
        told = {}
        if classes is not None:
            told["label"] = rng.moved(torch.tensor([*classes, *[0] * padding]), self.device_)
        scores = (self._sampling.of(self.generator_) if network is None else network)(noise, **told)
        return binarise(scores[:count], self.config_.image_size)

    def _draw_by_plugin(self, seeds: list[int], classes: list[int] | None) -> Tensor:
        drawn = [
            as_array(self.generator_.sample(1, label=None if classes is None else classes[position], seed=seed))
            for position, seed in enumerate(seeds)
        ]
        size = self.config_.image_size
        for item in drawn:
            fits = item.shape in ((1, size, size), (1, 1, size, size), (size, size)) and item.dtype == np.uint8
            if not fits or item.max() >= self.levels_:
                found = f"{item.dtype} {item.shape}" + (f" up to {item.max()}" if fits else "")
                raise ContractError(
                    f"mask generator {self.config_.mask_gan.generator!r}: expected uint8 (1, {size}, {size}) with "
                    f"values below {self.levels_} from sample(1), got {found}"
                )
        return torch.from_numpy(np.stack([item.reshape(size, size) for item in drawn])).to(self.device_)

    def _noise_shape(self) -> tuple[int, ...]:
        return tuple(getattr(self.generator_, "noise_shape", (self.config.mask_gan.latent_dim,)))

    @torch.no_grad()
    def _output_resolution(self) -> int:
        """Ask the generator once what it puts out, and refuse what the rest cannot use."""
        name = self.config.mask_gan.generator
        noise = torch.zeros((2, *self._noise_shape()))
        told = {"label": torch.zeros(2, dtype=torch.int64)} if self.label_values_ else {}
        shape: tuple[int, ...] = tuple(self.generator_.eval()(noise, **told).shape)
        if len(shape) != 4 or shape[1] != self.levels_ or shape[2] != shape[3]:
            raise ContractError(
                f"mask generator {name!r}: expected logits (N, {self.levels_}, R, R), one channel a level, got {shape}"
            )
        return shape[2]

    def _require_fitted(self) -> None:
        if getattr(self, "stop_reason_", None) is None:
            raise NotFittedError("this MaskGAN is not fitted; call fit(masks) or MaskGAN.load(folder) first")
