"""Tests of serving.client: which errors are retried, and what the others say."""

from __future__ import annotations

import threading

import pytest

from serving.client import (
    Client,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
)
from tests.serving.client.test_client import PIXELS, PNG, first, of_images, refused
from tests.serving.web import Answer, web
from tests.waiting import wait_until


@pytest.mark.parametrize("answer", [refused(503), refused(429), Answer(0)])
def test_overload_and_broken_connections_are_retried(answer: Answer) -> None:
    """The same request is sent again after an overload and after a reset."""
    with web(first(answer, answer)) as server, Client(server.url) as client:
        assert len(client.predict(PNG)) == 1
        assert len(of_images(server)) == 3
        assert len({request.body for request in of_images(server)}) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(404), NotFound),
        (refused(413), InvalidRequest),
        (refused(500), ClientError),
        (refused(504), DeadlineExceeded),
        (Answer(body=b"<html>"), ClientError),
        (Answer(body=b'{"other": 1}'), ClientError),
    ],
)
def test_other_errors_are_not_retried(answer: Answer, kind: type[ClientError]) -> None:
    """Permanent errors cause one request, and their type says why."""
    with web(lambda _: answer) as server, Client(server.url) as client:
        with pytest.raises(kind):
            client.call("serving_default", {"image": PIXELS[:1]})
        assert len(server.requests) == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_end(retries: int) -> None:
    """After the last retry the server's error is raised; no retries mean one request."""
    with web(lambda _: refused(503, "The queue is full")) as server, Client(server.url, retries=retries) as client:
        with pytest.raises(Overloaded, match="The queue is full"):
            client.predict(PNG)
        assert len(server.requests) == retries + 1


@pytest.mark.parametrize("wait", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_pause_beyond_the_deadline_is_not_begun(wait: str) -> None:
    """If Retry-After, in seconds or as a date, passes the deadline, the error is raised at once."""
    with web(lambda _: refused(503, **{"Retry-After": wait})) as server, Client(server.url) as client:
        with pytest.raises(Overloaded) as caught:
            client.predict(PNG)
        assert caught.value.retry_after >= 3599
        assert len(server.requests) == 1


def test_a_time_out_is_not_retried() -> None:
    """A server that does not answer in time gets one request."""
    hold = threading.Event()
    with web(lambda _: Answer(body=b"{}", hold=hold)) as server, Client(server.url, timeout_seconds=1.0) as client:
        try:
            with pytest.raises(DeadlineExceeded):
                client.predict(PNG)
            wait_until(lambda: server.requests, "the server has seen a request")
            assert len(server.requests) == 1
        finally:
            hold.set()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (refused(400, "wrong"), InvalidRequest, "wrong"),
        (refused(499, "gone"), InvalidRequest, "gone"),
        (Answer(418, b"<i>teapot</i>"), InvalidRequest, "<i>teapot</i>"),
        (refused(404, "none"), NotFound, "{url} has no such model.\nReceived: none"),
        (refused(504, "late"), DeadlineExceeded, "{url} did not answer in time.\nReceived: late"),
        (refused(500, "bug"), ClientError, "{url} failed with status 500.\nReceived: bug"),
        (Answer(503), Overloaded, "{url} is overloaded.\nReceived: Service Unavailable"),
        (Answer(body=b"[1]"), ClientError, "{url} does not answer in JSON.\nExpected: JSON\nReceived: '[1]'"),
        (Answer(body=b'{"a": 1}'), ClientError, "The answer has no outputs.\nExpected: predictions\nReceived: a"),
    ],
)
def test_the_error_says_what_the_server_says(answer: Answer, kind: type[ClientError], message: str) -> None:
    """With the server's URL, and the text of an answer that is not in TensorFlow Serving's format."""
    with web(lambda _: answer) as server, Client(server.url, retries=0) as client:
        with pytest.raises(ClientError) as caught:
            client.call("serving_default", {"image": PIXELS[:1]})
        assert (type(caught.value), str(caught.value)) == (kind, message.format(url=server.url))
