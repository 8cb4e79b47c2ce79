"""Every fault, injected a few times: nothing is lost, nothing is silent, nobody gets in.

``python tests/faults --long`` injects them as often as ``docs/reliability.md`` says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults.engine import HERE, Fault
from faults.table import all_faults

_FAULTS = [fault for fault in all_faults() if fault.short]


@pytest.fixture(scope="module")
def outcomes_apart() -> dict[str, Any]:
    """Outcomes of the faults that fork: in one process without threads."""
    command = [sys.executable, HERE, "--apart", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=840, check=False)
    assert done.stdout.strip(), done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("fault", [fault for fault in _FAULTS if not fault.apart], ids=str)
def test_nothing_is_lost_by(fault: Fault, tmp_path: Path) -> None:
    outcome = fault.inject(tmp_path, fault.short)
    assert outcome.lost == []
    assert outcome.tries > 0  # a sweep over all calls has as many as there are


@pytest.mark.timeout(900)  # the first waits for all of them, on whatever machine
@pytest.mark.parametrize("fault", [fault for fault in _FAULTS if fault.apart], ids=str)
def test_nothing_is_lost_in_another_process_by(fault: Fault, outcomes_apart: dict[str, Any]) -> None:
    outcome = outcomes_apart[str(fault)]
    assert outcome["lost"] == []
    assert outcome["tries"] > 0


def test_every_row_has_its_faults() -> None:
    rows = {fault.row for fault in all_faults()}
    assert rows >= {f"R{number}" for number in range(1, 18)} | {"S"}
