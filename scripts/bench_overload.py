"""Measures how a server stands six clients that send thirty photographs each and disconnect.

Part of `scripts/bench_serving.py`: `make bench-serving ARGS="--only overload"`.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from scripts.bench import row
from serving.engines.server_process import ServerProcess

OVERLOAD_CLIENTS: Final = 6
PHOTOGRAPHS: Final = 30
SIDE_PIXELS: Final = 4000
REPETITIONS: Final = 3
WAIT_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 15.0
"""How long the server may take to return its memory."""


def overload(start: Callable[[], ServerProcess], images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Measures the first answer to another client, the memory, and the end after SIGTERM, three times.

    Args:
        start: Starts a server whose model has the signature `serving_bytes`.
        images: Small images, uint8 [N, 28, 28], for the other client.

    Returns:
        The figures: medians with the smallest and largest value.
    """
    large = _body({"b64": base64.b64encode(_photograph()).decode()}, PHOTOGRAPHS, "serving_bytes")
    small = _body(images[0].tolist(), 1, "serving_default")
    measured: dict[str, list[float]] = {"answer": [], "largest": [], "kept": [], "stop": []}
    for _ in range(REPETITIONS):
        with start() as server:
            server.wait_until_ready(WAIT_SECONDS)
            _send(server, small)
            idle = _resident(server)
            answered, largest = _answer_beside(server, large, small)
            measured["answer"].append(answered)
            measured["largest"].append(largest - idle)
            time.sleep(SETTLE_SECONDS)
            measured["kept"].append(_resident(server) - idle)
            _leave_behind(server, large)
            begun = time.perf_counter()
            server.stop()
            measured["stop"].append(time.perf_counter() - begun)
    names = {
        "answer": ("overload, first answer to another client after", "s", "under 5"),
        "largest": ("overload, largest resident memory above the idle server", "MiB", ""),
        "kept": ("overload, memory kept after the load", "MiB", ""),
        "stop": ("overload, end after SIGTERM with the same work queued", "s", "under 10"),
    }
    return [
        row(name, statistics.median(measured[key]), unit, target, [min(measured[key]), max(measured[key])])
        for key, (name, unit, target) in names.items()
    ]


def _answer_beside(server: ServerProcess, large: bytes, small: bytes) -> tuple[float, float]:
    """Returns the seconds until another client is answered, and the largest resident memory meanwhile, in MiB."""

    def answer() -> float:
        _leave_behind(server, large)
        begun = time.perf_counter()
        _send(server, small)
        return time.perf_counter() - begun

    begun, largest = time.perf_counter(), 0.0
    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answer)
        # The run that nothing can interrupt goes on after the answer.
        while not answered.done() or time.perf_counter() - begun < SETTLE_SECONDS:
            largest = max(largest, _resident(server))
            time.sleep(0.01)
    return answered.result(), largest


def _leave_behind(server: ServerProcess, body: bytes) -> None:
    """Sends the photographs from all clients, which disconnect without waiting for an answer."""

    def client(_: int) -> None:
        url = urlsplit(server.rest_url)
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=WAIT_SECONDS) as connection:
            head = f"POST /v1/models/fashion:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    with ThreadPoolExecutor(OVERLOAD_CLIENTS) as pool:
        list(pool.map(client, range(OVERLOAD_CLIENTS)))


def _send(server: ServerProcess, body: bytes) -> None:
    url = urlsplit(server.rest_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=WAIT_SECONDS)
    connection.request("POST", "/v1/models/fashion:predict", body)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status != 200:
        raise SystemExit(text.decode())


def _photograph() -> bytes:
    """Returns a JPEG of 16 million pixels and 0.3 MB."""
    from PIL import Image

    shade = np.tile(np.linspace(0, 255, SIDE_PIXELS, dtype=np.uint8), (SIDE_PIXELS, 1))
    file = io.BytesIO()
    Image.fromarray(np.stack([shade, shade.T, shade], -1)).save(file, "JPEG", quality=50)
    return file.getvalue()


def _body(instance: Any, count: int, signature: str) -> bytes:
    return json.dumps({"signature_name": signature, "instances": [instance] * count}).encode()


def _resident(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
