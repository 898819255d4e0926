"""Tests of serving.check as a program; tests/components/test_infra_validator.py has the rest."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ends_by_itself(tmp_path: Path) -> None:
    """The program ends when its time is over, also when whoever started it was killed and waits no longer."""
    command = [sys.executable, "-m", "serving.check", str(tmp_path), str(tmp_path), str(tmp_path / "out"), "0.1"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGALRM
