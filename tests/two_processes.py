"""Train small games in two processes that exchange gradients by gloo; writes what they did to a folder.

Run by ``test_distributed.py`` as a script: processes are forked from one that has imported torch but has no threads.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what every optimiser imports when it is made; here once instead of in every process
from safetensors.torch import save_file

from small_games import objective, run, store
from syncgan.errors import TrainingError
from syncgan.training.batches import cut

_FORK = multiprocessing.get_context("fork")


def start(work: Callable[..., None], *arguments: Any, world: int = 2) -> list[Any]:
    """Run `work(rank, *arguments)` in processes with the environment of torchrun; return their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def enter(rank: int) -> None:
        torch.set_num_threads(1)
        if world > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1"}
            os.environ.update({name: str(value) for name, value in {**names, "MASTER_PORT": port}.items()})
        work(rank, *arguments)

    processes = [_FORK.Process(target=enter, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def gradients(rank: int, folder: Path, name: str, kind: str, options: dict[str, Any]) -> None:
    """Take one step and write the gradients of both networks."""
    game, config = objective(kind, **options)
    run(game, config, steps=1, training=options_of(options))
    found = {
        f"{part}.{key}": parameter.grad.clone()
        for part in ("generator", "discriminator")
        for key, parameter in getattr(game, part).named_parameters()
    }
    save_file(found, folder / f"{name}-{kind}-{rank}.safetensors")


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return engine settings that go with a game."""
    return {"distributed_timeout_seconds": 20.0, "accumulation": 3 if "r1_weight" in options else 1}


def whole(rank: int, folder: Path, kind: str) -> None:
    """Train with one poisoned loss on the second process alone, and write what each then has."""
    game, config = objective(kind)
    original = game.generator_losses

    def poisoned(batch: Any, fake: Any) -> Any:
        terms = original(batch, fake)
        return {name: term * float("nan") for name, term in terms.items()} if rank and batch.step == 3 else terms

    game.generator_losses = poisoned
    seen: list[Any] = []
    state = run(game, config, training={"distributed_timeout_seconds": 20.0}, observe=seen.append)
    groups = state.tensors()
    flat = {f"{group}.{name}": value.clone() for group in groups for name, value in groups[group].items()}
    save_file(flat, folder / f"whole-{kind}-{rank}.safetensors")
    told = {"numbers": state.numbers(), "lines": len(seen)}
    (folder / f"whole-{kind}-{rank}.json").write_text(json.dumps(told))


def dying(rank: int, folder: Path, name: str, die_at: int, how: str) -> None:
    """Train with checkpoints at every step; the second process dies, or is told to stop, when it draws a batch."""
    game, config = objective("mask")
    original = game.draw

    def draw(number: int) -> Any:
        if rank == 1 and number == die_at:
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGTERM)
        return original(number)

    game.draw = draw
    started = time.monotonic()
    checkpoints = store(folder / name, keep=1)
    try:
        run(game, config, checkpoints=checkpoints, training={"distributed_timeout_seconds": 20.0})
    except TrainingError as error:
        told = {"error": str(error), "seconds": time.monotonic() - started}
        (folder / f"{name}-{rank}.json").write_text(json.dumps(told))
        raise SystemExit(3) from None


def uneven(rank: int, folder: Path) -> None:
    """Try a batch that two processes cannot share."""
    game, config = objective("mask", batch_size=6)
    original = game.draw
    game.draw = lambda number: cut(original(number), 0, 5)
    try:
        run(game, config, steps=1, training={"distributed_timeout_seconds": 20.0})
    except ValueError as error:
        (folder / f"uneven-{rank}.txt").write_text(str(error))


def main(folder: Path) -> None:
    """Write everything that the tests look at."""
    codes: dict[str, Any] = {}
    for kind in ("mask", "image"):
        for label, options in (("plain", {"r1_every": 1}), ("parts", {"r1_weight": 0.0})):
            start(gradients, folder, f"one-{label}", kind, options, world=1)
            start(gradients, folder, f"two-{label}", kind, options)
        start(whole, folder, kind)
    start(dying, folder, "undisturbed", 99, "kill")
    codes["killed"] = start(dying, folder, "killed", 3, "kill")
    codes["resumed"] = start(dying, folder, "killed", 99, "kill")
    codes["stopped"] = start(dying, folder, "stopped", 3, "stop")
    start(uneven, folder)
    (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
