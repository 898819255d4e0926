"""What can go wrong between the client and a server, as exceptions, and when it is worth another try."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

Answer = TypeVar("Answer")


class ClientError(Exception):
    """A request without an answer; the message says why. The base of the others, and what fits none of them."""


class InvalidRequest(ClientError):  # noqa: N818
    """The server understood the request and refuses it: it can never succeed as it is."""


class NotFound(ClientError):  # noqa: N818
    """The server has no such model, version or path."""


class DeadlineExceeded(ClientError):  # noqa: N818
    """There was no answer in time."""


class Again(ClientError):  # noqa: N818
    """The base of what may go better a moment later.

    Attributes:
        after_seconds: How long the server asks to be left alone; 0 when it does not say.
    """

    def __init__(self, message: str, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Overloaded(Again):
    """The server has more to do than it can, or no version is ready."""


class Unreachable(Again):
    """No connection, or one that broke before the answer."""


def persist(attempt: Callable[[float], Answer], retries: int, deadline: float) -> Answer:
    """Calls until there is an answer; again, after growing pauses, only on `Overloaded` and `Unreachable`.

    Args:
        attempt: Is given the seconds that are left.
        retries: How many more calls there may be after the first.
        deadline: By `time.monotonic`, when all must be over.

    Raises:
        ClientError: The last one; also when a pause would pass the deadline.
    """
    for number in range(retries + 1):
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("There is no answer in time. Expected: one before the deadline. Received: none")
        try:
            return attempt(left)
        except Again as error:
            pause = max(pause_after(number), error.after_seconds)
            if number == retries or pause >= deadline - time.monotonic():
                raise
        time.sleep(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


def pause_after(number: int) -> float:
    """Returns the seconds to wait after an attempt, the first of which is 0: twice as long each time, up to a bound."""
    # With jitter, so that clients that were turned away together do not come back together.
    return min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) * random.uniform(0.5, 1.5)


def seconds_asked(retry_after: str) -> float:
    """Returns what a header Retry-After asks for: a number of seconds or a date (RFC 9110, 10.2.3); 0 for neither."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    now = datetime.now(UTC) if until.tzinfo else datetime.now(UTC).replace(tzinfo=None)
    return max((until - now).total_seconds(), 0.0)
