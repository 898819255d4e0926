"""A TCP proxy before PostgreSQL, whose connections break or fall silent at a chosen moment."""

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
    """What happens to one connection.

    Attributes:
        when: Words that the client sends. Defaults to whatever it sends first.
        nth: At which time it sends them.
        passed: How many bytes of the server still pass, once the server has been sent the words.
        kind: Whether the connection is cut then, or stays open and nothing passes any more.
    """

    when: bytes = b""
    nth: int = 1
    passed: int = 0
    kind: Literal["cut", "stall"] = "cut"


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        dsn: The database, by way of the proxy.
        faults: Those of the connections to come, in their order; later connections have none.
        connections: How many there were.
    """

    dsn: str
    faults: list[Fault]
    connections: int = 0


@contextmanager
def proxy(dsn: str, *faults: Fault) -> Iterator[Proxy]:
    """Yields a proxy before the server of a DSN; in the end all of its connections are cut."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Proxy(make_conninfo(dsn, host="127.0.0.1", port=listener.getsockname()[1]), [*faults])
        opened: list[_Pair] = []
        accepting = threading.Thread(target=_accept, args=(listener, dsn, made, opened))
        accepting.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for pair in opened:
                pair.end()


def _accept(listener: socket.socket, dsn: str, made: Proxy, opened: list[_Pair]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            made.connections += 1
            opened.append(_Pair(client, _server(dsn), made.faults.pop(0) if made.faults else None))


def _server(dsn: str) -> socket.socket:
    given = parse_dsn(dsn)
    host, port = given["host"], given.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(f"{host}/.s.PGSQL.{port}")
    return connected


@dataclass
class _Pair:
    """A connection of a client, and the one to the server that belongs to it."""

    client: socket.socket
    server: socket.socket
    fault: Fault | None
    left: int | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.threads = [threading.Thread(target=self._forth), threading.Thread(target=self._back)]
        for thread in self.threads:
            thread.start()

    def _forth(self) -> None:
        seen = b""
        with suppress(OSError):
            while data := self.client.recv(65536):
                seen += data
                if self.fault and self.left is None and seen.count(self.fault.when) >= self.fault.nth:
                    self.left = self.fault.passed
                self.server.sendall(data)
                self._strike()
        self._cut()

    def _back(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self.left is not None:
                    data, self.left = data[: self.left], max(0, self.left - len(data))
                self.client.sendall(data)
                if self._strike():
                    return
        self._cut()

    def _strike(self) -> bool:
        """Whether nothing passes any more; cuts the connection if it is to be cut."""
        struck = self.left == 0
        if self.fault and struck and self.fault.kind == "cut":
            self._cut()
        return struck

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
