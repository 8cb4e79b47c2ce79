"""What all tests share."""

import os
import signal
from pathlib import Path

# Before torch is imported, and inherited by the commands that tests start: threads that wait for each other on busy
# cores make small networks many times slower than one thread is.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)
# torch gives some warnings only once; in random order, whichever test comes first would fail for them.
torch.set_warn_always(True)

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real image sets; skips without them."""
    given = os.environ.get("SYNCGAN_DATA")
    folder = Path(given) if given else PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set SYNCGAN_DATA to their folder")
    return folder


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_interrupts() -> None:
    """Take SIGINT as an interactive shell does; a shell starts jobs in the background with it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def quick_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make preset ``tiny`` train for a few steps only, so that documented code runs as it is written."""
    from syncgan.config.presets import PRESETS

    tiny = PRESETS["tiny"]
    quick = {**tiny, **{section: {**tiny[section], "steps": 3} for section in ("mask_gan", "image_gan")}}
    quick["mask_gan"]["warm_start_steps"] = 0
    quick["mask_gan"]["sharing"] = "class"
    quick["filters"] = {"mask_plausibility": False}  # masks of an untrained GAN would be redrawn, with a warning
    monkeypatch.setitem(PRESETS, "tiny", quick)
