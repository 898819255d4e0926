"""SIGTERM under load, and closed connections: every client learns what happened, and the server ends in time."""

from __future__ import annotations

import base64
import http.client
import io
import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from PIL import Image
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.client.errors import InvalidRequest
from serving.client.rest_transport import RestTransport
from serving.embedded.batching import STOPPING
from serving.engines.engine import BATCHING
from serving.engines.server_process import ServerProcess
from serving.versions import push
from tests.serving.embedded.conftest import Start
from tests.serving.embedded.fuzzing import resident_mebibytes
from tests.serving.embedded.test_server import PREDICT, ROW, send
from tests.waiting import wait_until

CLIENTS = 6
LIMIT = 2**20


@pytest.fixture
def served(small: Path, tmp_path: Path) -> Path:
    """A base directory with one version."""
    push(small, tmp_path / "fashion")
    return tmp_path / "fashion"


def large_images(count: int) -> bytes:
    """A request for images of 16 million pixels and 0.3 MB each: seconds of work in a few bytes."""
    shade = np.tile(np.linspace(0, 255, 4000, dtype=np.uint8), (4000, 1))
    file = io.BytesIO()
    Image.fromarray(np.stack([shade, shade.T, shade], -1)).save(file, "JPEG", quality=50)
    image = {"b64": base64.b64encode(file.getvalue()).decode()}
    return json.dumps({"signature_name": "serving_bytes", "instances": [image] * count}).encode()


def connect(server: ServerProcess) -> socket.socket:
    """Returns a connection to the REST port."""
    url = urlsplit(server.rest_url)
    return socket.create_connection((url.hostname or "", url.port or 0), timeout=120)


def send_head(connection: socket.socket, length: int) -> None:
    """Sends the headers of a predict request."""
    connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())


def together(action: Callable[[], None], count: int) -> None:
    """Calls an action in several threads, and waits for them."""
    threads = [threading.Thread(target=action) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def leave_behind(server: ServerProcess, body: bytes) -> None:
    """Sends requests from several clients, which disconnect without waiting for an answer."""

    def client() -> None:
        with connect(server) as connection:
            send_head(connection, len(body))
            connection.sendall(body)

    together(client, CLIENTS)


def test_work_of_clients_that_have_gone_is_dropped(start: Start, served: Path) -> None:
    """After 180 large images whose clients have gone, others are answered, and the memory is returned."""
    server = start(served, batching=BATCHING)
    before = resident_mebibytes(server.process.pid)
    body = large_images(30)
    leave_behind(server, body)
    assert send(server, "POST", PREDICT, ROW)[0] == 200
    # One image needs 0.4 GB for a moment; all 180 would be 70.
    wait_until(lambda: resident_mebibytes(server.process.pid) < before + 500, "the memory is returned")
    # Nothing is left of the work: one more image is answered in the time of a few, not of 180.
    assert send(server, "POST", PREDICT, large_images(1))[0] == 200


def test_the_server_stops_in_time_whatever_is_queued(start: Start, served: Path) -> None:
    """With minutes of work in the queue, SIGTERM ends the server before `docker stop` would kill it."""
    server = start(served, batching=BATCHING)
    body, answers, sent = large_images(30), Counter[int](), threading.Barrier(CLIENTS + 1)

    def client() -> None:
        with connect(server) as connection:
            send_head(connection, len(body))
            connection.sendall(body)
            sent.wait(60)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answers[answer.status] += 1

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    sent.wait(60)
    assert server.stop() == 0
    for thread in clients:
        thread.join()
    assert sum(answers.values()) == CLIENTS and answers[503] and set(answers) <= {200, 503}


def test_calls_after_sigterm_end_as_unavailable(start: Start, served: Path) -> None:
    """UNAVAILABLE is what gRPC clients retry on another server, also while this one still answers a running request."""
    server = start(served)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "fashion"
    codes: Counter[grpc.StatusCode] = Counter()
    reasons: Counter[str] = Counter()

    def client() -> None:
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            while server.process.poll() is None:
                try:
                    stub.GetModelStatus(request, timeout=60)
                    codes[grpc.StatusCode.OK] += 1
                except grpc.RpcError as error:
                    codes[error.code()] += 1
                    reasons[error.details()] += 1

    clients = [threading.Thread(target=client) for _ in range(4)]
    with connect(server) as running:
        send_head(running, len(ROW))
        for thread in clients:
            thread.start()
        wait_until(lambda: codes[grpc.StatusCode.OK] > 100, "calls")
        server.process.terminate()
        wait_until(lambda: reasons[STOPPING] > 10, "refused calls")
        answered = codes[grpc.StatusCode.OK]
        running.sendall(ROW.encode())
        assert running.recv(100).startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
    for thread in clients:
        thread.join()
    assert server.process.wait(60) == 0
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    # Each client may count one answer late that it had before.
    assert codes[grpc.StatusCode.OK] <= answered + len(clients)


def test_connections_are_not_reset_when_the_server_stops(start: Start, served: Path) -> None:
    """A request on an open connection is answered, with `Connection: close`; an idle connection just ends."""
    server = start(served)
    counts: Counter[str] = Counter()

    def client() -> None:
        connection = http.client.HTTPConnection(urlsplit(server.rest_url).netloc, timeout=60)
        while True:
            connection.request("POST", PREDICT, ROW)
            answer = connection.getresponse()
            answer.read()
            counts[str(answer.status)] += 1
            if answer.getheader("connection") == "close":
                counts["closed"] += 1
                return connection.close()

    def stop() -> None:
        wait_until(lambda: counts["200"] > 50, "requests")
        server.process.send_signal(signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    with connect(server) as idle:
        together(client, 4)
        assert idle.recv(100) == b""
    stopping.join()
    assert server.process.wait(60) == 0
    assert counts["closed"] == 4 and set(counts) == {"200", "closed"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_upload_can_be_read_after_it_was_sent(start: Start, served: Path, chunked: bool) -> None:
    """The client of a body that is too large sends it to its end and then reads 413, instead of a reset."""
    server = start(served, f"--rest_api_max_body_bytes={LIMIT}")
    part = bytes(2**16)
    with connect(server) as connection:
        if chunked:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        else:
            send_head(connection, 256 * len(part))
        for _ in range(256):
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n" if chunked else part)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413 and "--rest_api_max_body_bytes" in json.loads(answer.read())["error"]


def test_our_client_reads_that_a_request_is_too_large(start: Start, served: Path) -> None:
    """The client says what the server says, and does not report a broken connection."""
    server = start(served, f"--rest_api_max_body_bytes={LIMIT}")
    transport = RestTransport(server.rest_url, "fashion", None, None)
    with pytest.raises(InvalidRequest, match=f"too large. Expected: at most {LIMIT} bytes"):
        transport.call("serving_default", {"image": np.zeros((20_000, 28, 28), np.uint8)}, 60)
    transport.close()
