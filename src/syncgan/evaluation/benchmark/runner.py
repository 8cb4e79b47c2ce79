"""`run_benchmark`: does it help? Splits x arms x classifiers, each split a file, interrupted and resumed at will.

In each split the augmenter is fitted on the training part alone (Sec. 4), and every arm gets the same optimiser steps,
seeds and validation set. What is kept are class probabilities of the test items: any statistic can be made of them.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import torch

from syncgan.config import SynCGANConfig, checked
from syncgan.errors import ConfigError
from syncgan.evaluation.benchmark.data import BenchmarkData, read_benchmark_data
from syncgan.evaluation.benchmark.feature_cache import features_for
from syncgan.evaluation.benchmark.ratio import RATIOS
from syncgan.evaluation.benchmark.settings import DEFAULT_OUTLINE, BenchmarkConfig
from syncgan.evaluation.benchmark.split_run import Bench, run_split
from syncgan.evaluation.benchmark.splits import joined_groups, make_splits
from syncgan.evaluation.benchmark.store import BenchmarkStore
from syncgan.evaluation.benchmark.summary import BenchmarkSummary, summarise
from syncgan.evaluation.features import Features
from syncgan.evaluation.runs import RunData, load_run_data, require_outside
from syncgan.registry import ARMS, CLASSIFIERS, require_plugins
from syncgan.segmentation.diagnosis import DOUBTFUL
from syncgan.training.precision import resolve_device

if TYPE_CHECKING:
    from syncgan.training.events import FitEvent

__all__ = ["check_names", "run_benchmark"]


class Tell(Protocol):
    """What shows progress; `Display.update` is one."""

    def __call__(
        self, stage: str, done: int, total: int, details: str = "", seconds_left: float | None = None
    ) -> None: ...


def run_benchmark(
    data: RunData | str | PathLike[str] | Any,
    out: str | PathLike[str],
    *,
    config: SynCGANConfig | None = None,
    settings: BenchmarkConfig | None = None,
    arms: Sequence[str] = DEFAULT_OUTLINE.arms,
    classifiers: Sequence[str] = DEFAULT_OUTLINE.classifiers,
    repeats: int = DEFAULT_OUTLINE.repeats,
    per_class: int | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    shard: tuple[int, int] = (1, 1),
    resume: bool = True,
    device: str | torch.device = "auto",
    features: Features | None = None,
    callbacks: Iterable[Callable[[FitEvent], None]] = (),
    progress: Tell | None = None,
) -> BenchmarkSummary | None:
    """Compare classifiers trained on real images with those trained on real and synthetic ones, over many splits.

    Parameters
    ----------
    data : folder of class folders, a map-style dataset, or what `load_run_data` returned.
    out : folder of the results; made here. The same benchmark in it is gone on with.
    config, settings : of the augmenter, and of the classifiers' training.
    arms, classifiers : names in ``ARMS`` and ``CLASSIFIERS``.
    repeats : number of splits; may be raised later.
    per_class : training images of each class; None splits 3:1:1 as the paper.
    groups : patient or slide of every item; none lies on two sides of a split.
    seed : names everything random.
    shard : (i, n) runs splits i, i + n, ..; several machines can share one folder.
    resume : False refuses a folder that holds a benchmark.
    device : where everything runs.
    features : for classifiers on fixed features; None for `default_features`.
    callbacks : see `SynCGANAugmenter.fit`.
    progress : told after each training of a split.

    Returns
    -------
    Means over the splits that are finished so far, None where none is (the part of another shard).

    Raises
    ------
    ConfigError, UnknownNameError
        A name, shard or setting that makes no sense; masks that are given.
    DataError
        Too few images or groups for such splits.
    RunExistsError
        `out` holds another benchmark.
    ArtefactError
        A result in `out` is damaged.
    """
    config, settings = checked(config), settings or BenchmarkConfig()
    if isinstance(data, RunData) and data.masks is not None:
        raise ConfigError(
            "expected data without masks, got some: a benchmark extracts masks in every split, from its training "
            "images alone; leave them out"
        )
    check_names(config, arms, classifiers, shard)
    where = resolve_device(device)
    read = _read(data, out, config, groups, progress)
    same = read.same_images()
    joined = joined_groups(read.groups, [copies for found in same for copies in found.copies], len(read))
    splits = make_splits(read.labels, joined, repeats=repeats, per_class=per_class, seed=seed, held_back=settings.ratio)
    points = features_for(classifiers, features, where)
    store = BenchmarkStore(out)
    store.begin(
        {
            "data": read.fingerprint(),
            "config": config.identity(),
            "settings": settings.identity(),
            "arms": list(arms),
            "classifiers": list(classifiers),
            "per_class": per_class,
            "seed": seed,
            "features": None if points is None else points.name,
        },
        {
            "classes": list(read.classes),
            "items": len(read),
            "device": str(where),
            "threads": torch.get_num_threads(),
        },
        resume=resume,
    )
    bench = Bench(
        data=read,
        same=same,
        joined=tuple(joined),
        config=config,
        settings=settings,
        arms=tuple(arms),
        classifiers=tuple(classifiers),
        store=store,
        features=points,
        seed=seed,
        device=where,
        callbacks=tuple(callbacks),
    )
    own = splits[shard[0] - 1 :: shard[1]]
    missing = [split for split in own if not store.finished(split.number)]
    for number in {split.number for split in own} - {split.number for split in missing}:
        store.drop_work(number)  # of a process that ended between the result and this
    trainings = len(arms) * len(classifiers) + settings.tuning_folds * len(RATIOS)
    clock = _Clock(len(missing), trainings, progress)
    with _warning_once_of(DOUBTFUL):
        for split in missing:
            clock.begin(f"split {split.number} of {repeats}")
            store.finish(split.number, run_split(bench, split, clock.tick))
    return summarise(out) if store.splits() else None


@contextlib.contextmanager
def _warning_once_of(text: str) -> Iterator[None]:
    """Show the first warning that says so, and no further one: the fits of all splits are on much the same images."""
    with warnings.catch_warnings():
        show, shown = warnings.showwarning, []

        def show_once(message: Warning | str, *where: Any, **more: Any) -> None:
            if text in str(message):
                shown.append(message)
            if text not in str(message) or len(shown) == 1:
                show(message, *where, **more)

        warnings.showwarning = show_once
        yield


def check_names(
    config: SynCGANConfig, arms: Sequence[str], classifiers: Sequence[str], shard: tuple[int, int] = (1, 1)
) -> None:
    """Refuse names that do not exist or are given twice, and shards that make no sense; imports no plug-in."""
    for what, names, registry in (("arms", arms, ARMS), ("classifiers", classifiers, CLASSIFIERS)):
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise ConfigError(f"expected some {what}, each once, got {names!r}; choose from {registry.names()}")
        for name in names:
            registry.require(name)
    require_plugins(config.plugin_names())
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"expected a shard (i, n) with 1 <= i <= n, got {shard}")


def _read(
    data: Any, out: str | PathLike[str], config: SynCGANConfig, groups: Sequence[Any] | None, progress: Tell | None
) -> BenchmarkData:
    if isinstance(data, str | PathLike):
        require_outside(out, data)
        data = load_run_data(data)
    names = None
    if isinstance(data, RunData):
        groups = data.groups if groups is None else groups
        names = getattr(data.dataset, "files", None)
        data = data.dataset

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("images", done, total)

    return read_benchmark_data(data, config, groups=groups, names=names, progress=tell)


class _Clock:
    """Tells how far the benchmark is, and when it will be done at the present speed."""

    def __init__(self, splits: int, trainings: int, progress: Tell | None) -> None:
        self._progress = progress
        self._total, self._trainings = splits * trainings, trainings
        self._started = time.monotonic()
        self._stage, self._done, self._before, self._restored = "", 0, 0, 0

    def begin(self, stage: str) -> None:
        self._stage, self._before = stage, self._done
        if self._progress is not None:
            self._progress(stage, 0, self._trainings)

    def tick(self, what: str, *, restored: bool = False) -> None:
        self._done += 1
        self._restored += restored
        if self._progress is not None:
            passed, trained = time.monotonic() - self._started, self._done - self._restored
            left = passed / trained * (self._total - self._done) if trained else None
            self._progress(self._stage, self._done - self._before, self._trainings, what, left)
