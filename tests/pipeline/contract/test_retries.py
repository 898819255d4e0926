"""Tests of pipeline.contract.retries: which errors are retried, after which pauses, and when the retries end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from pipeline.contract.retries import backoff_seconds, call_with_retries, parse_retry_after


class Busy(Exception):  # noqa: N818
    """A transient error that asks to wait."""

    def __init__(self, retry_after: float = 0.0) -> None:
        super().__init__("busy")
        self.retry_after = retry_after


def failing(*errors: Exception) -> Callable[[], str]:
    """Returns a call that raises these errors once each, then returns."""
    waiting = list(errors)

    def attempt() -> str:
        if waiting:
            raise waiting.pop(0)
        return "done"

    return attempt


def call(attempt: Callable[[], str], retries: int = 3, deadline: float = float("inf")) -> tuple[str, list[float]]:
    """Returns the result of a call with retries, and the pauses, none of which is waited for."""
    pauses: list[float] = []
    result = call_with_retries(
        attempt,
        is_transient=lambda error: isinstance(error, Busy),
        retries=retries,
        deadline=deadline,
        retry_after=lambda error: error.retry_after if isinstance(error, Busy) else 0.0,
        sleep=pauses.append,
    )
    return result, pauses


def test_transient_errors_are_retried_with_growing_pauses() -> None:
    """Each pause is twice as long as the one before, within the jitter."""
    result, pauses = call(failing(Busy(), Busy(), Busy()))
    assert result == "done" and len(pauses) == 3
    for pause, expected in zip(pauses, (0.1, 0.2, 0.4), strict=True):
        assert 0.5 * expected <= pause <= 1.5 * expected


def test_other_errors_are_raised_at_once() -> None:
    """An error that is not transient causes neither a pause nor a retry."""
    attempt = failing(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        call(attempt)
    assert attempt() == "done"


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_last_error_is_raised(retries: int) -> None:
    """After the last retry the error of the last attempt reaches the caller."""
    errors = [Busy() for _ in range(3)]
    with pytest.raises(Busy) as caught:
        call(failing(*errors), retries=retries)
    assert caught.value is errors[retries]


def test_retry_after_lengthens_a_pause() -> None:
    """A server that asks to wait longer than the back-off gets its time."""
    _, pauses = call(failing(Busy(retry_after=7.0), Busy(retry_after=0.001)))
    assert pauses[0] == 7.0 and 0.1 <= pauses[1] <= 0.3, "a shorter time does not shorten the back-off"


def test_a_pause_beyond_the_deadline_is_not_begun() -> None:
    """The error is raised at once if the next attempt would start too late."""
    with pytest.raises(Busy):
        call(failing(Busy(retry_after=7.0)), deadline=time.monotonic() + 5.0)


def test_sleep_can_end_the_retries() -> None:
    """An error from `sleep` reaches the caller, and nothing is retried after it."""

    def stop(_: float) -> None:
        raise InterruptedError

    attempt = failing(Busy())
    with pytest.raises(InterruptedError):
        call_with_retries(attempt, is_transient=lambda _: True, retries=3, sleep=stop)
    assert attempt() == "done"


def test_pauses_have_an_upper_bound() -> None:
    """However many attempts failed, a pause is at most 7.5 seconds."""
    pauses = [backoff_seconds(30) for _ in range(100)]
    assert 2.5 <= min(pauses) < 4.0 and 6.0 < max(pauses) <= 7.5, "clients that failed together must not come together"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float) -> None:
    """Both forms of RFC 9110 are read; anything else and a date in the past mean no pause."""
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_a_date_to_come_means_a_pause_until_then(zone: str) -> None:
    """A date without a zone is read as UTC, wherever the client is."""
    end = datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)
    most = (end - datetime.now(UTC)).total_seconds()
    seconds = parse_retry_after(f"Fri, 31 Dec 2100 23:59:59 {zone}")
    assert (end - datetime.now(UTC)).total_seconds() <= seconds <= most
