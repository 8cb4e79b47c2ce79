"""What only a process of its own can tell of torch: whether it can be imported, and what a few steps cost.

`ask` starts one, so that a broken build, a crash or full memory ends that process and not the one that asks, and so
that the most memory it had is that of the steps alone. It prints one line of JSON for the environment and, where asked
for, one for the forecast.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from syncgan.config import SynCGANConfig
from syncgan.errors import SyncganError

__all__ = ["ask", "main"]

_SIMULATED = 8


def ask(
    *, config: SynCGANConfig | None = None, counts: Mapping[str, int] | None = None, device: str = "auto"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask a new process about torch and, with `config` and `counts`, how long a fit would take.

    Parameters
    ----------
    counts : class name -> number of images.

    Returns
    -------
    environment : ``torch`` and ``torchvision`` (versions), ``cuda`` (version of the build, None without), ``gpus``
        (names), ``threads``; or ``error``.
    forecast : ``seconds``, ``stages`` (name -> steps), ``device``, ``peak_memory_mb``; or ``error``; empty where not
        asked for.
    """
    request: dict[str, Any] = {"device": device}
    if config is not None and counts is not None:
        request |= {"config": config.model_dump(mode="json"), "counts": dict(counts)}
    # -P: a file named torch.py in the current folder is not torch.
    command = [sys.executable, "-P", "-m", __name__]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)  # noqa: S603
    answers: dict[str, Any] = {"environment": {}, "forecast": {}}
    for line in done.stdout.splitlines():
        if line.startswith('{"'):
            answers |= json.loads(line)
    if done.returncode:
        asked = "forecast" if answers["environment"] else "environment"
        answers[asked] = {"error": _last_words(done.returncode, done.stderr)}
    return answers["environment"], answers["forecast"]


def _last_words(code: int, stderr: str) -> str:
    if code < 0:
        return f"the process was killed by signal {-code}" + (" (is memory full?)" if code == -9 else "")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {code}"


def main() -> None:
    """Answer the request on standard input; run in a process of its own."""
    request = json.loads(sys.stdin.read())
    print(json.dumps({"environment": _environment()}), flush=True)  # noqa: T201
    if "counts" in request:
        print(json.dumps({"forecast": _forecast(request)}), flush=True)  # noqa: T201


def _environment() -> dict[str, Any]:
    import torch
    import torchvision

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("Apple MPS")
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "threads": torch.get_num_threads(),
    }


class _Enough(BaseException):
    """The plan is known. Not an `Exception`: a fit logs those of its callbacks and goes on."""


def _forecast(request: Mapping[str, Any]) -> dict[str, Any]:
    """Let a fit on simulated images of the right numbers tell its plan, and stop it there."""
    from syncgan.augmenter import SynCGANAugmenter
    from syncgan.training.clock import peak_memory_mb
    from syncgan.training.events import FitEvent

    config = SynCGANConfig.from_mapping(request["config"])
    if config.image_gan.selection == "utility":  # what scores is not part of the steps
        config = config.merged({"image_gan": {"selection": "last"}})
    plans: list[FitEvent] = []

    def stop(event: FitEvent) -> None:
        if event.kind == "plan":
            plans.append(event)
            raise _Enough

    augmenter = SynCGANAugmenter(config, device=request["device"])
    dataset, masks = _simulated(config, request["counts"])
    try:
        augmenter.fit(dataset, masks=masks, callbacks=[stop])
    except _Enough:
        pass
    except SyncganError as error:
        return {"error": str(error)}
    return {
        "seconds": plans[0].seconds_left or 0.0,
        "stages": dict(plans[0].stages),
        "device": str(augmenter.device_),
        "peak_memory_mb": peak_memory_mb(augmenter.device_),
    }


def _simulated(
    config: SynCGANConfig, counts: Mapping[str, int]
) -> tuple[list[tuple[Any, str]], list[NDArray[np.uint8]]]:
    """Return a dataset of the right numbers, and maps of all levels; few images, many times: steps do not see that."""
    from syncgan.data.phantom import Phantom

    phantom = Phantom(_SIMULATED // 2, image_size=config.image_size)
    pictures = [phantom.image(index) for index in range(_SIMULATED)]
    maps = [phantom.mask(index) for index in range(_SIMULATED)]
    if not config.stain_classes:
        maps = [mask * np.uint8(config.levels - 1) for mask in maps]
        for simulated in maps:
            simulated[0, : config.levels] = np.arange(config.levels)
    labels = [name for name, count in counts.items() for _ in range(count)]
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    return (
        [(images[index % _SIMULATED], label) for index, label in enumerate(labels)],
        [maps[index % _SIMULATED] for index in range(len(labels))],
    )


def _stop() -> NoReturn:
    sys.stdout.flush()
    # No destructor of a GPU library shall hold up an answer that is written.
    os._exit(0)


if __name__ == "__main__":
    main()
    _stop()
