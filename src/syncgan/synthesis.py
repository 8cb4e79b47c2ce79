"""`Synthesis`: what a fitted model is for: samples, datasets and batches with samples, exports (Sec. 3.5, Eq. 7).

Each way out asks one `ClassSampler` for items by class, seed and number. How a model comes to be is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from syncgan.config import SynCGANConfig
from syncgan.data.batch_rendering import BatchRenderer
from syncgan.data.batch_transform import BatchTransform, share_of
from syncgan.data.datasets import AugmentedDataset, wrap_dataset
from syncgan.data.export import Check, ChunkRequest, ExportChunk, ExportSummary, write_export
from syncgan.data.filter_bank import FilterBank
from syncgan.data.plausibility import MaskRange, nucleus_scores
from syncgan.data.rejections import Account
from syncgan.data.requests import class_index, wanted_counts, whole_number, whole_seed
from syncgan.data.sampling import ClassSampler
from syncgan.data.strategy import Strategy
from syncgan.data.tensors import Samples
from syncgan.errors import ConfigError, NotFittedError
from syncgan.image_cgan import MaskToImageCGAN
from syncgan.mask_gan import MaskGAN
from syncgan.registry import require_plugins
from syncgan.storage import sha256
from syncgan.training.precision import Precision

__all__ = ["Synthesis"]


class Synthesis:
    """The half of `SynCGANAugmenter` that samples; fitting and loading, the other half, set its attributes."""

    config_: SynCGANConfig
    device_: torch.device
    classes_: tuple[str, ...]
    label_values_: tuple[int, ...]
    levels_: int
    mask_gans_: tuple[MaskGAN, ...]
    mask_ranges_: tuple[MaskRange, ...]
    sample_filters_: FilterBank
    image_gan_: MaskToImageCGAN

    def sample(self, class_name: str | int, n: int, *, seed: int = 0) -> Samples:
        """Render labelled samples of one class (Eq. 7); a pure function of class, seed and position.

        Parameters
        ----------
        class_name : a name in `classes_` or an integer in `label_values_`.
        n : how many; the first `n` of `n + k` are the same.
        seed : names the samples.

        Returns
        -------
        `Samples` on the augmenter's device: images (n, 3, S, S) uint8, masks (n, S, S) uint8, labels (n,) int64.

        Raises
        ------
        NotFittedError
            Before `fit` or `load`.
        UnknownNameError
            No such class; lists the classes.
        ConfigError
            `n` or `seed` is no whole number.
        SamplingError
            The sample filters refuse nearly all samples of a class; names them.
        """
        self._require_fitted()
        index = class_index(class_name, self.classes_, self.label_values_)
        sampler, n, seed = self._sampler(), whole_number(n), whole_seed(seed)
        rendered = sampler.items(index, seed, range(n))
        labels = torch.full((n,), self.label_values_[index], dtype=torch.int64, device=self.device_)
        return Samples.of(rendered.images, rendered.maps, labels)

    def sample_masks(self, class_name: str | int, n: int, *, seed: int = 0) -> Tensor:
        """Draw the masks of `sample` without rendering them: (n, S, S) uint8, values 0 .. L-1.

        `class_name`, `n` and `seed` are as for `sample`. Where a sample filter is set (``filters.samples``), `sample`
        may have drawn some of them again.
        """
        self._require_fitted()
        index = class_index(class_name, self.classes_, self.label_values_)
        sampler, n, seed = self._sampler(), whole_number(n), whole_seed(seed)
        return sampler.maps(index, sampler.item_seeds(index, seed, range(n))).clamp(max=self.levels_ - 1)

    def wrap(
        self,
        dataset: Any,
        strategy: Strategy = 2.0,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
        *,
        refresh: float = 0.0,
        store: Path | str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> AugmentedDataset:
        """Append synthetic items to a dataset: real items first and untouched, synthetic after.

        Everything is rendered here, so that loader workers need no GPU.

        Parameters
        ----------
        dataset : map-style dataset with labels that the model knows. Its own transforms serve both kinds of item.
        strategy : synthetic : real as a float (paper: 2.0), "balance", a mapping class -> count, or a callable on the
            counts.
        transform : applied to the image of every item after the dataset's own transforms.
        seed : names the samples.
        refresh : share in [0, 1] of the synthetic items that ``set_epoch`` of the result replaces by new ones.
        store : folder in which the synthetic items are kept as memory-mapped files, for more than fit in memory and to
            be found again; None keeps them in memory.
        progress : called with (samples rendered, samples to render).

        Raises
        ------
        DataError
            The dataset is empty or iterable, or has items or labels that the model cannot serve.
        ConfigError, UnknownNameError
            A strategy, transform or share that makes no sense.
        RunExistsError, ArtefactError
            `store` holds something else, or cannot be written.
        SamplingError
            The sample filters refuse nearly all samples of a class; names them.
        """
        sampler, account, seed = self._sampler(), Account(), whole_seed(seed)

        def render(label: int, numbers: list[int]) -> tuple[Any, Any, Mapping[str, Any]]:
            chunk = self._rendered(sampler, self.label_values_.index(label), seed, numbers)
            account.add(chunk.rejections)
            return chunk.images.transpose(0, 3, 1, 2), chunk.masks, chunk.scores

        return wrap_dataset(
            dataset,
            classes=self.classes_,
            label_values=self.label_values_,
            render=render,
            strategy=strategy,
            transform=transform,
            seed=seed,
            refresh=refresh,
            store=store,
            request={} if store is None else {"model": self.digest()},
            progress=progress,
            account=account,
        )

    def batch_transform(
        self,
        p: float = 0.5,
        transform: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        *,
        ratio: float | None = None,
        pool: int = 0,
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    ) -> BatchTransform:
        """Return a module ``(images, labels) -> (images, labels)`` for the training loop, after the DataLoader.

        Parameters
        ----------
        p : probability that an item is replaced by a fresh sample of its label.
        transform : uint8 (n, 3, S, S) -> the batch's kind of images; needed for float batches.
        seed : names the samples.
        ratio : synthetic : real in the mean over batches, instead of `p`: ``p = ratio / (1 + ratio)``.
        pool : so many masks a class are drawn once, before the first batch, and rendered anew each time with fresh
            noise and stain; 0 draws a new mask for every item. With a pool, a batch on a GPU is mixed without waiting
            for the device; without one, every new mask passes the mask filter on the CPU first, which waits.
        precision : of the renderer on a GPU: "auto" is bf16 where the hardware has it, else fp32. No effect on the CPU.

        Raises
        ------
        ConfigError
            A probability, ratio, pool or precision that makes no sense.
        """
        sampler, seed = self._sampler(), whole_seed(seed)
        # Full precision on the CPU keeps one seed to one result.
        asked = precision if self.device_.type == "cuda" else "fp32"
        autocast = Precision(asked, self.device_).autocast
        renderer = BatchRenderer(sampler, self.label_values_, seed=seed, pool=pool, autocast=autocast)
        return BatchTransform(
            renderer,
            label_values=self.label_values_,
            p=share_of(p, ratio),
            transform=transform,
            seed=seed,
            reads_labels=not pool,
        )

    def export(
        self,
        folder: Path | str,
        counts: Mapping[Any, int] | int,
        *,
        seed: int = 0,
        resume: bool = False,
        shard: tuple[int, int] = (1, 1),
        progress: Callable[[int, int], None] | None = None,
        check: Check | None = None,
    ) -> ExportSummary:
        """Write samples as an image folder with masks and a manifest.

        Parameters
        ----------
        folder : empty or not there; or a part of the same export with `resume`.
        counts : class -> number of images, or one number for every class.
        seed : names the samples; the images are those of ``sample(class_name, n, seed=seed)``.
        resume : go on with an interrupted export; finished images are not rendered again.
        shard : (i, n) writes the i-th of n parts, 1 <= i <= n. Several machines can write the shards of one export into
            one folder; afterwards `syncgan.data.export.merge_export` makes the manifest.
        progress : called with (images done, images of this shard).
        check : looks at all samples before they come into sight, and may refuse them, as
            `syncgan.evaluation.audit.copy_check` does; its figures are in ``export.json``. With shards, give it to
            `merge_export`.

        Returns
        -------
        `ExportSummary` with folder, manifest and counts.

        Raises
        ------
        RunExistsError
            `folder` holds something else.
        DataError
            The check refuses the samples. They are left under ``unfinished/``.
        ConfigError
            A count or shard that makes no sense.
        ArtefactError
            The disk is full or the folder cannot be written.
        SamplingError
            The sample filters refuse nearly all samples of a class; names them.
        """
        self._require_fitted()
        wanted = wanted_counts(counts, self.classes_, self.label_values_)
        size, seed = self.config_.sampling.chunk_size, whole_seed(seed)
        header = {"seed": seed, "model": self.digest(), "image_size": self.config_.image_size}
        requests = [
            ChunkRequest(self.classes_[index], self.label_values_[index], first, min(size, count - first), seed)
            for index, count in wanted.items()
            for first in range(0, count, size)
        ]
        sampler = self._sampler()

        def render(request: ChunkRequest) -> ExportChunk:
            numbers = range(request.first_index, request.first_index + request.count)
            return self._rendered(sampler, self.classes_.index(request.class_name), seed, numbers)

        return write_export(
            folder,
            requests,
            render,
            classes=self.classes_,
            levels=self.levels_,
            header=header,
            resume=resume,
            shard=shard,
            progress=progress,
            check=check,
        )

    def use_filters(self, samples: Sequence[str], parameters: Mapping[str, Mapping[str, Any]] | None = None) -> Self:
        """Sample through other filters, or under other parameters, from now on; nothing is fitted anew.

        Parameters
        ----------
        samples : names in ``SAMPLE_FILTERS``; of those that learn, only what ``filters.samples`` named at `fit`.
        parameters : filter -> its own, thresholds above all; the defaults for one that is not there.

        Raises
        ------
        UnknownNameError, NotFittedError, ConfigError
            No such filter, one that has not been fitted, or parameters that it does not have.
        """
        self._require_fitted()
        if isinstance(samples, str):
            raise ConfigError(f"expected a list of sample filters, got {samples!r}; give [{samples!r}]")
        values = self.config_.model_dump(mode="json")
        values["filters"] |= {"samples": tuple(samples), "parameters": dict(parameters or {})}
        config = SynCGANConfig.from_mapping(values)
        require_plugins(config.plugin_names())
        self.sample_filters_.filters(config.filters)
        self.config_ = config
        return self

    def digest(self) -> str:
        """Return what tells this model from others, as ``export.json`` keeps it: sha256 of settings and weights."""
        self._require_fitted()
        parts = [self.config_.to_json(), repr(self.classes_), repr(self.label_values_), repr(self.mask_ranges_)]
        models: list[Any] = [*dict.fromkeys(self.mask_gans_), self.image_gan_, self.sample_filters_]
        for model in models:
            tensors = model.state()[0]
            for group, named in sorted(tensors.items()):
                parts += [f"{group}.{name} {sha256(_bytes(tensor))}" for name, tensor in sorted(named.items())]
        return sha256("\n".join(parts).encode())

    def _sampler(self) -> ClassSampler:
        self._require_fitted()
        return ClassSampler(
            classes=self.classes_,
            mask_sources=[self._mask_source(index) for index in range(len(self.classes_))],
            mask_ranges=self.mask_ranges_ if self.config_.filters.mask_plausibility else None,
            renderer=self.image_gan_,
            levels=self.levels_,
            size=self.config_.image_size,
            max_attempts=self.config_.sampling.max_attempts,
            device=self.device_,
            sample_filters=self.sample_filters_.filters(self.config_.filters),
        )

    def _mask_source(self, index: int) -> Callable[[Sequence[int]], Tensor]:
        """Return item seeds -> masks of one class."""
        model, label = self.mask_gans_[index], self.label_values_[index]
        if not model.label_values_:
            return model.draw
        return partial(_drawn_of_class, model, model.label_values_.index(label))

    def _rendered(self, sampler: ClassSampler, index: int, seed: int, numbers: Sequence[int]) -> ExportChunk:
        """Return the samples of one class with these numbers, and their scores."""
        rendered = sampler.items(index, seed, numbers)
        images, maps, scores = rendered.arrays()
        scores = {**nucleus_scores(rendered.maps, self.levels_), **scores}
        return ExportChunk(images.transpose(0, 2, 3, 1), maps, scores, rendered.rejections)

    def _require_fitted(self) -> None:
        if not hasattr(self, "image_gan_"):
            raise NotFittedError(
                "this SynCGANAugmenter is not fitted; call fit(dataset) or SynCGANAugmenter.load(folder) first"
            )


def _drawn_of_class(model: MaskGAN, index: int, item_seeds: Sequence[int]) -> Tensor:
    return model.draw(item_seeds, [index] * len(item_seeds))


def _bytes(tensor: Tensor) -> bytes:
    # By bytes: NumPy has no bfloat16.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
