"""Both stages of a fit in order: the mask GANs (Sec. 3.4), then the renderer (Sec. 3.3), with a plan and a forecast.

What is learned from, and where it is kept, comes in as arguments; `SynCGANAugmenter` reads the data and samples.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncgan.config import SynCGANConfig
from syncgan.data.pairs import TrainingPairs
from syncgan.image_cgan import MaskToImageCGAN, Score
from syncgan.mask_gan import MaskGAN
from syncgan.storage import library_versions
from syncgan.training.checkpoint import CheckpointStore
from syncgan.training.distributed import Ranks
from syncgan.training.events import Forecast, Notifier
from syncgan.training.loop import Progress
from syncgan.training.previews import Preview
from syncgan.training.run_folder import RunFolder

__all__ = ["Fitting", "run_identity", "run_record"]

_PROBE_STEPS = 4
_ALL_CLASSES = "mask_gan"


@dataclass(frozen=True)
class Fitting:
    """Trains the models of one augmenter.

    Attributes
    ----------
    config, levels, nuclear_levels : settings, the L that the maps have, and how many of them, the last, are nucleus.
    classes, label_values : names and labels, aligned.
    seed, device : of the training.
    """

    config: SynCGANConfig
    levels: int
    nuclear_levels: int
    classes: tuple[str, ...]
    label_values: tuple[int, ...]
    seed: int
    device: torch.device

    def run(
        self,
        training: TrainingPairs,
        held_out: TrainingPairs | None,
        run: RunFolder | None,
        notifier: Notifier,
        ranks: Ranks,
        score: Score | None,
    ) -> tuple[tuple[MaskGAN, ...], MaskToImageCGAN]:
        """Train everything that the run folder does not hold already.

        Parameters
        ----------
        training, held_out : pairs to learn from, and those to choose the renderer by, if any.
        run : where checkpoints and log go; None keeps nothing.
        notifier : told of every step.
        ranks : the processes that train together.
        score : see `MaskToImageCGAN.fit`.

        Returns
        -------
        One mask GAN a class (the same at each place when the classes share it), and the renderer.
        """
        config = self.config
        maps = {
            f"mask_gan/{name}": training.of_label(label)
            for name, label in zip(self.classes, self.label_values, strict=True)
        }
        steps = self._steps(maps, len(training))
        folders = {_ALL_CLASSES: "mask_gan-all", "image_gan": "image_gan"}
        folders |= {stage: f"mask_gan-{index:03d}" for index, stage in enumerate(maps)}
        stores = {}
        if run is not None:
            record = notifier.recorder(run)
            stores = {stage: run.checkpoints(folder, config, record) for stage, folder in folders.items()}
        observe = notifier.observer(run, self._forecast(steps, stores, training, notifier, ranks))
        preview = notifier.preview if notifier else None
        mask_gans = self._fit_mask_gans(maps, training, steps, stores, observe, preview)
        # Where `_split` held nothing out, the renderer must not either.
        chosen = config if held_out is not None else config.merged({"image_gan": {"selection": "last"}})
        image_gan = MaskToImageCGAN(chosen, seed=self.seed, device=self.device).fit(
            training.images,
            training.maps,
            training.labels,
            None if held_out is None else (held_out.images, held_out.maps, held_out.labels),
            checkpoints=stores.get("image_gan"),
            observe=observe,
            levels=self.levels,
            score=score,
            preview=preview,
        )
        return mask_gans, image_gan

    def _fit_mask_gans(
        self,
        maps: Mapping[str, Tensor],
        training: TrainingPairs,
        steps: Mapping[str, int],
        stores: Mapping[str, CheckpointStore],
        observe: Callable[[Progress], None],
        preview: Callable[[Preview], None] | None,
    ) -> tuple[MaskGAN, ...]:
        """Train one mask GAN a class, from a common start or not, or one that is told the class."""
        config = self.config

        def fit(part: Tensor, stage: str, config: SynCGANConfig = config, **details: Any) -> MaskGAN:
            model = MaskGAN(config, seed=self.seed, device=self.device)
            return model.fit(
                part,
                checkpoints=stores.get(stage),
                observe=observe,
                preview=preview,
                stage=stage,
                levels=self.levels,
                nuclear_levels=self.nuclear_levels,
                **details,
            )

        if self._shares_mask_gan(maps):
            return (fit(training.maps, _ALL_CLASSES, labels=training.labels),) * len(maps)
        start = None
        if _ALL_CLASSES in steps:
            start = fit(training.maps, _ALL_CLASSES, config.merged({"mask_gan": {"steps": steps[_ALL_CLASSES]}}))
        return tuple(fit(part, stage, start=start) for stage, part in maps.items())

    def _shares_mask_gan(self, maps: Mapping[str, Tensor]) -> bool:
        """Tell whether one mask GAN learns all classes; an object that fits itself says so, or is asked to."""
        section, model = self.config.mask_gan, MaskGAN(self.config)
        if section.sharing != "auto":
            return section.sharing == "shared"
        if not model.is_network(self.levels):
            return model.learns_all_classes(self.levels)
        return min(len(part) for part in maps.values()) < section.shared_below

    def _forecast(
        self,
        steps: Mapping[str, int],
        stores: Mapping[str, CheckpointStore],
        training: TrainingPairs,
        notifier: Notifier,
        ranks: Ranks,
    ) -> Forecast | None:
        """Tell the plan, with the time that is left of it; nothing is measured when nobody listens."""
        if not ranks.share(bool(notifier)):
            return None
        left = {stage: count - min(count, stores[stage].last_step() if stores else 0) for stage, count in steps.items()}
        left = ranks.share(left)
        to_do = [stage for stage, count in left.items() if count]
        forecast = Forecast(left, {**dict.fromkeys(steps, 0.0), **self.seconds_per_step(to_do, training)})
        notifier.tell("plan", total=sum(steps.values()), stages=steps, seconds_left=forecast.seconds_left())
        return forecast

    def _steps(self, maps: Mapping[str, Tensor], training: int) -> dict[str, int]:
        """Return the stages of our loop in order with their numbers of steps.

        Objects that fit themselves have none: how long they take is not known before they report progress.
        """
        config, levels = self.config, self.levels
        steps: dict[str, int] = {}
        if not MaskGAN(config).is_network(levels):
            pass
        elif self._shares_mask_gan(maps):
            steps[_ALL_CLASSES] = config.mask_gan.total_steps(training)
        else:
            if config.mask_gan.warm_start_steps:
                steps[_ALL_CLASSES] = config.mask_gan.warm_start_steps
            steps |= {stage: config.mask_gan.total_steps(len(part)) for stage, part in maps.items()}
        if MaskToImageCGAN(config).is_network(levels):
            steps["image_gan"] = config.image_gan.total_steps(training)
        return steps

    def seconds_per_step(self, stages: Iterable[str], training: TrainingPairs) -> dict[str, float]:
        """Time a few throw-away steps of each kind, so that the first estimate is a measured one."""
        short = {"steps": _PROBE_STEPS}
        probe = self.config.merged(
            {"mask_gan": short, "image_gan": {**short, "selection": "last"}, "training": {"log_every": 1}}
        )
        some = training.take(range(min(len(training), probe.image_gan.batch_size)))
        seconds: dict[str, float] = {}
        for stage in stages:
            kind = "image_gan" if stage == "image_gan" else "mask_gan"
            if kind in seconds:
                seconds[stage] = seconds[kind]
                continue
            ticks: list[float] = []

            def tick(progress: Progress, ticks: list[float] = ticks) -> None:
                ticks.append(time.monotonic())

            if kind == "image_gan":
                image_gan = MaskToImageCGAN(probe, device=self.device)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the fit itself says it
                    image_gan.fit(some.images, some.maps, some.labels, observe=tick, levels=self.levels)
            else:
                MaskGAN(probe, device=self.device).fit(
                    some.maps, observe=tick, levels=self.levels, nuclear_levels=self.nuclear_levels
                )
            # Of several processes only the main one is told.
            seconds[kind] = seconds[stage] = float(np.median(np.diff(ticks))) if len(ticks) > 1 else 0.0
        return seconds


def run_identity(
    config: SynCGANConfig,
    *,
    seed: int,
    data: str,
    classes: Sequence[str],
    groups: str | None,
    validation: str | None,
) -> dict[str, Any]:
    """Return what makes two runs the same run, JSON-compatible.

    Parameters
    ----------
    data : fingerprint of the training pairs, before any are held out.
    groups : fingerprint of how the pairs are grouped, if they are.
    validation : fingerprint of the pairs of a validation set, where one was given and is used.
    """
    return {
        "config": config.identity(),
        "seed": seed,
        "data": data,
        "classes": list(classes),
        "groups": groups,
        "validation": validation,
    }


def run_record(device: torch.device) -> dict[str, Any]:
    """Return what a run says of where it was made: bit-equal training needs the same threads and instructions."""
    return {
        "versions": library_versions(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
