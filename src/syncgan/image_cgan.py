"""`MaskToImageCGAN`: the conditional GAN that renders masks as images (Sec. 3.3)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from syncgan import rng
from syncgan.config import ImageGANConfig, SynCGANConfig, checked
from syncgan.data.conditions import Conditions
from syncgan.data.image_pairs import ImagePairs, collect_image_pairs, hold_out, require_held_out
from syncgan.data.rendering import render_by_plugin, render_chunk
from syncgan.data.stain import StainPrior
from syncgan.data.tensors import check_mask, fit_mask, index_labels, unify_masks
from syncgan.errors import ConfigError, DataError, NotFittedError, UnknownNameError, warn_user
from syncgan.image_training import Score, train_renderer
from syncgan.networks.folding import FoldedCopy
from syncgan.registry import IMAGE_GENERATORS, make, require_methods
from syncgan.storage import StoredModel
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.loop import Progress, resolve_device
from syncgan.training.precision import memory_format
from syncgan.training.previews import Preview

__all__ = ["MaskToImageCGAN", "Score", "require_score"]

_KIND = "image_gan"


class MaskToImageCGAN(StoredModel):
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

    kind = _KIND

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
        self.seed = operator.index(seed)
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
        pairs, found, values = self._collect(images, masks, labels, levels)
        levels = levels or found
        held_out = None
        self._start(levels, values)
        if self.config.image_gan.selection != "last":
            if isinstance(self.generator_, nn.Module):
                require_score(self.config.image_gan, score)
                pairs, held_out = self._split(pairs, validation, values, levels)
                require_held_out(len(held_out), self.config.image_gan.selection)
            else:
                warn_user(without_selection(self.config.image_gan))
        if self.style_dim_:
            self.stain_prior_ = StainPrior.fit(
                pairs.images, pairs.maps, pairs.classes, levels, variety=self.config.image_gan.stain_variety
            )
            pairs = self._with_codes(pairs)
            held_out = None if held_out is None else self._with_codes(held_out)
        if isinstance(self.generator_, nn.Module):
            state = train_renderer(
                self.generator_,
                pairs,
                held_out,
                config=self.config,
                conditions=self._conditions(),
                classes=len(self.label_values_),
                seed=self.seed,
                device=self.device_,
                stage=stage,
                score=score,
                checkpoints=checkpoints,
                observe=observe,
                preview=preview,
            )
            self.history_, self.stop_reason_, self.best_step_ = state.history, state.stop_reason, state.best_step
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
        given = [check_mask(mask, f"item {index}", self.levels_) for index, mask in enumerate(masks)]
        unified, _ = unify_masks(given, self.levels_, maps=True)
        maps = torch.from_numpy(np.stack([fit_mask(mask, size, self.config_.geometry) for mask in unified]))
        classes = self._class_indices(labels, len(maps))
        seeds = [rng.seed_for(seed, "render", index) for index in range(len(maps))]
        with torch.autocast(self.device_.type, enabled=False):  # whatever the caller computes in
            return self.render(maps, classes, seeds)

    def render(
        self, maps: Tensor, classes: Tensor, item_seeds: Sequence[int], *, stain_seeds: Sequence[int] | None = None
    ) -> Tensor:
        """Render maps, each under its own seed; see `generate`.

        Parameters
        ----------
        maps, classes : (n, S, S) uint8 and (n,) int64.
        item_seeds : the seed of each image's noise.
        stain_seeds : seeds of the stain's colours alone; None takes `item_seeds`.

        Returns
        -------
        (n, 3, S, S) uint8 tensor on the model's device.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        ConfigError
            torch's default device or type is not the CPU or float32.
        """
        self._require_fitted()
        rng.require_plain_defaults()
        chunk = self.config_.sampling.chunk_size
        seeds = list(zip(item_seeds, stain_seeds or item_seeds, strict=True))
        parts = [
            self._render_chunk(maps[at : at + chunk], classes[at : at + chunk], seeds[at : at + chunk])
            for at in range(0, len(seeds), chunk)
        ]
        return torch.cat(parts)

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
    ) -> Self:
        """Make a fitted model from what `state` returned, `tensors` and `manifest`, on a device."""
        model = cls(SynCGANConfig.from_mapping(manifest["config"]), seed=manifest["seed"], device=device)
        model._start(manifest["levels"], tuple(manifest["label_values"]))
        model.generator_.load_state_dict(tensors["generator"])
        if "stain_prior" in tensors:
            model.stain_prior_ = StainPrior(
                **{name: value.cpu() for name, value in tensors["stain_prior"].items()},
                variety=model.config.image_gan.stain_variety,
            )
        model.history_, model.stop_reason_ = manifest["history"], manifest["stop_reason"]
        model.best_step_ = manifest["best_step"]
        if isinstance(model.generator_, nn.Module):
            model.generator_.to(model.device_).to(memory_format=memory_format(model.config_.training)).eval()
        return model

    def _collect(
        self, images: Any, masks: Any, labels: Any, levels: int | None
    ) -> tuple[ImagePairs, int, tuple[int, ...]]:
        return collect_image_pairs(
            images,
            masks,
            labels,
            size=self.config.image_size,
            geometry=self.config.geometry,
            levels=levels or self.config.levels,
            maps=levels is not None,
        )

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
        return isinstance(self._unfitted(levels).generator_, nn.Module)

    def _unfitted(self, levels: int) -> Self:
        """Return another one that has a generator, untrained, so that to ask about it changes nothing here."""
        asked = type(self)(self.config, seed=self.seed, device=self.device)
        asked._start(levels, ())
        return asked

    def _start(self, levels: int, label_values: tuple[int, ...]) -> None:
        """Make the generator and set the fitted attributes that do not come from training."""
        self.config_ = self.config
        self.device_ = resolve_device(self.device)
        self.levels_ = levels
        self.stain_prior_ = None
        self.history_, self.stop_reason_, self.best_step_ = [], None, None
        self._sampling = FoldedCopy()
        factory, told = IMAGE_GENERATORS.get(self.config.image_gan.generator), self.config.image_gan.class_conditional
        offered = {
            "config": self.config.image_gan,
            "levels": levels,
            "image_size": self.config.image_size,
            "classes": len(label_values) if told else 0,
            "style_dim": 3 * levels if self.config.image_gan.stain_code else 0,
            "device": self.device_,
        }
        self.generator_: Any = rng.build(lambda: make(factory, **offered), self.seed, _KIND, "generator")
        self.style_dim_ = int(getattr(self.generator_, "style_dim", 0))
        is_network = isinstance(self.generator_, nn.Module)
        self.label_values_ = label_values if told or not is_network else ()  # an object is always told the class
        if not is_network:
            require_methods(self.generator_, "image generator", self.config.image_gan.generator, "fit", "generate")

    def _conditions(self) -> Conditions:
        told = bool(self.label_values_)
        return Conditions.of(self.generator_, levels=self.levels_, label=told, stain=self.stain_prior_)

    def _with_codes(self, pairs: ImagePairs) -> ImagePairs:
        if self.stain_prior_ is None:
            return pairs
        return replace(pairs, codes=self.stain_prior_.encode(pairs.images, pairs.maps, self.levels_))

    @torch.inference_mode()
    def _render_chunk(self, maps: Tensor, classes: Tensor, seeds: Sequence[tuple[int, int]]) -> Tensor:
        """Render up to one chunk; `seeds` holds those of noise and stain."""
        config = self.config_
        if isinstance(self.generator_, nn.Module):
            return render_chunk(
                self._sampling.of(self.generator_),
                maps,
                classes,
                seeds,
                conditions=self._conditions(),
                chunk_size=config.sampling.chunk_size,
                device=self.device_,
            )
        noise_seeds, name = [seed for seed, _ in seeds], config.image_gan.generator
        rendered = render_by_plugin(self.generator_, maps, classes, noise_seeds, size=config.image_size, name=name)
        return rendered.to(self.device_)

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
