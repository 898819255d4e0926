"""A small HTTP server for tests, which answers with the result of a function and records its requests."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """One request.

    Attributes:
        method: GET or POST.
        path: The path with the query.
        headers: The headers by name in lower case.
        body: The body; empty for a GET.
        client: The port of the client, which is the same for all requests of a connection.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: int


@dataclass
class Answer:
    """An answer.

    Attributes:
        status: The HTTP status; 0 resets the connection instead.
        body: The body.
        headers: The headers apart from Content-Length.
        length: The declared length. Defaults to the length of the body.
        hold: An event to wait for before the body is answer.
        parts: Raw bytes to send one by one instead of all others, status and headers included, until the client leaves.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hold: threading.Event | None = None
    parts: Iterable[bytes] | None = None


@dataclass
class Web:
    """A running server: its port and the requests that it received."""

    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL of the root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web(answer: Callable[[Request], Answer]) -> Iterator[Web]:
    """Serves on a free port of 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A connection that a failed test leaves open must not prevent the end of the server.
        timeout = 30

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body, self.client_address[1])
            running.requests.append(request)
            self._send(answer(request))

        def do_POST(self) -> None:
            self.do_GET()

        def _send(self, answer: Answer) -> None:
            if not answer.status:
                # With a linger time of 0 the system sends a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if answer.parts is not None:
                self.close_connection = True
                for part in answer.parts:
                    self.wfile.write(part)
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if answer.hold is not None:
                answer.hold.wait(30)
            self.wfile.write(answer.body)
            self.close_connection = answer.length is not None

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_: object) -> None:
            """Ignores clients that left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        running = Web(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
