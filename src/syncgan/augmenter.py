"""`SynCGANAugmenter`: a dataset in, labelled synthetic images and masks out (Sec. 3.1 and 3.5).

It only composes: the extractor makes masks, one mask GAN per class (or one for all) learns them, one renderer learns
the pairs of all classes, and sampling runs noise -> mask GAN of the class -> renderer (Eq. 7).
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from syncgan.config import SynCGANConfig, checked
from syncgan.data.batch_rendering import BatchRenderer
from syncgan.data.batch_transform import BatchTransform, share_of
from syncgan.data.datasets import AugmentedDataset, wrap_dataset
from syncgan.data.export import Check, ChunkRequest, ExportChunk, ExportSummary, write_export
from syncgan.data.filter_bank import FilterBank
from syncgan.data.pairs import TrainingPairs
from syncgan.data.plausibility import MaskRange, nucleus_scores
from syncgan.data.raw import RawData, read_dataset, require_trainable
from syncgan.data.rejections import Account
from syncgan.data.sampling import ClassSampler
from syncgan.data.strategy import Strategy
from syncgan.data.tensors import Samples
from syncgan.errors import ConfigError, DataError, NotFittedError, UnknownNameError
from syncgan.extractor import MaskExtractor
from syncgan.fitting import Fitting
from syncgan.image_cgan import MaskToImageCGAN, Score, require_score
from syncgan.mask_gan import MaskGAN
from syncgan.preparing import divide_nuclei, hold_out_pairs, prepare
from syncgan.registry import require_plugins
from syncgan.segmentation.stain_classes import StainClasses
from syncgan.storage import library_versions, needed_content, read_folder, sha256, write_folder
from syncgan.training.distributed import process_group
from syncgan.training.events import FitEvent, Notifier
from syncgan.training.launch import is_main_process
from syncgan.training.loop import resolve_device, resolve_precision
from syncgan.training.precision import Precision
from syncgan.training.run_folder import RunFolder

__all__ = ["FitEvent", "SynCGANAugmenter"]

Callback = Callable[[FitEvent], None]

_KIND, _FILTERS = "augmenter", "sample_filters"


class SynCGANAugmenter:
    """Learn from a small labelled image set and render new labelled images with their masks.

    Parameters
    ----------
    config : settings; None for preset ``default``.
    extractor : a `MaskExtractor`, a name in ``SEGMENTERS`` or a callable of one image; None for the configuration's.
    device : "auto" (CUDA, else MPS, else CPU) or a torch device.
    seed : of everything random in training.

    Attributes
    ----------
    classes_, label_values_ : class names and the dataset's own integers, aligned.
    levels_ : number L of levels of its semantic maps.
    stain_classes_ : the `StainClasses` that divide what is not nucleus, and for the models also nuclei, or None.
    mask_gans_ : one `MaskGAN` a class, aligned with `classes_`; the same one at each place when the classes share it.
    image_gan_ : the `MaskToImageCGAN`.
    mask_ranges_ : one `MaskRange` a class: what the mask filter admits.
    sample_filters_ : the `FilterBank`: what the sample filters of ``filters.samples`` have learned.
    excluded_ : item name -> why it was left out of training.
    fingerprint_ : sha256 of the training pairs.
    pairs_ : the `TrainingPairs`; only after `fit`, never saved.

    Examples
    --------
    >>> from syncgan import Phantom
    >>> few = ["mask_gan.warm_start_steps=0", "mask_gan.steps=2", "image_gan.steps=2"]
    >>> config = SynCGANConfig.preset("tiny").updated([*few, "filters.mask_plausibility=false"])
    >>> augmenter = SynCGANAugmenter(config, device="cpu").fit(Phantom(4, image_size=32))
    >>> augmenter.sample("benign", 3, seed=1).images.shape
    torch.Size([3, 3, 32, 32])
    """

    pairs_: TrainingPairs
    config_: SynCGANConfig
    sample_filters_: FilterBank
    stain_classes_: StainClasses | None

    def __init__(
        self,
        config: SynCGANConfig | None = None,
        extractor: MaskExtractor | Callable[..., Any] | str | None = None,
        device: str | torch.device = "auto",
        seed: int = 0,
    ) -> None:
        self.config = checked(config)
        self.extractor = extractor
        self.device = device
        self.seed = operator.index(seed)

    def fit(
        self,
        dataset: Any,
        masks: Sequence[Any] | None = None,
        validation: Any = None,
        groups: Sequence[Any] | None = None,
        run_dir: Path | str | None = None,
        resume: Literal["auto", "never"] = "auto",
        callbacks: Iterable[Callback] = (),
        score: Score | None = None,
    ) -> Self:
        """Learn masks and images of every class.

        Parameters
        ----------
        dataset : map-style dataset of (image, label), as torchvision's; read without its transforms, never changed.
        masks : one (H, W) mask an item, of the item's size, when they are known; None extracts them.
        validation : held-out dataset to choose the renderer by (``image_gan.selection`` not "last"); None holds
            out a share of `dataset`.
        groups : one patient or slide an item; a held-out share then never shares a group with the rest, and sample
            filters leave out whole groups.
        run_dir : folder for configuration, log, checkpoints and model; None keeps nothing on disk.
        resume : "auto" goes on with the same run in `run_dir` if there is one; "never" refuses a folder with a run.
        callbacks : called with each `FitEvent`; a callback that fails is logged and does not stop the training.
        score : of renderings of held-out masks, for ``image_gan.selection = "utility"``; see `MaskToImageCGAN.fit`.

        Raises
        ------
        DataError
            Floats, an empty set, fewer than two classes, a class with fewer than two images or usable masks, wrong
            numbers of masks or groups.
        RunExistsError
            `run_dir` holds another run, or another process writes there.
        ConfigError
            A device or precision that is not here, or batches that the processes of ``torchrun`` cannot share evenly.
        TrainingError
            Losses stayed NaN or infinite, memory ran out with one item at a time, or another process died.
        """
        if resume not in ("auto", "never"):
            raise ConfigError(f"expected resume='auto' or 'never', got {resume!r}")
        require_score(self.config.image_gan, score)
        main = is_main_process()
        run = RunFolder(run_dir) if run_dir is not None and main else None
        if run is not None and not (resume == "auto" and run.holds_run):
            run.require_free()
        require_plugins(self.config.plugin_names())
        self.device_ = resolve_device(self.device)
        resolve_precision(self.config.training.precision, self.device_)  # refused before anything is read
        vars(self).pop("image_gan_", None)  # what fails from here on leaves no half-new model
        notifier = Notifier(self, callbacks if main else ())
        raw = read_dataset(dataset)
        require_trainable(raw)
        self._prepare(raw, masks, notifier)
        if groups is not None and len(groups) != len(raw):
            raise DataError(f"expected one group an item, got {len(groups)} groups and {len(raw)} items")
        training, held_out = hold_out_pairs(
            self.pairs_,
            None if validation is None else lambda: self._validation_pairs(validation),
            groups,
            config=self.config_,
            seed=self.seed,
        )
        # Before the networks: a filter that cannot be fitted is then said in seconds, not after hours.
        self.sample_filters_ = self._filter_bank().fit(
            self.config_.filters,
            training.images,
            training.maps,
            self._class_indices(training.labels),
            groups=None if groups is None else [groups[index] for index in training.indices],
        )
        identity = {
            "config": self.config_.identity(),
            "seed": self.seed,
            "data": self.fingerprint_,
            "classes": list(self.classes_),
            "groups": None if groups is None else self.pairs_.group_fingerprint(groups),
            "validation": None if validation is None or held_out is None else held_out.fingerprint(),
        }
        # Bit-equal training needs the same threads and instructions, so a run says which it had.
        record = {
            "versions": library_versions(),
            "device": str(self.device_),
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        }
        with process_group(self.device_, self.config_.training.distributed_timeout_seconds) as ranks:
            for section in (self.config_.mask_gan, self.config_.image_gan):
                ranks.slice_of(section.batch_size)
            if ranks.share(self.fingerprint_) != self.fingerprint_:
                raise DataError(f"process {ranks.rank} reads other training data than process 0; give all the same")
            with (
                nullcontext()
                if run is None
                else run.claim(
                    identity, self.config_, resume=resume == "auto", record=record, items=self.pairs_.digests(raw.names)
                )
            ):
                nuclear = 1 if self.stain_classes_ is None else self.stain_classes_.nuclear_levels
                levels = self.levels_ + nuclear - 1
                fitting = Fitting(
                    self.config_, levels, nuclear, self.classes_, self.label_values_, self.seed, self.device_
                )
                training = divide_nuclei(training, self.stain_classes_)
                held_out = None if held_out is None else divide_nuclei(held_out, self.stain_classes_)
                self.mask_gans_, self.image_gan_ = fitting.run(training, held_out, run, notifier, ranks, score)
                if run is not None:
                    self.save(run.path / "model")
                notifier.tell("fitted", seconds_left=0.0)
            ranks.agree(0)  # no process goes on before the model is there
        return self

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
        """
        index = self._class_index(class_name)
        sampler, n, seed = self._sampler(), _whole_number(n), _whole_seed(seed)
        rendered = sampler.items(index, seed, range(n))
        labels = torch.full((n,), self.label_values_[index], dtype=torch.int64, device=self.device_)
        return Samples.of(rendered.images, rendered.maps, labels)

    def sample_masks(self, class_name: str | int, n: int, *, seed: int = 0) -> Tensor:
        """Draw the masks of `sample` without rendering them: (n, S, S) uint8, values 0 .. L-1.

        `class_name`, `n` and `seed` are as for `sample`. Where a sample filter is set (``filters.samples``), `sample`
        may have drawn some of them again.
        """
        index = self._class_index(class_name)
        sampler, n, seed = self._sampler(), _whole_number(n), _whole_seed(seed)
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
        """
        sampler, account, seed = self._sampler(), Account(), _whole_seed(seed)

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
        sampler, seed = self._sampler(), _whole_seed(seed)
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
        """
        self._require_fitted()
        wanted, size, seed = self._wanted(counts), self.config_.sampling.chunk_size, _whole_seed(seed)
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

    def save(self, folder: Path | str) -> None:
        """Write all that sampling needs into a folder, as safetensors and manifest, without any image; see `load`."""
        self._require_fitted()
        # A mask GAN that all classes share is written once.
        models = {f"mask_gan-{index:03d}": model.state() for index, model in enumerate(dict.fromkeys(self.mask_gans_))}
        models["image_gan"] = self.image_gan_.state()
        tensors = {f"{name}.{group}": part for name, (groups, _) in models.items() for group, part in groups.items()}
        learned, filters = self.sample_filters_.state()
        # A filter's name may be anything; its file has a number.
        tensors |= {f"{_FILTERS}.{index:03d}": learned[name] for index, name in enumerate(filters)}
        manifest = {
            "config": self.config_.model_dump(mode="json"),
            "seed": self.seed,
            "classes": list(self.classes_),
            "label_values": list(self.label_values_),
            "levels": self.levels_,
            "extractor": self.extractor_description_,
            "stain_classes": None if self.stain_classes_ is None else self.stain_classes_.as_dict(),
            "mask_ranges": [mask_range.as_dict() for mask_range in self.mask_ranges_],
            _FILTERS: [{"name": name, "learned": learned} for name, learned in filters.items()],
            "excluded": len(self.excluded_),
            "dataset_fingerprint": self.fingerprint_,
            "models": {name: description for name, (_, description) in models.items()},
        }
        write_folder(folder, kind=_KIND, tensors=tensors, manifest=manifest)

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

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "auto") -> SynCGANAugmenter:
        """Read a model that `save` wrote, or the ``model/`` of a run folder, whatever device it was fitted on.

        Raises
        ------
        ArtefactError
            Missing, damaged, or written by a newer syncgan.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").exists() and (folder / "model" / "manifest.json").exists():
            folder = folder / "model"
        tensors, manifest = read_folder(folder, kind=_KIND)
        with needed_content(folder, _KIND):
            return cls._from_content(tensors, manifest, device)

    @classmethod
    def _from_content(
        cls, tensors: dict[str, dict[str, Tensor]], manifest: Mapping[str, Any], device: str | torch.device
    ) -> SynCGANAugmenter:
        model = cls(SynCGANConfig.from_mapping(manifest["config"]), device=device, seed=manifest["seed"])
        model.device_ = resolve_device(device)
        model.classes_, model.label_values_ = tuple(manifest["classes"]), tuple(manifest["label_values"])
        model.levels_, model.extractor_description_ = manifest["levels"], manifest["extractor"]
        model.stain_classes_ = StainClasses.of(manifest["stain_classes"])
        model.mask_ranges_ = tuple(MaskRange(**values) for values in manifest["mask_ranges"])
        model.excluded_, model.fingerprint_ = {}, manifest["dataset_fingerprint"]
        states = {name: _part(tensors, name) for name in manifest["models"]}
        mask_gans = tuple(
            MaskGAN.from_state(states[name], description, device=device)
            for name, description in sorted(manifest["models"].items())
            if name != "image_gan"
        )
        model.mask_gans_ = mask_gans * len(model.classes_) if mask_gans[0].label_values_ else mask_gans
        image_gan = MaskToImageCGAN.from_state(states["image_gan"], manifest["models"]["image_gan"], device=device)
        model.image_gan_, model.config_ = image_gan, model.config
        filters = manifest.get(_FILTERS, [])
        model.sample_filters_ = model._filter_bank().load_state(
            {entry["name"]: tensors[f"{_FILTERS}.{index:03d}"] for index, entry in enumerate(filters)},
            {entry["name"]: entry["learned"] for entry in filters},
        )
        return model

    def _prepare(self, raw: RawData, masks: Sequence[Any] | None, notifier: Notifier) -> None:
        """Make the training pairs; set the fitted attributes that come from the data."""
        prepared = prepare(raw, masks, config=self.config, extractor=self.extractor, progress=notifier.masks)
        pairs, levels = prepared.pairs, prepared.levels
        self.classes_, self.label_values_, self.levels_ = raw.classes, raw.label_values, levels
        # A segmenter with levels of its own, or given masks, may differ from the configuration: the maps decide.
        self.config_ = self.config.merged({"levels": prepared.extracted_levels})
        self.stain_classes_ = prepared.stain_classes
        self.extractor_description_ = prepared.description
        self.pairs_, self.excluded_, self.fingerprint_ = pairs, pairs.excluded, pairs.fingerprint()
        self.mask_ranges_ = tuple(MaskRange.of(pairs.of_label(label), levels) for label in raw.label_values)

    def _validation_pairs(self, validation: Any) -> TrainingPairs:
        raw = read_dataset(validation)
        names = dict(zip(self.label_values_, self.classes_, strict=True))
        wrong = {name for label, name in raw.class_names.items() if names.get(label) != name}
        if wrong:
            raise DataError(f"expected a validation set with the classes and labels {names}, got {raw.class_names}")
        extractor, known = self.extractor, self.stain_classes_
        return prepare(raw, None, config=self.config, extractor=extractor, stain_classes=known).pairs

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

    def _filter_bank(self) -> FilterBank:
        return FilterBank(
            levels=self.levels_,
            classes=len(self.classes_),
            image_size=self.config_.image_size,
            seed=self.seed,
            device=self.device_,
            extractor=self.extractor_description_
            if "parameters" in self.extractor_description_
            else self._described_section(),
        )

    def _described_section(self) -> dict[str, Any]:
        """Describe the configuration's extractor, where masks were given; it need not be here."""
        section = self.config_.extractor
        described = {"name": section.segmenter, "parameters": section.parameters, "levels": self.config_.levels}
        return described | section.cleaning

    def _class_indices(self, labels: Tensor) -> Tensor:
        return torch.tensor([self.label_values_.index(label) for label in labels.tolist()], dtype=torch.int64)

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

    def _wanted(self, counts: Mapping[Any, int] | int) -> dict[int, int]:
        """Return class index -> number of images, in class order."""
        if not isinstance(counts, Mapping):
            counts = dict.fromkeys(self.classes_, counts)
        wanted: dict[int, int] = {}
        for name, count in counts.items():
            index = self._class_index(name)
            if index in wanted:
                raise ConfigError(f"class {self.classes_[index]!r} is asked for twice, by name and by label")
            wanted[index] = _whole_number(count)
        return dict(sorted(wanted.items()))

    def _class_index(self, name: str | int) -> int:
        self._require_fitted()
        if isinstance(name, str) and name in self.classes_:
            return self.classes_.index(name)
        if not isinstance(name, str | bool) and name in self.label_values_:
            return self.label_values_.index(int(name))
        known = ", ".join(f"{own} ({label})" for own, label in zip(self.classes_, self.label_values_, strict=True))
        nearest = difflib.get_close_matches(str(name), self.classes_, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownNameError(f"unknown class {name!r}: the model knows {known}{hint}")

    def _require_fitted(self) -> None:
        if not hasattr(self, "image_gan_"):
            raise NotFittedError(
                "this SynCGANAugmenter is not fitted; call fit(dataset) or SynCGANAugmenter.load(folder) first"
            )


def _drawn_of_class(model: MaskGAN, index: int, item_seeds: Sequence[int]) -> Tensor:
    return model.draw(item_seeds, [index] * len(item_seeds))


def _whole_seed(seed: Any) -> int:
    """Return a seed as int; NumPy's integers are welcome."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ConfigError(f"expected a whole number as seed, got {seed!r}")
    return int(seed)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def _whole_number(count: Any) -> int:
    """Return a number of images as int; NumPy's integers are welcome."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise ConfigError(f"expected a whole number of images of at least 0, got {count!r}")
    return int(count)


def _part(tensors: Mapping[str, dict[str, Tensor]], name: str) -> dict[str, dict[str, Tensor]]:
    """Return the groups of one model from ``"MODEL.GROUP"`` -> tensors."""
    prefix = f"{name}."
    return {group.removeprefix(prefix): part for group, part in tensors.items() if group.startswith(prefix)}
