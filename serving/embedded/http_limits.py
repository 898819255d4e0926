"""Limits HTTP connections in time and header bytes, and closes them so that clients can read their responses.

Uvicorn only limits the pause between two requests, and any byte ends that pause. A client that sends a header a minute
(https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)), a byte of a body now and then, or does not read its response
would keep its connection, with the memory for it, for ever.

A socket that is closed while data of the client is unread resets the connection, and the client loses the response.
Therefore the server first ends its own direction, and discards what still arrives (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.embedded.json_text import dumps

MAX_HEAD_BYTES: Final = 2**16
"""The most bytes of a request line with its headers, which the parser does not limit."""
LINGER_SECONDS: Final = 2.0
"""How long a closed connection stays readable after the last byte of its client."""
IDLE_SECONDS: Final = 0.5
"""The same while the server stops; and how long an idle connection then still accepts a request."""


def bounded_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Returns the protocol for `uvicorn.Config(http=...)`.

    Args:
        seconds: The time-out for a request to arrive, and for the client to read its response.
    """
    return type("BoundedProtocol", (BoundedProtocol,), {"seconds": seconds})


class BoundedProtocol(HttpToolsProtocol):
    """An HTTP protocol with time-outs and an orderly end; a request ends when its client disconnects.

    Attributes:
        seconds: The time-out.
    """

    seconds: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._reading = _Timer(self.loop, self._refuse_late)
        self._writing = _Timer(self.loop, lambda: self.transport.abort())
        self._lingering = _Timer(self.loop, self._end)
        self._stopping = _Timer(self.loop, self._close_if_idle)
        self._linger_until = 0.0
        self._request: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time-out for the first request."""
        super().connection_made(cast(asyncio.Transport, _Transport(transport, self._linger)))
        self._reading.start(self.seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all time-outs, and the requests whose client has gone."""
        for timer in (self._reading, self._writing, self._lingering, self._stopping):
            timer.stop()
        super().connection_lost(exc)
        self._cancel_request()

    def data_received(self, data: bytes) -> None:
        """Parses received bytes; refuses a request whose headers exceed the limit."""
        if self.transport.is_closing():
            if self.loop.time() < self._linger_until:
                self._lingering.start(self._linger_seconds())
            return
        if self._in_head and not self._reading.runs:
            self._reading.start(self.seconds)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers of at most {MAX_HEAD_BYTES} bytes")

    def shutdown(self) -> None:
        """Closes the connection after its response; an idle one soon, because a request may be on its way."""
        self._stopping.start(IDLE_SECONDS)
        if self.cycle:
            self.cycle.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stores a header; trailers after a chunked body are ignored."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts the response."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()
        if self._stopping.runs:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Passes on a part of the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stops the time-out; the next bytes belong to another request."""
        self._in_head, self._head_bytes = True, 0
        self._reading.stop()
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # to notice that the client disconnects

    def pause_writing(self) -> None:
        """Starts the time-out for the response: the client does not read it."""
        super().pause_writing()
        self._writing.start(self.seconds)

    def resume_writing(self) -> None:
        """Stops the time-out for the response: the client reads again."""
        super().resume_writing()
        self._writing.stop()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def run(scope: Any, receive: Any, send: Any) -> None:
            self._request = task = asyncio.current_task()
            try:
                await app(scope, receive, _join_head(send, cast(_Transport, cycle.transport)))
            except asyncio.CancelledError:
                if not cycle.disconnected:
                    raise
            finally:
                if self._request is task:
                    self._request = None

        super()._start_asgi_task(cycle, run)

    def _cancel_request(self) -> None:
        if self._request:
            self._request.cancel()

    def _close_if_idle(self) -> None:
        """Closes a connection without a request, and otherwise looks again later."""
        if self._head_bytes or not (self.cycle is None or self.cycle.response_complete):
            self._stopping.start(IDLE_SECONDS)
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Ends our direction of the connection and begins to discard what the client still sends."""
        self._reading.stop()
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self._cancel_request()
        self._linger_until = self.loop.time() + self.seconds
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError):  # the connection is broken already
            self.transport.write_eof()
        self._lingering.start(self._linger_seconds())

    def _linger_seconds(self) -> float:
        return IDLE_SECONDS if self._stopping.runs else LINGER_SECONDS

    def _end(self) -> None:
        """Closes the connection, once the response is sent or the client has had the time for it."""
        if self.transport.get_write_buffer_size() and self.loop.time() < self._linger_until:
            self._lingering.start(self._linger_seconds())
        else:
            self.transport.abort()

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


def _join_head(send: Any, transport: _Transport) -> Any:
    """Returns an ASGI `send` that writes the head of a response together with the beginning of its body.

    Uvicorn writes them one after the other: that is a second packet, for which the client wakes up twice.
    """
    head: MutableMapping[str, Any] | None = None

    async def joined(message: MutableMapping[str, Any]) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
            return
        if head:
            transport.holds = True
            try:
                await send(head)
            finally:
                transport.holds, head = False, None
        await send(message)
        transport.flush()

    return joined


class _Transport:
    """A transport that can hold written bytes back, and whose `close` lets the connection linger.

    Args:
        transport: The real transport.
        linger: Called in place of the real `close`, once.

    Attributes:
        holds: Whether written bytes wait for the next `write`, `flush` or `close`.
    """

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], None]) -> None:
        self._transport, self._linger = transport, linger
        self._lingers = self.holds = False
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._held += data
        if not self.holds:
            self.flush()

    def flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        if not self.is_closing():
            self.flush()
            self._lingers = True
            self._linger()


class _Timer:
    """Calls an action after a time-out unless it is stopped; may be restarted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, action: Callable[[], object]) -> None:
        self._loop, self._action = loop, action
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, self._action)

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
