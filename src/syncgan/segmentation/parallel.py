"""Work on many images with joblib: on its backend of choice, in groups, one thread a process.

A group of images is one task, so that sending them costs little beside segmenting them. Results come in order and
do not depend on backend, number of jobs or grouping.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np

from syncgan.arrays import Pixels
from syncgan.errors import ConfigError, WorkerError
from syncgan.segmentation.recipe import Masks, Recipe
from syncgan.segmentation.transport import PackedImages, PackedMasks, Pages

__all__ = ["as_sent", "can_be_sent", "map_images", "map_in_groups", "pays_for_processes"]

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Group = TypeVar("Group")
Result = TypeVar("Result")

# Sixteen images of 10 ms outweigh what a task costs; more would make progress jerky. Each job has a few groups, so that
# none is left working alone at the end.
_GROUP_ITEMS = 16
_GROUP_BYTES = 16 * 1024**2
_GROUPS_A_JOB = 16
_GROUPS_AT_ONCE = 64  # a gibibyte
_MANY_IMAGES = 64
_SHARED_BYTES = 64 * 1024  # larger arrays pass through shared memory, read-only


def pays_for_processes(images: int) -> bool:
    """Tell whether there are enough images to be worth the start of several processes."""
    return images >= _MANY_IMAGES


def as_sent(call: Callable[..., Any]) -> bytes:
    """Return a callable as joblib sends it to other processes; what cannot be sent raises what its pickler raises."""
    from joblib import wrap_non_picklable_objects

    return pickle.dumps(wrap_non_picklable_objects(call, keep_wrapper=False))


def can_be_sent(recipe: Recipe) -> bool:
    """Tell whether a recipe reaches other processes; what holds a lock or an open file does not."""
    try:
        as_sent(recipe.segmenter.call)
    except Exception as error:
        # A pickler asks the object itself, which may raise anything.
        _log.info("images are segmented in this process alone: the segmenter cannot be sent to others (%s)", error)
        return False
    return True


def map_in_groups(
    work: Callable[[Item], Result], items: Iterable[Item], *, total: int, n_jobs: int | None = None
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order.

    Parameters
    ----------
    work : can be sent to other processes, as items and results can.
    items : read one by one in this process, a few groups ahead of the results.
    total : their number.
    n_jobs : parallel jobs, as in joblib (-1: all processors; None: what ``joblib.parallel_config`` says, else one).

    Raises
    ------
    ConfigError
        `n_jobs` is no number of jobs, or joblib's backend is ``multiprocessing``.
    """
    jobs, size = _jobs_and_size(n_jobs, total)
    yield from _run(partial(_each, work), [_groups(items, size)], jobs)


def map_images(
    segment: Callable[[int, Pixels], Masks],
    images: Iterable[Pixels],
    *,
    total: int,
    n_jobs: int | None = None,
) -> Iterator[Masks]:
    """Yield ``segment(index, image)`` for each (H, W, 3) uint8 image, in order; as `map_in_groups`.

    Images are read in the caller's thread, and not further ahead than a window of groups, however slowly results are
    taken: joblib alone reads on in a thread of its own.

    Parameters
    ----------
    segment : gets images that may be read-only.
    """
    from joblib import effective_n_jobs

    jobs, size = _jobs_and_size(n_jobs, total)
    groups = _groups(enumerate(images), size, bytes_of=lambda item: item[1].nbytes)
    if size == 1 and jobs == 1:
        yield from (segment(index, image) for group in groups for index, image in group)
    else:
        work = partial(_each_packed, segment, os.getpid())
        with Pages() as pages:
            pack = pages.pack if _runs_on_this_machine() else PackedImages.of
            windows = (map(pack, window) for window in _windows(groups, effective_n_jobs(jobs)))
            for result in _run(work, windows, jobs):
                yield result.masks() if isinstance(result, PackedMasks) else result


def _runs_on_this_machine() -> bool:
    """Say whether joblib's processes share this machine's memory; those of dask and ray need not."""
    return _backend_name() == "LokyBackend"


def _backend_name() -> str:
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    return type(backend).__name__


def _jobs_and_size(n_jobs: int | None, total: int) -> tuple[int | None, int]:
    """Return the jobs that are worth starting, and the number of items in a group."""
    from joblib import effective_n_jobs

    integer = n_jobs is None or (isinstance(n_jobs, (int, np.integer)) and not isinstance(n_jobs, bool))
    if not integer or n_jobs == 0:
        raise ConfigError(f"n_jobs: expected a number of jobs, -1 (all processors) or None, got {n_jobs!r}")
    # It forks this process, and the forks wait for ever for OpenCV's threads, which are not in them.
    if _backend_name() == "MultiprocessingBackend":
        raise ConfigError('joblib\'s backend "multiprocessing" is not supported; use "loky" or "threading"')
    jobs = n_jobs if total > 1 else 1  # a process costs more than one image
    effective = effective_n_jobs(jobs)
    if effective == 1:
        return 1, 1
    return jobs, max(1, min(_GROUP_ITEMS, total // (_GROUPS_A_JOB * effective)))


def _groups(items: Iterable[Item], size: int, bytes_of: Callable[[Item], int] = lambda _: 0) -> Iterator[list[Item]]:
    group: list[Item] = []
    held = 0
    for item in items:
        group.append(item)
        held += bytes_of(item)
        if len(group) == size or held >= _GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _windows(groups: Iterator[Group], jobs: int) -> Iterator[list[Group]]:
    """Yield lists of so many groups that few jobs are left waiting at the end of each."""
    size = max(2 * jobs, min(_GROUPS_A_JOB * jobs, _GROUPS_AT_ONCE))
    while window := list(itertools.islice(groups, size)):
        yield window


def _run(
    work: Callable[[Group], list[Result]], windows: Iterable[Iterable[Group]], jobs: int | None
) -> Iterator[Result]:
    from joblib import delayed

    parallel = _parallel(n_jobs=jobs, batch_size=1, max_nbytes=_SHARED_BYTES, mmap_mode="r")
    try:
        for groups in windows:
            for results in parallel(delayed(_in_worker)(work, group, os.getpid()) for group in groups):
                yield from results
    except BrokenExecutor as error:
        raise WorkerError(
            "a process that shares the work was killed, or died of what it was doing (the system ends the largest when "
            "memory runs out); try fewer processes, --jobs 1 or n_jobs=1, or go on with --resume; where a model is "
            "fitted, extract the masks first (MaskExtractor.extract with n_jobs=1, `syncgan masks --jobs 1`) and give "
            "them to it"
        ) from error


def _parallel(**settings: Any) -> Any:
    from joblib import Parallel

    try:
        return Parallel(return_as="generator", **settings)
    except ValueError:  # a backend that cannot stream
        return Parallel(**settings)


# --- in a worker ---------------------------------------------------------------------------------------------------


def _in_worker(work: Callable[[Group], list[Result]], group: Group, parent: int) -> list[Result]:
    with contextlib.nullcontext() if os.getpid() == parent else _one_thread():
        return work(group)


def _each(work: Callable[[Item], Result], group: list[Item]) -> list[Result]:
    return [work(item) for item in group]


def _each_packed(
    segment: Callable[[int, Pixels], Masks], parent: int, group: PackedImages
) -> list[Masks | PackedMasks]:
    masks = [segment(index, image) for index, image in group.items()]
    return [each if os.getpid() == parent else PackedMasks.of(each) for each in masks]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let OpenCV and BLAS use one thread in this process: there is a process for each core."""
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
