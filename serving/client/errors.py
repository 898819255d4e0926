"""What can go wrong between the client and a model server, and which errors are worth a retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.contract.errors import UserError
from pipeline.contract.retries import call_with_retries

Answer = TypeVar("Answer")


class ClientError(UserError):
    """A request failed; the base of the others, and what fits none of them."""


class InvalidRequest(ClientError):  # noqa: N818
    """The server rejects the request; a retry cannot succeed."""


class NotFound(ClientError):  # noqa: N818
    """The server has no such model, version or path."""


class DeadlineExceeded(ClientError):  # noqa: N818
    """The deadline passed before an answer came."""


class TransientError(ClientError):
    """The base of errors that a retry may resolve.

    Attributes:
        retry_after: The seconds that the server asks to wait; 0 when it does not say.
    """

    def __init__(self, headline: str, retry_after: float = 0.0, **details: str) -> None:
        super().__init__(headline, **details)
        self.retry_after = retry_after


class Overloaded(TransientError):  # noqa: N818
    """The server has too many requests, or no version is ready."""


class Unreachable(TransientError):  # noqa: N818
    """There is no connection, or it broke before the answer."""


def call_until_answered(attempt: Callable[[float], Answer], retries: int, deadline: float) -> Answer:
    """Calls the server, and retries with back-off on `Overloaded` and `Unreachable` alone.

    Args:
        attempt: The call; its argument is the seconds that are left.
        retries: The most calls after the first.
        deadline: By `time.monotonic`, for all calls and pauses together.

    Raises:
        ClientError: The last error; also when a pause would pass the deadline.
    """

    def call() -> Answer:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                "The server did not answer in time.", expected="an answer before the deadline", received="none"
            )
        return attempt(left)

    return call_with_retries(
        call,
        is_transient=lambda error: isinstance(error, TransientError),
        retries=retries,
        deadline=deadline,
        retry_after=lambda error: error.retry_after if isinstance(error, TransientError) else 0.0,
    )
