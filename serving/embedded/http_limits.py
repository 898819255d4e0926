"""Limits HTTP connections in time and header bytes, so that slow clients cannot occupy the server.

Uvicorn only limits the pause between two requests, and any byte ends that pause. A client that sends a header a minute
(https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)), a byte of a body now and then, or does not read its response
would keep its connection, with the memory for it, for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.embedded.json_text import dumps

MAX_HEAD_BYTES: Final = 2**16
"""The most bytes of a request line with its headers, which the parser does not limit."""


def bounded_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Returns the protocol for `uvicorn.Config(http=...)`.

    Args:
        seconds: The time-out for a request to arrive, and for the client to read its response.
    """
    return type("BoundedProtocol", (BoundedProtocol,), {"seconds": seconds})


class BoundedProtocol(HttpToolsProtocol):
    """An HTTP protocol that closes a connection whose client exceeds the time-out.

    Attributes:
        seconds: The time-out.
    """

    seconds: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._reading = _Timer(self.loop, self.seconds, self._refuse_late)
        self._writing = _Timer(self.loop, self.seconds, lambda: self.transport.abort())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time-out for the first request."""
        super().connection_made(transport)
        self._reading.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops both time-outs."""
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses received bytes; refuses a request whose headers exceed the limit."""
        if self._in_head and not self._reading.runs:
            self._reading.start()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers of at most {MAX_HEAD_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stores a header; trailers after a chunked body are ignored."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts the response."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Passes on a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stops the time-out; the next bytes belong to another request."""
        self._in_head, self._head_bytes = True, 0
        self._reading.stop()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the time-out for the response: the client does not read it."""
        super().pause_writing()
        self._writing.start()

    def resume_writing(self) -> None:
        """Stops the time-out for the response: the client reads again."""
        super().resume_writing()
        self._writing.stop()

    def _refuse_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"all of the request within {self.seconds:g} seconds")

    def _refuse(self, status: HTTPStatus, expected: str) -> None:
        """Closes the connection, with an error response if a request has begun and no response has."""
        if self.transport.is_closing():
            return
        if self._can_respond():
            self.transport.write(_error_response(status, f"{status.phrase}. Expected: {expected}."))
        self.transport.close()

    def _can_respond(self) -> bool:
        if self._in_head:
            return self.scope is not None and (self.cycle is None or self.cycle.response_complete)
        return not self.cycle.response_started and not self.pipeline


class _Timer:
    """Calls an action after a time-out unless it is stopped; may be restarted."""

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


def _error_response(status: HTTPStatus, message: str) -> bytes:
    body = dumps({"error": message}, False)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
