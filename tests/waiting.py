"""Waiting, with a time-out, for a condition that another thread, process or server brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], what: str, seconds: float = 300.0) -> T:
    """Polls every 10 ms until a value is true, and returns the value.

    Args:
        look: Returns the value; an exception that it raises ends the wait.
        what: The condition, for the message of the failing test.
        seconds: The time-out.
    """
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"Not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return seen
