"""Inject every fault and print what was lost: ``python tests/faults --long``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.table import main

if __name__ == "__main__":
    main()
