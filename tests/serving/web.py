"""A small HTTP server of a test's own: it answers as a function says, and remembers what it was asked."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """One request.

    Attributes:
        method: GET or POST.
        path: With the query.
        headers: By name in lower case.
        body: Empty for a GET.
        client: The port that it came from: the same one on a connection that is used again.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: int


@dataclass
class Answer:
    """What is answered.

    Attributes:
        status: The HTTP status; 0 breaks the connection instead.
        body: The bytes sent.
        headers: Beside the length.
        length: The length declared. Defaults to the body's own.
        hold: Waited for before the body is sent.
        parts: Sent one by one instead of all this, the status and headers among them, until the client leaves.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hold: threading.Event | None = None
    parts: Iterable[bytes] | None = None


@dataclass
class Web:
    """A running server: where it is and what it was asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of its root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web(answer: Callable[[Asked], Answer]) -> Iterator[Web]:
    """Serves on a free port of 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A connection that a failed test leaves open would hold up the end of the server for ever.
        timeout = 30

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body, self.client_address[1])
            place.asked.append(asked)
            self._send(answer(asked))

        def do_POST(self) -> None:
            self.do_GET()

        def _send(self, sent: Answer) -> None:
            if not sent.status:
                # With no time to linger the system sends a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if sent.parts is not None:
                self.close_connection = True
                for part in sent.parts:
                    self.wfile.write(part)
                return
            self.send_response(sent.status)
            for name, value in sent.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent.body) if sent.length is None else sent.length))
            self.end_headers()
            if sent.hold is not None:
                sent.hold.wait(30)
            self.wfile.write(sent.body)
            self.close_connection = sent.length is not None

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_: object) -> None:
            """A client that left is no fault of the test."""

    with Server(("127.0.0.1", 0), Handler) as server:
        place = Web(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown()
            thread.join()
