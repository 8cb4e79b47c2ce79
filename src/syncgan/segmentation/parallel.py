"""Work on many images with joblib: on its backend of choice, in groups, one thread a process.

A group of images is one task, so that sending them costs little beside segmenting them. Results come in order and
do not depend on backend, number of jobs or grouping.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import cv2

__all__ = ["map_in_groups"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Sixteen images of 10 ms outweigh what a task costs; more would make progress jerky. Each job has a few groups, so that
# none is left working alone at the end.
_GROUP_ITEMS = 16
_GROUP_BYTES = 8 * 1024**2
_GROUPS_A_JOB = 4


def map_in_groups(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    total: int,
    n_jobs: int | None = None,
    bytes_of: Callable[[Item], int] | None = None,
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, in order.

    Parameters
    ----------
    work : can be sent to other processes, as its results can.
    items : read one by one in this process, a few groups ahead of the results.
    total : their number.
    n_jobs : parallel jobs, as in joblib (-1: all processors; None: what ``joblib.parallel_config`` says, else one).
    bytes_of : size of an item that is sent to another process, so that groups of large ones are small.
    """
    from joblib import delayed, effective_n_jobs

    jobs = n_jobs if total > 1 else 1  # a process costs more than one image
    size = max(1, min(_GROUP_ITEMS, total // (_GROUPS_A_JOB * effective_n_jobs(jobs))))
    groups = _groups(items, size if effective_n_jobs(jobs) > 1 else 1, bytes_of)
    # Arrays are sent, not memory-mapped: a mapped array is read-only, and a segmenter may write into its image.
    for results in _parallel(n_jobs=jobs, batch_size=1, max_nbytes=None)(
        delayed(_work_through)(work, group, os.getpid()) for group in groups
    ):
        yield from results


def _parallel(**settings: Any) -> Any:
    from joblib import Parallel

    try:
        return Parallel(return_as="generator", **settings)
    except ValueError:  # a backend that cannot stream
        return Parallel(**settings)


def _groups(items: Iterable[Item], size: int, bytes_of: Callable[[Item], int] | None) -> Iterator[list[Item]]:
    group: list[Item] = []
    held = 0
    for item in items:
        group.append(item)
        held += bytes_of(item) if bytes_of is not None else 0
        if len(group) == size or held >= _GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _work_through(work: Callable[[Item], Result], group: list[Item], parent: int) -> list[Result]:
    """Work on one group; runs in a worker."""
    with contextlib.nullcontext() if os.getpid() == parent else _one_thread():
        return [work(item) for item in group]


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
