"""Several processes that train one GAN under ``torchrun``: who is who, and how they agree.

Every process draws the same global batch and takes its slice of it. Gradients are averaged by torch's own
`DistributedDataParallel`, one wrapper a network; whatever decides (signals, checkpoints, stopping) is agreed on.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from syncgan.errors import ConfigError, TrainingError

__all__ = ["Ranks", "process_group"]

T = TypeVar("T")


class Ranks:
    """The processes of one training; the only one, unless `process_group` made others.

    Parameters
    ----------
    rank, world : number of this process, and how many there are.
    control : group of CPU tensors for decisions, so that they need not wait for a GPU; None for one process.
    timeout : seconds that one waits for the others.

    Attributes
    ----------
    main : whether this process writes files and tells callbacks.
    """

    def __init__(self, rank: int = 0, world: int = 1, control: Any = None, timeout: float = 0.0) -> None:
        self.rank = rank
        self.world = world
        self.main = rank == 0
        self._control = control
        self._timeout = timeout

    def slice_of(self, items: int, setting: str = "batch_size") -> tuple[int, int]:
        """Return the positions of the global batch that are this process's.

        Parameters
        ----------
        items : of the global batch.
        setting : what an error says is to be set.

        Raises
        ------
        ConfigError
            The batch does not divide evenly: means over unequal slices would not be the mean over the batch.
        """
        if items % self.world:
            raise ConfigError(
                f"expected {setting} to be one that {self.world} processes can share evenly, got {items}; "
                f"set it to a multiple of {self.world}, or start another number of processes"
            )
        share = items // self.world
        return self.rank * share, (self.rank + 1) * share

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with averaged gradients; itself for one process."""
        if self.world == 1:
            return network
        device = next(network.parameters()).device
        # Buffers are not broadcast: that would change them in place between the two passes of one update of D.
        known = inspect.signature(DistributedDataParallel).parameters
        quiet = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {"device_ids": [device] if device.type == "cuda" else None, quiet: False}
        return DistributedDataParallel(network, **options)

    def any_of(self, flags: Tensor) -> Tensor:
        """Return flags (a boolean tensor on the training device) that are true where any process has them so."""
        if self.world == 1:
            return flags
        numbers = flags.to(torch.int32)
        with self.waiting():
            dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return numbers.bool()

    def agree(self, value: int) -> int:
        """Return the largest value that any process has."""
        if self.world == 1:
            return value
        number = torch.tensor(value)
        with self.waiting():
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self._control)
        return int(number)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over the processes, which all have the same names."""
        if self.world == 1 or not values:
            return dict(values)
        numbers = torch.tensor(list(values.values()), dtype=torch.float64)
        with self.waiting():
            dist.all_reduce(numbers, group=self._control)
        return dict(zip(values, (numbers / self.world).tolist(), strict=True))

    def share(self, value: T) -> T:
        """Return the main process's value."""
        if self.world == 1:
            return value
        box = [value if self.main else None]
        with self.waiting():
            dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]  # type: ignore[return-value]

    def meet(self) -> None:
        """Wait until all processes are here.

        It ends a training: gloo's threads, which DistributedDataParallel keeps alive, free the tensor of the last
        exchange, and abort the process where Python has ended before; a barrier has none to free.
        """
        if self.world > 1:
            with self.waiting():
                dist.barrier(group=self._control)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Turn the failure of another process into an error that says so."""
        try:
            yield
        except RuntimeError as error:  # gloo raises plain RuntimeErrors
            if self.world == 1 or isinstance(error, torch.OutOfMemoryError) or not _is_about_peers(error):
                raise
            raise TrainingError(
                f"process {self.rank} of {self.world}: another process died or did not answer within "
                f"{self._timeout:g} s ({str(error).splitlines()[0][:200]}); "
                "see its own message, then start all of them again with --resume"
            ) from error


@contextlib.contextmanager
def process_group(device: torch.device, timeout: float) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, for the block; alone without it.

    A group that exists already is used and left as it is.

    Parameters
    ----------
    device : this process's; CUDA exchanges gradients by NCCL, all others by gloo.
    timeout : seconds that one waits for the others before it gives up.
    """
    if dist.is_available() and dist.is_initialized():
        yield _ranks(timeout)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    limit = timedelta(seconds=timeout)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=limit)
    except (ValueError, RuntimeError) as error:
        raise TrainingError(
            f"the environment asks for WORLD_SIZE={os.environ['WORLD_SIZE']} processes, but they do not find each "
            f"other ({str(error).splitlines()[0][:200]}); start with torchrun, or unset WORLD_SIZE"
        ) from error
    try:
        ranks = _ranks(timeout)
        yield ranks
        ranks.meet()
    finally:
        dist.destroy_process_group()


def _ranks(timeout: float) -> Ranks:
    control = None
    if dist.get_backend() != "gloo":
        control = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
    return Ranks(dist.get_rank(), dist.get_world_size(), control, timeout)


def _is_about_peers(error: RuntimeError) -> bool:
    words = ("gloo", "nccl", "timed out", "timeout", "connection", "peer", "store")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
