"""Retries with exponential back-off and jitter, within a deadline, that honour a server's Retry-After."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

Result = TypeVar("Result")


def call_with_retries(
    attempt: Callable[[], Result],
    *,
    is_transient: Callable[[BaseException], bool],
    retries: int,
    deadline: float = math.inf,
    retry_after: Callable[[BaseException], float] = lambda error: 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Calls `attempt` until it returns, pausing after each transient failure; returns its result.

    Args:
        attempt: The call. What it raises and `is_transient` rejects is raised at once.
        is_transient: Whether a retry may succeed after this error.
        retries: The most calls after the first.
        deadline: By `time.monotonic`. A pause that would reach it is not begun. Defaults to none.
        retry_after: The seconds that the server asks to wait after this error, at least. Defaults to 0.
        sleep: Pauses for some seconds; what it raises ends the retries. Defaults to `time.sleep`.

    Raises:
        BaseException: The last error, when it is not transient, or no retry or time is left.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(backoff_seconds(state.attempt_number - 1), retry_after(error) if error else 0.0)

    def out_of_time(state: RetryCallState) -> bool:
        return state.upcoming_sleep >= deadline - time.monotonic()

    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        stop=lambda state: stop_after_attempt(retries + 1)(state) or out_of_time(state),
        wait=pause,
        sleep=sleep,
        reraise=True,
    )
    return retrying(attempt)


def backoff_seconds(failures: int) -> float:
    """Returns the pause before the next attempt: twice as long each time, up to 5 s, with 50% jitter.

    Args:
        failures: How many attempts have failed before the last one; 0 gives about 0.1 s.
    """
    # With jitter, so that clients that were turned away together do not come back together.
    pause: float = min(FIRST_PAUSE * 2**failures, LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1.5)


def parse_retry_after(header: str) -> float:
    """Returns the seconds in a header Retry-After: a number or a date (RFC 9110, 10.2.3); 0 for neither."""
    if header.isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    now = datetime.now(UTC) if until.tzinfo else datetime.now(UTC).replace(tzinfo=None)
    return max((until - now).total_seconds(), 0.0)
