"""Which of several processes this is; imports no torch: without it no process group can have been made."""

from __future__ import annotations

import os
import sys

__all__ = ["is_main_process"]


def is_main_process() -> bool:
    """Tell whether this process writes files and speaks: the first of several, or the only one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return int(os.environ.get("WORLD_SIZE", "1")) < 2 or int(os.environ.get("RANK", "0")) == 0
