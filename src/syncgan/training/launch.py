"""Which of the processes that ``torchrun`` started this is; asks the environment alone and imports no torch."""

from __future__ import annotations

import os

__all__ = ["is_main_process"]


def is_main_process() -> bool:
    """Tell whether this process writes files and speaks: the first of several, or the only one."""
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or int(os.environ.get("RANK", "0")) == 0
