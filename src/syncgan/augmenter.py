"""`SynCGANAugmenter`: a dataset in, labelled synthetic images and masks out (Sec. 3.1 and 3.5).

It only composes: the extractor makes masks, one mask GAN per class (or one for all) learns them, one renderer learns
the pairs of all classes. Here it is fitted, saved and loaded; `Synthesis`, which it inherits, samples.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from syncgan.config import SynCGANConfig, checked
from syncgan.data.filter_bank import FilterBank
from syncgan.data.pairs import TrainingPairs
from syncgan.data.plausibility import MaskRange
from syncgan.data.raw import RawData, item_groups, read_dataset, require_trainable
from syncgan.errors import ConfigError, DataError
from syncgan.extractor import MaskExtractor
from syncgan.fitting import Fitting, run_identity, run_record
from syncgan.image_cgan import MaskToImageCGAN, Score, require_score
from syncgan.mask_gan import MaskGAN
from syncgan.preparing import divide_nuclei, hold_out_pairs, log_what_limits, prepare
from syncgan.registry import SEGMENTERS, require_plugins
from syncgan.segmentation.stain_classes import StainClasses
from syncgan.storage import needed_content, read_folder, require_same_kind, write_folder
from syncgan.synthesis import Synthesis
from syncgan.training.distributed import process_group
from syncgan.training.events import FitEvent, Notifier
from syncgan.training.launch import is_main_process
from syncgan.training.loop import resolve_device, resolve_precision
from syncgan.training.run_folder import RunFolder

__all__ = ["FitEvent", "SynCGANAugmenter"]

Callback = Callable[[FitEvent], None]

_KIND, _FILTERS = "augmenter", "sample_filters"


class SynCGANAugmenter(Synthesis):
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
        *,
        validation_masks: Sequence[Any] | None = None,
    ) -> Self:
        """Learn masks and images of every class.

        Parameters
        ----------
        dataset : map-style dataset of (image, label), as torchvision's; read without its transforms, never changed.
        masks : one (H, W) mask of integers or bool an item, of the item's size, when they are known: 0 and 1, or 0 and
            255 (nucleus), or maps of the configuration's levels; None extracts them.
        validation : held-out dataset to choose the renderer by (``image_gan.selection`` not "last"); None holds
            out a share of `dataset`.
        groups : one patient or slide an item; a held-out share then never shares a group with the rest, and sample
            filters leave out whole groups.
        run_dir : folder for configuration, log, checkpoints and model; None keeps nothing on disk.
        resume : "auto" goes on with the same run in `run_dir` if there is one; "never" refuses a folder with a run.
        callbacks : called with each `FitEvent`; a callback that fails is logged and does not stop the training.
        score : of renderings of held-out masks, for ``image_gan.selection = "utility"``; see `MaskToImageCGAN.fit`.
        validation_masks : one mask an item of `validation`, of the same kind as `masks`; None extracts them.

        Raises
        ------
        DataError
            Floats, an empty set, fewer than two classes, a class with fewer than two images or usable masks, wrong
            numbers of masks or groups, or a validation set of other classes or with masks of other levels.
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
        if validation_masks is not None and validation is None:
            raise ConfigError("expected validation_masks together with validation, got them alone")
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
        groups = item_groups(groups, len(raw))
        self._prepare(raw, masks, notifier)
        if main:
            log_what_limits(raw, self.pairs_, self.config_)
        training, held_out = hold_out_pairs(
            self.pairs_,
            None if validation is None else lambda: self._validation_pairs(validation, validation_masks),
            groups,
            config=self.config_,
            seed=self.seed,
        )
        # Before the networks: a filter that cannot be fitted is then said in seconds, not after hours.
        self.sample_filters_ = self._filter_bank(raw).fit(
            self.config_.filters,
            training.images,
            training.maps,
            self._class_indices(training.labels),
            groups=None if groups is None else [groups[index] for index in training.indices],
        )
        names = raw.names
        del raw  # images of any size, which nothing needs any more
        identity = run_identity(
            self.config_,
            seed=self.seed,
            data=self.fingerprint_,
            classes=self.classes_,
            groups=None if groups is None else self.pairs_.group_fingerprint(groups),
            validation=None if validation is None or held_out is None else held_out.fingerprint(),
        )
        with process_group(self.device_, self.config_.training.distributed_timeout_seconds) as ranks:
            nuclear = 1 if self.stain_classes_ is None else self.stain_classes_.nuclear_levels
            levels = self.levels_ + nuclear - 1
            if ranks.world > 1 and MaskGAN(self.config_).is_network(levels):
                ranks.slice_of(self.config_.mask_gan.batch_size, "mask_gan.batch_size")
            if ranks.world > 1 and MaskToImageCGAN(self.config_).is_network(levels):
                ranks.slice_of(self.config_.image_gan.batch_size, "image_gan.batch_size")
            if ranks.share(self.fingerprint_) != self.fingerprint_:
                raise DataError(f"process {ranks.rank} reads other training data than process 0; give all the same")
            with (
                nullcontext()
                if run is None
                else run.claim(
                    identity,
                    self.config_,
                    resume=resume == "auto",
                    record=run_record(self.device_),
                    items=self.pairs_.digests(names),
                )
            ):
                fitting = Fitting(
                    self.config_, levels, nuclear, self.classes_, self.label_values_, self.seed, self.device_
                )
                training = divide_nuclei(training, self.stain_classes_)
                held_out = None if held_out is None else divide_nuclei(held_out, self.stain_classes_)
                self.mask_gans_, self.image_gan_ = fitting.run(training, held_out, run, notifier, ranks, score)
                if run is not None:
                    self.save(run.path / "model")
                notifier.tell("fitted", seconds_left=0.0)
            ranks.meet()  # no process goes on before the model is there
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
        require_same_kind(folder, _KIND)
        write_folder(folder, kind=_KIND, tensors=tensors, manifest=manifest)

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

    def _validation_pairs(self, validation: Any, masks: Sequence[Any] | None) -> TrainingPairs:
        names = dict(zip(self.label_values_, self.classes_, strict=True))
        raw = read_dataset(validation, classes={name: label for label, name in names.items()})
        wrong = {name for label, name in raw.class_names.items() if names.get(label) != name}
        if wrong:
            raise DataError(f"expected a validation set with the classes and labels {names}, got {raw.class_names}")
        known = self.stain_classes_
        config = self.config_ if known is not None else self.config_.merged({"stain_classes": 0})
        prepared = prepare(raw, masks, config=config, extractor=self.extractor, stain_classes=known)
        if prepared.levels != self.levels_:
            raise DataError(
                f"expected masks of the validation set with {self.levels_} levels, as those of the training set have, "
                f"got {prepared.levels}; give validation_masks of the same kind as masks"
            )
        return prepared.pairs

    def _filter_bank(self, raw: RawData | None = None) -> FilterBank:
        described = self.extractor_description_
        if "parameters" not in described:  # masks were given
            described = self._described_section()
        if raw is not None:
            described = _with_shares(described, float(np.median(np.prod(raw.images.sizes, axis=1))))
        return FilterBank(
            levels=self.levels_,
            classes=len(self.classes_),
            image_size=self.config_.image_size,
            seed=self.seed,
            device=self.device_,
            extractor=described,
        )

    def _described_section(self) -> dict[str, Any]:
        """Describe the configuration's extractor, where masks were given; it need not be here."""
        section = self.config_.extractor
        return {"name": section.segmenter, "parameters": section.parameters} | section.cleaning

    def _class_indices(self, labels: Tensor) -> Tensor:
        return torch.tensor([self.label_values_.index(label) for label in labels.tolist()], dtype=torch.int64)


def _with_shares(described: dict[str, Any], area: float) -> dict[str, Any]:
    """Give areas in pixels as shares of the images that they were meant for: filters see images of another size.

    A plug-in's own parameters have units of their own, and stay.
    """
    shared = described | _shares(described, area)
    name = described["name"]
    if name in SEGMENTERS and SEGMENTERS.get(name).__module__.startswith("syncgan."):
        shared["parameters"] = described["parameters"] | _shares(described["parameters"], area)
    return shared


def _shares(settings: Mapping[str, Any], area: float) -> dict[str, float]:
    areas = {key: settings.get(key) for key in ("min_nucleus_area", "max_nucleus_area")}
    return {key: value / area for key, value in areas.items() if isinstance(value, (int, float)) and 1 <= value < area}


def _part(tensors: Mapping[str, dict[str, Tensor]], name: str) -> dict[str, dict[str, Tensor]]:
    """Return the groups of one model from ``"MODEL.GROUP"`` -> tensors."""
    prefix = f"{name}."
    return {group.removeprefix(prefix): part for group, part in tensors.items() if group.startswith(prefix)}
