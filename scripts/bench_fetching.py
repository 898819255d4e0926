"""Measures fetching and fitting images: the last part of `make bench-catalogue`, or alone by `make bench-fetching`.

A server in its own process answers after 20 ms, and refuses 2% of the URLs with 503 at the first request. The parts are
measured too: the server with a minimal client, the download alone, and decoding alone. The slowest part is the limit.
Prints a table and writes JSON; nothing is asserted. The script takes about five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scripts.bench import report, row
from serving.fetching.downloader import Downloader
from serving.fetching.fetch_policy import FetchPolicy
from serving.fetching.image_cache import ImageCache
from serving.fetching.image_fetcher import ImageFetcher
from serving.images.encoding import encode_file
from serving.images.fitting import fit_file

ROOT = Path(__file__).resolve().parent.parent
DELAY_SECONDS = 0.02
FAILING = 50
"""One URL in this many is refused at its first request."""
TARGET = "at least 500"
JSON = Path("workspace/bench-fetching.json")


def main() -> None:
    """Runs the measurements chosen on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the table shows median and range")
    parser.add_argument("--at-once", type=int, default=FetchPolicy.max_downloads)
    parser.add_argument("--per-host", type=int, default=FetchPolicy.max_per_host)
    parser.add_argument("--serve", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, default=JSON)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.serve.read_bytes()))
        return
    policy = FetchPolicy(max_downloads=options.at_once, max_per_host=options.per_host, allow_private=True)
    measure_and_report(options.images, options.repeat, policy, options.json)


def measure_and_report(images: int, repeat: int, policy: FetchPolicy | None = None, json: Path = JSON) -> None:
    """Prints the table and writes the JSON.

    Args:
        images: The number of images of each kind, per run.
        repeat: The number of runs.
        policy: The limits and retries of the fetch.
        json: The JSON file.
    """
    kinds = {"JPEG of 400 × 600": _photograph(), "PNG of 28 × 28": _small()}
    rows = [
        each
        for kind, content in kinds.items()
        for each in _measure(kind, content, images, repeat, policy or FetchPolicy(allow_private=True))
    ]
    report(rows, json)


def _measure(kind: str, content: bytes, count: int, repeat: int, policy: FetchPolicy) -> list[dict[str, Any]]:
    """Measures the parts and the whole in turns, so that other load affects them alike."""
    fit_file(content)
    speeds: dict[str, list[float]] = {}
    notes: list[str] = []
    for _ in range(repeat):
        with _server(content) as url:
            parts: dict[str, Callable[[int], object]] = {
                "server alone": lambda n, url=url: asyncio.run(_ask(url, n, policy.max_per_host)),
                "download alone": lambda n, url=url: _download(url, n, policy.max_per_host),
                "decode and fit alone, all cores": lambda n: _decode(content, n),
                "fetch, fit and keep": lambda n, url=url: notes.append(_fetch(url, n, policy)),
            }
            for name, part in parts.items():
                start = time.perf_counter()
                part(count)
                speeds.setdefault(name, []).append(count / (time.perf_counter() - start))
    print(f"{kind}, {len(content):,} bytes: {notes[-1]}", flush=True)
    return [
        row(f"{kind}: {name}", statistics.median(v), "images/s", TARGET * name.startswith("fetch"), [min(v), max(v)])
        for name, v in speeds.items()
    ]


def _fetch(url: str, count: int, policy: FetchPolicy) -> str:
    """Fetches into an empty cache; returns the counts of the results and the CPU time."""
    urls = (f"{url}/whole/{number}" for number in range(count))
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="fashion-bench-") as folder, ImageCache(Path(folder) / "images") as cache:
        fetcher = ImageFetcher(urls, cache=cache, policy=policy)
        for _ in fetcher:
            pass
    milliseconds = (time.process_time() - start) * 1000 / count
    return f"{dict(fetcher.counts)}, {milliseconds:.2f} ms of a core for an image"


def _download(url: str, count: int, at_once: int) -> None:
    """Downloads over the same connections, without queue, retries, decoder and cache."""
    paths = (f"{url}/fine/{number}" for number in range(count))

    def work() -> None:
        with Downloader(allow_private=True) as downloader:
            while path := _next(paths, lock):
                downloader.get(path, 1_000_000, 60)

    lock = threading.Lock()
    _together(work, at_once)


def _decode(content: bytes, count: int) -> None:
    numbers, lock = (str(number) for number in range(count)), threading.Lock()

    def work() -> None:
        while _next(numbers, lock):
            with lock:
                payload = encode_file(content, "image", find_damage=False)
            fit_file(payload)

    _together(work, len(os.sched_getaffinity(0)))


def _next(names: Iterator[str], lock: threading.Lock) -> str:
    with lock:
        return next(names, "")


def _together(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _ask(url: str, count: int, at_once: int) -> None:
    """Requests images as fast as possible on that many connections, and reads only their length."""
    host, port = url.removeprefix("http://").split(":")
    numbers = iter(range(count))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            writer.write(b"GET /fine/%d HTTP/1.1\r\nHost: here\r\n\r\n" % number)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(work() for _ in range(at_once)))


@contextmanager
def _server(content: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        command = [sys.executable, "-m", "scripts.bench_fetching", "--serve", file.name]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"


async def _serve(content: bytes) -> None:
    """Answers every GET after the delay; refuses the first request of a number that FAILING divides."""
    refused: set[bytes] = set()
    fine = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    loop = asyncio.get_running_loop()

    def answer(path: bytes) -> bytes:
        if path.startswith(b"/whole/") and not int(path.rpartition(b"/")[2]) % FAILING and path not in refused:
            refused.add(path)
            return busy
        return fine

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.received = transport, b""

        def data_received(self, data: bytes) -> None:
            *requests, self.received = (self.received + data).split(b"\r\n\r\n")
            for request in requests:
                loop.call_later(DELAY_SECONDS, self.transport.write, answer(request.split(b" ", 2)[1]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        async with await loop.create_server(Connection, sock=listener):
            # Runs until the parent closes its end of the pipe or ends.
            await loop.run_in_executor(None, sys.stdin.read)


def _photograph() -> bytes:
    """Returns a JPEG of a textured rectangle on a white background, like a product photograph."""
    rng = np.random.default_rng(0)
    picture = Image.new("RGB", (400, 600), (250, 250, 250))
    cloth = Image.fromarray(rng.integers(0, 256, (40, 25, 3), np.uint8))
    picture.paste(cloth.resize((250, 420), Image.Resampling.BICUBIC), (75, 90))
    return _encoded(picture, "JPEG")


def _small() -> bytes:
    return _encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)), "PNG")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    picture.save(file, kind, quality=85)
    return file.getvalue()


if __name__ == "__main__":
    main()
