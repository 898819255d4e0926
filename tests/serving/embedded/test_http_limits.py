"""Slow clients over real sockets: the server closes their connections and answers other clients meanwhile."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.engines.engine import Embedded, Flags, free_port
from serving.engines.server_process import ServerProcess
from tests.serving.embedded.conftest import READY_SECONDS
from tests.serving.embedded.test_server import PREDICT, ROW, send
from tests.waiting import wait_until

HEAD = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n"


@pytest.fixture(scope="module")
def short_timeout_server(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Iterator[ServerProcess]:
    """A server with a time-out of three seconds."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    flags = Flags(base, "fashion", free_port(), free_port(), extra=("--rest_api_timeout_in_ms=3000",))
    with Embedded().start(flags, log) as running:
        running.wait_until_ready(READY_SECONDS)
        yield running


def connect(server: ServerProcess) -> socket.socket:
    """Returns a connection with a small receive buffer."""
    url = urlsplit(server.rest_url)
    connection = socket.socket()
    connection.settimeout(60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((url.hostname or "", url.port or 0))
    return connection


def read_until_closed(connection: socket.socket, drip: bytes) -> str:
    """Sends a few bytes whenever nothing arrives for a while; returns all data until the server closes."""
    received = b""
    while True:
        if not select.select([connection], [], [], 0.05)[0]:
            with suppress(ConnectionError):
                connection.sendall(drip)
            continue
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return received.decode()
        if not part:
            return received.decode()
        received += part


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        ("GET /v1/models/fashion HTTP/1.1\r\nHost: x\r\n", "X-More: 1\r\n"),
        (HEAD.format(PREDICT), "["),
        (HEAD.format("/ui/fitted"), "["),
        (CHUNKED, "X-More: 1\r\n"),
    ],
    ids=["headers", "body", "picture", "trailers"],
)
def test_a_request_that_arrives_too_slowly_is_refused(
    short_timeout_server: ServerProcess, begin: str, drip: str
) -> None:
    """The whole request must arrive before the time-out, no matter how often another byte comes; the error says so."""
    with connect(short_timeout_server) as connection:
        connection.sendall(begin.encode())
        head, _, body = read_until_closed(connection, drip.encode()).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408") and "within 3 seconds" in json.loads(body)["error"]
    assert send(short_timeout_server, "GET", "/v1/models/fashion")[0] == 200


def test_pipelined_requests_are_all_answered(server: ServerProcess) -> None:
    """Chunks, trailers and several requests in one packet are answered without a time-out."""
    chunk = f"{len(ROW):x}\r\n{ROW}\r\n0\r\nX-Trailer: 1\r\n\r\n"
    first = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    last = "GET /v1/models/fashion HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server) as connection:
        connection.sendall((first * 2 + last).encode())
        answers = read_until_closed(connection, b"")
    assert answers.count("HTTP/1.1 200 OK") == 3 and answers.count('"predictions"') == 2


def test_a_response_arrives_in_one_piece(server: ServerProcess) -> None:
    """The head and the body of a short response are one packet, so that its client wakes up once; HEAD has no body."""
    ask = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}"
    request = ask.format(path=PREDICT, size=len(ROW), body=ROW).encode()
    with connect(server) as connection:
        for _ in range(20):
            connection.sendall(request)
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and json.loads(body)["predictions"]
        connection.sendall(b"HEAD /v1/models/fashion HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).endswith(b"\r\n\r\n")
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_connection_without_a_request_is_closed(short_timeout_server: ServerProcess) -> None:
    """A client that sends nothing gets no error response: browsers open connections in advance."""
    with connect(short_timeout_server) as connection:
        assert connection.recv(100) == b""


def test_an_answered_request_may_not_go_on(short_timeout_server: ServerProcess) -> None:
    """A body that goes on after its response does not keep the connection open."""
    with connect(short_timeout_server) as connection:
        connection.sendall(HEAD.format("/").replace("POST", "GET").encode())
        assert read_until_closed(connection, b"x").startswith("HTTP/1.1 200")


def test_endless_headers_are_refused(server: ServerProcess) -> None:
    """Headers are limited in bytes as well as in time."""
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        assert read_until_closed(connection, b"x" * 4096).startswith("HTTP/1.1 431")


def test_a_client_that_does_not_read_is_disconnected(short_timeout_server: ServerProcess) -> None:
    """The server drops the pending responses with the connection."""
    page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    def disconnected() -> bool:
        try:
            connection.send(page)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    with connect(short_timeout_server) as connection:
        connection.setblocking(False)
        wait_until(disconnected, "the server disconnects")
