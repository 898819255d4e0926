"""Tests of pipeline.contract.interrupts: what each Ctrl-C does to a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PRESSED = """
import atexit, os, signal, sys
from pipeline.contract import interrupts

def press(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.GRACE_SECONDS = float(sys.argv[1] or interrupts.GRACE_SECONDS)
interrupts.handle_interrupts()
atexit.register(press, 5)
try:
    press(1)
except KeyboardInterrupt:
    press(4)
    print("cleared up", interrupts.was_interrupted())
    sys.exit(130)
"""


@pytest.mark.parametrize(("grace", "output"), [("", "cleared up True\n"), ("0", "")])
def test_later_presses_wait_for_the_clearing_up(grace: str, output: str) -> None:
    """Within the grace period they change nothing, and after it one ends the process; the exit code is the same."""
    done = subprocess.run(
        [sys.executable, "-c", PRESSED, grace], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, output, "")
