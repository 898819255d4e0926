"""Waiting for what another thread, process or server is about to do: for so long, and without keeping a core busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Looks every 10 ms until what is seen is true, and returns it.

    Args:
        look: What is looked at; what it raises ends the waiting.
        what: What is waited for, as the failure of the test says it.
        seconds: The most that may take.
    """
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"Not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return seen
