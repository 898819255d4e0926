"""A TCP proxy in front of PostgreSQL whose connections break or stall at a chosen moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from psycopg.conninfo import make_conninfo

from sql.connection import parse_dsn


@dataclass
class Fault:
    """The fault of one connection.

    Attributes:
        when: The client's words that trigger it. Defaults to whatever it sends first.
        nth: At which occurrence of the words.
        passed: How many bytes of the server still pass after the words.
        kind: Whether the connection is cut then, or stays open and forwards nothing.
    """

    when: bytes = b""
    nth: int = 1
    passed: int = 0
    kind: Literal["cut", "stall"] = "cut"


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        dsn: The database through the proxy.
        faults: The faults of the next connections, in order; later connections have none.
        connections: The number of connections so far.
    """

    dsn: str
    faults: list[Fault]
    connections: int = 0


@contextmanager
def proxy(dsn: str, *faults: Fault) -> Iterator[Proxy]:
    """Yields a proxy in front of the server of a DSN; cuts all of its connections in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Proxy(make_conninfo(dsn, host="127.0.0.1", port=listener.getsockname()[1]), [*faults])
        opened: list[_Pair] = []
        accepting = threading.Thread(target=_accept, args=(listener, dsn, running, opened))
        accepting.start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for pair in opened:
                pair.end()


def _accept(listener: socket.socket, dsn: str, running: Proxy, opened: list[_Pair]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            running.connections += 1
            opened.append(_Pair(client, _server(dsn), running.faults.pop(0) if running.faults else None))


def _server(dsn: str) -> socket.socket:
    parameters = parse_dsn(dsn)
    host, port = parameters["host"], parameters.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(f"{host}/.s.PGSQL.{port}")
    return connected


@dataclass
class _Pair:
    """A client's connection and the corresponding one to the server."""

    client: socket.socket
    server: socket.socket
    fault: Fault | None
    left: int | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.threads = [threading.Thread(target=self._forward_client), threading.Thread(target=self._forward_server)]
        for thread in self.threads:
            thread.start()

    def _forward_client(self) -> None:
        seen = b""
        with suppress(OSError):
            while data := self.client.recv(65536):
                seen += data
                if self.fault and self.left is None and seen.count(self.fault.when) >= self.fault.nth:
                    self.left = self.fault.passed
                self.server.sendall(data)
                self._apply_fault()
        self._cut()

    def _forward_server(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self.left is not None:
                    data, self.left = data[: self.left], max(0, self.left - len(data))
                self.client.sendall(data)
                if self._apply_fault():
                    return
        self._cut()

    def _apply_fault(self) -> bool:
        """Whether nothing passes any more; cuts the connection where the fault says so."""
        due = self.left == 0
        if self.fault and due and self.fault.kind == "cut":
            self._cut()
        return due

    def _cut(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Closes everything."""
        self._cut()
        for thread in self.threads:
            thread.join()
        self.client.close()
        self.server.close()
