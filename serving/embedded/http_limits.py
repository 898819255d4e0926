"""HTTP connections that a slow client cannot hold: what uvicorn waits for without end is bounded in time and bytes.

Uvicorn bounds the pause between two requests alone, and any byte ends that pause. A client that sends a header a minute
(https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)), a byte of a body now and then, or does not read what it gets
would keep its connection, and what is held for it, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.embedded.json_text import dumps

MOST_HEAD_BYTES: Final = 2**16
"""Of a request line with its headers, of which the parser takes any number."""


def bounded(seconds: float) -> type[HttpToolsProtocol]:
    """Returns the protocol for `uvicorn.Config(http=...)`.

    Args:
        seconds: How long a request may take to arrive, and its answer to be taken.
    """
    return type("BoundedProtocol", (BoundedProtocol,), {"seconds": seconds})


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose client keeps the server waiting too long.

    Attributes:
        seconds: How long that is.
    """

    seconds: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._reading = _Timer(self.loop, self.seconds, self._refuse_late)
        self._writing = _Timer(self.loop, self.seconds, lambda: self.transport.abort())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request."""
        super().connection_made(transport)
        self._reading.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing any more."""
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what came, unless it is a head without end."""
        if self._in_head and not self._reading.runs:
            self._reading.start()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers of at most {MOST_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header; those that follow a body in chunks are of no use here."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begins to answer."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What comes next is another request."""
        self._in_head, self._head_bytes = True, 0
        self._reading.stop()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        super().pause_writing()
        self._writing.start()

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        self._writing.stop()

    def _refuse_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"all of the request within {self.seconds:g} seconds")

    def _refuse(self, status: HTTPStatus, expected: str) -> None:
        """Closes the connection; says why where a request has begun and no answer has."""
        if self.transport.is_closing():
            return
        if self._may_answer():
            self.transport.write(_answer(status, f"{status.phrase}. Expected: {expected}."))
        self.transport.close()

    def _may_answer(self) -> bool:
        if self._in_head:
            return self.scope is not None and (self.cycle is None or self.cycle.response_complete)
        return not self.cycle.response_started and not self.pipeline


class _Timer:
    """Does something when it was not stopped in time; may be started again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], object]) -> None:
        self._loop, self._seconds, self._action = loop, seconds, action
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self) -> None:
        self.stop()
        self._handle = self._loop.call_later(self._seconds, self._action)

    def stop(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None


def _answer(status: HTTPStatus, message: str) -> bytes:
    body = dumps({"error": message}, False)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
