"""The errors of the client over gRPC, with a server that fails as scripted."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest

from serving.client import (
    Client,
    ClientError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unreachable,
)


class Scripted(grpc.GenericRpcHandler):
    """The only handler of a gRPC server.

    Attributes:
        failures: The errors of the next calls: code, message and trailing metadata; later calls succeed.
        calls: The number of calls.
    """

    def __init__(self) -> None:
        self.failures: list[tuple[grpc.StatusCode, str, dict[str, str]]] = []
        self.calls = 0

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        if self.failures:
            code, message, metadata = self.failures.pop(0)
            context.set_trailing_metadata(tuple(metadata.items()))
            context.abort(code, message)
        return b""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Scripted, int]]:
    """A server: its handler and its port."""
    handler = Scripted()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(None).wait()


@contextmanager
def connected(served: tuple[Scripted, int], retries: int) -> Iterator[tuple[Client, Scripted]]:
    """A client with an open connection, so that the next call does not need one, and the handler without calls."""
    handler, port = served
    with Client(f"grpc://127.0.0.1:{port}", retries=retries, timeout_seconds=60) as client:
        assert client.status() == []
        handler.calls = 0
        yield client, handler


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UNAVAILABLE", "The queue is full", Overloaded),
        ("UNAVAILABLE", "Failed to connect to all addresses", Unreachable),
        ("UNAVAILABLE", "Connection reset by peer", Unreachable),
        ("RESOURCE_EXHAUSTED", "waiting in the queue", Overloaded),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (5 vs. 4)", InvalidRequest),
        ("INVALID_ARGUMENT", "wrong", InvalidRequest),
        ("FAILED_PRECONDITION", "wrong", InvalidRequest),
        ("OUT_OF_RANGE", "wrong", InvalidRequest),
        ("NOT_FOUND", "none", NotFound),
        ("DEADLINE_EXCEEDED", "late", DeadlineExceeded),
        ("INTERNAL", "bug", ClientError),
    ],
)
def test_grpc_is_retried_after_overload_and_broken_connections(
    served: tuple[Scripted, int], code: str, message: str, kind: type[ClientError]
) -> None:
    """Over gRPC, too, only transient errors are retried, and the kind of the error is the same as over REST."""
    error = (grpc.StatusCode[code], message, {})
    with connected(served, retries=1) as (client, handler):
        handler.failures = [error]
        if kind in (Overloaded, Unreachable):
            assert client.status() == [] and handler.calls == 2
        else:
            with pytest.raises(ClientError, match=re.escape(message)):
                client.status()
            assert handler.calls == 1
    with connected(served, retries=0) as (client, handler):
        handler.failures = [error]
        with pytest.raises(ClientError, match=re.escape(message)) as caught:
            client.status()
        assert type(caught.value) is kind and handler.calls == 1


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ({"grpc-retry-pushback-ms": "1500"}, 1.5),
        ({"retry-after": "7"}, 7.0),
        ({"grpc-retry-pushback-ms": "1500", "retry-after": "7"}, 1.5),
        ({"grpc-retry-pushback-ms": "-1", "retry-after": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_pause_that_a_server_asks_for(
    served: tuple[Scripted, int], metadata: dict[str, str], seconds: float
) -> None:
    """A key of gRPC counts in milliseconds, and goes before that of HTTP in seconds."""
    with connected(served, retries=0) as (client, handler):
        handler.failures = [(grpc.StatusCode.UNAVAILABLE, "full", metadata)]
        with pytest.raises(Overloaded) as caught:
            client.status()
    assert caught.value.retry_after == seconds


def test_a_server_that_connects_slowly_is_reached(served: tuple[Scripted, int]) -> None:
    """A far or busy server needs more than a tenth of a second for the first bytes, and the client waits for them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def forward() -> None:
            near, _ = listener.accept()
            # Either side may end while the other still sends.
            with suppress(OSError), near, socket.create_connection(("127.0.0.1", served[1])) as far:
                time.sleep(0.5)
                while True:
                    for ready in select.select([near, far], [], [])[0]:
                        content = ready.recv(65536)
                        if not content:
                            return
                        (far if ready is near else near).sendall(content)

        forwarding = threading.Thread(target=forward, daemon=True)
        forwarding.start()
        with Client(f"grpc://127.0.0.1:{listener.getsockname()[1]}", retries=0, timeout_seconds=60) as client:
            assert client.status() == []
        forwarding.join(60)
