"""Ctrl-C: the first one interrupts the command, and later ones leave it the time to end in order."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Final

EXIT_CODE: Final = 130
"""The exit code of an interrupted command, as shells have it: 128 and the number of SIGINT."""
GRACE_SECONDS: Final = 5.0
"""After this time another Ctrl-C ends the process at once; what it leaves is cleared by the next run."""

_presses: list[float] = []


def handle_interrupts() -> None:
    """Makes Ctrl-C end this process with exit code 130, however often it is pressed.

    Python's own handler raises KeyboardInterrupt every time: a second one breaks the clearing up after the first, and
    one while the interpreter exits ends the process by the signal. A process that ignores SIGINT, as shells start
    background jobs, goes on ignoring it.
    """
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if own and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def was_interrupted() -> bool:
    """Returns whether Ctrl-C was pressed; a library may have turned the KeyboardInterrupt into another exception."""
    return bool(_presses)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _presses.append(time.monotonic())
    if len(_presses) == 1:
        raise KeyboardInterrupt
    if _presses[-1] - _presses[0] > GRACE_SECONDS:
        os._exit(EXIT_CODE)
