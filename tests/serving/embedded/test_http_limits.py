"""Clients that are slow on purpose, over real sockets: none keeps a connection, and others are answered meanwhile."""

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
from tests.serving.embedded.test_server import PREDICT, ROW, ask, until

HEAD = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Iterator[ServerProcess]:
    """A server whose clients have a second."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    flags = Flags(base, "fashion", free_port(), free_port(), extra=("--rest_api_timeout_in_ms=1000",))
    with Embedded().start(flags, log) as running:
        running.wait_until_ready(READY_SECONDS)
        yield running


def connect(server: ServerProcess) -> socket.socket:
    """Returns a connection that takes little at once."""
    url = urlsplit(server.rest_url)
    connection = socket.socket()
    connection.settimeout(30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((url.hostname or "", url.port or 0))
    return connection


def last_words(connection: socket.socket, drop: bytes) -> str:
    """Sends a drop whenever nothing comes for a while; returns all that came until the server closed."""
    received = b""
    while True:
        if not select.select([connection], [], [], 0.05)[0]:
            with suppress(ConnectionError):
                connection.sendall(drop)
            continue
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return received.decode()
        if not part:
            return received.decode()
        received += part


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        ("GET /v1/models/fashion HTTP/1.1\r\nHost: x\r\n", "X-More: 1\r\n"),
        (HEAD.format(PREDICT), "["),
        (HEAD.format("/ui/fitted"), "["),
        (CHUNKED, "X-More: 1\r\n"),
    ],
    ids=["headers", "body", "picture", "trailers"],
)
def test_a_request_that_comes_in_drops_is_refused(impatient: ServerProcess, begin: str, drop: str) -> None:
    """However often another byte comes, the whole request must be there in time; the refusal says so."""
    with connect(impatient) as connection:
        connection.sendall(begin.encode())
        head, _, body = last_words(connection, drop.encode()).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408") and "within 1 seconds" in json.loads(body)["error"]
    assert ask(impatient, "GET", "/v1/models/fashion")[0] == 200


def test_requests_in_one_piece_are_all_answered(server: ServerProcess) -> None:
    """Chunks, trailers and several requests at once are no reason to wait for more, nor to refuse."""
    chunk = f"{len(ROW):x}\r\n{ROW}\r\n0\r\nX-Trailer: 1\r\n\r\n"
    first = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    last = "GET /v1/models/fashion HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server) as connection:
        connection.sendall((first * 2 + last).encode())
        answers = last_words(connection, b"")
    assert answers.count("HTTP/1.1 200 OK") == 3 and answers.count('"predictions"') == 2


def test_a_connection_without_a_request_is_closed(impatient: ServerProcess) -> None:
    """Who connects and says nothing is told nothing: a browser may do so in advance."""
    with connect(impatient) as connection:
        assert connection.recv(100) == b""


def test_an_answer_ends_the_wait_for_the_rest(impatient: ServerProcess) -> None:
    """A body that goes on after its answer does not keep the connection."""
    with connect(impatient) as connection:
        connection.sendall(HEAD.format("/").replace("POST", "GET").encode())
        assert last_words(connection, b"x").startswith("HTTP/1.1 200")


def test_headers_without_end_are_refused(server: ServerProcess) -> None:
    """Headers are bounded in bytes, not in time alone."""
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
        assert last_words(connection, b"x" * 4096).startswith("HTTP/1.1 431")


def test_a_client_that_does_not_read_is_left(impatient: ServerProcess) -> None:
    """What is waiting for such a client is given up with its connection."""
    page = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    def gone() -> bool:
        try:
            connection.send(page)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return False

    with connect(impatient) as connection:
        connection.setblocking(False)
        until(gone)
