"""A shop's image server for tests, with valid images and with every kind of fault, and fetches from it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import chain, repeat
from typing import Any

import numpy as np
from PIL import Image

from pipeline.contract.image_limits import ImageLimits
from serving.fetching.fetch_policy import FetchPolicy
from serving.fetching.image_cache import ImageCache
from serving.fetching.image_fetcher import Failed, Fetched, ImageFetcher
from tests.serving.images.test_encoding import png_header
from tests.serving.web import Answer, Request

HEAD = b"HTTP/1.1 200 OK\r\n"


@cache
def png(number: int) -> bytes:
    """Returns a different image for every number: grey, 28 x 28, so that fitting leaves its pixels unchanged."""
    file = BytesIO()
    Image.fromarray(pixels(number)).save(file, "PNG")
    return file.getvalue()


def pixels(number: int) -> np.ndarray:
    """Returns the pixels of `png`."""
    return np.random.default_rng(number).integers(0, 256, (28, 28), np.uint8)


class Shop:
    """Answers by path: `/KIND/NUMBER`, with any folder before it.

    Attributes:
        counts: The number of requests of each path.
        ended: Ends slow and hanging answers when it is set.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ended = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        *_, kind, name = request.path.split("/")
        with self._lock:
            self.counts[request.path] += 1
            first = self.counts[request.path] == 1
        number = int(name.partition(".")[0])
        again = {"busy": Answer(503), "limited": Answer(429), "reset": Answer(0)}
        if kind in again:
            return again[kind] if first else Answer(body=png(number))
        return self._answers(kind, number)

    def _answers(self, kind: str, number: int) -> Answer:
        fine = png(number)
        answers = {
            "fine": lambda: Answer(body=fine, headers={"Content-Type": "text/html"}),
            "there": lambda: Answer(body=fine),
            "same": lambda: Answer(body=png(0)),
            "page": lambda: Answer(
                body=b"<!DOCTYPE html><title>Sold out</title>", headers={"Content-Type": "image/jpeg"}
            ),
            "empty": lambda: Answer(),
            "cut": lambda: Answer(body=fine[:200]),
            "bomb": lambda: Answer(body=png_header(60_000, 60_000)),
            "down": lambda: Answer(500),
            "short": lambda: Answer(body=fine[:100], length=len(fine)),
            "long": lambda: Answer(body=fine, length=100),
            "huge": lambda: Answer(parts=[HEAD + b"Content-Length: 999999999999\r\n\r\n", *[bytes(10_000)] * 4]),
            "endless": lambda: Answer(parts=chain([HEAD + b"\r\n"], repeat(bytes(1_000_000)))),
            "chunks": lambda: Answer(
                parts=chain(
                    [HEAD + b"Transfer-Encoding: chunked\r\n\r\n"], repeat(b"f4240\r\n" + bytes(1_000_000) + b"\r\n")
                )
            ),
            "drip": lambda: Answer(parts=chain([HEAD + b"Content-Length: 9999\r\n\r\n"], self._slowly(b"x"))),
            "headers": lambda: Answer(parts=chain([HEAD], self._slowly(b"X: y\r\n"))),
            "silent": lambda: Answer(parts=self._never()),
            "garbage": lambda: Answer(parts=[b"SSH-2.0-OpenSSH_9.2\r\n"]),
            "loop": lambda: Answer(302, headers={"Location": f"/loop/{number}"}),
            "moved": lambda: Answer(301, headers={"Location": f"/there/{number}"}),
            "passwd": lambda: Answer(302, headers={"Location": "file:///etc/passwd"}),
        }
        return answers.get(kind, lambda: Answer(404, body=b"gone"))()

    def _slowly(self, part: bytes) -> Iterator[bytes]:
        while not self.ended.wait(0.02):
            yield part

    def _never(self) -> Iterator[bytes]:
        self.ended.wait(30)
        yield b""


class Counting(Shop):
    """A shop that answers only when the expected number of requests is open, and records the largest number."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.most = 0
        self._expected, self._inside = expected, 0
        self._full, self._crowded = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            if self._inside == self._expected:
                self._full.set()
            if self._inside > self._expected:
                self._crowded.set()
        self._full.wait(60)
        self._crowded.wait(0.2)
        with self._lock:
            self._inside -= 1
        return super().__call__(request)


class Timing(Shop):
    """A shop that answers the first request with Retry-After.

    Attributes:
        seconds: The header Retry-After.
        times: The times of the requests, by `time.monotonic`.
    """

    def __init__(self, seconds: str) -> None:
        super().__init__()
        self.seconds = seconds
        self.times: list[float] = []

    def __call__(self, request: Request) -> Answer:
        self.times.append(time.monotonic())
        if len(self.times) == 1:
            return Answer(503, headers={"Retry-After": self.seconds})
        return super().__call__(request)


def local_policy(**settings: Any) -> FetchPolicy:
    """A policy for a server on this machine, with time enough when the machine is busy with other things."""
    limits = ImageLimits(bytes=100_000, pixels=1_000_000)
    return FetchPolicy(**{"limits": limits, "attempt_seconds": 20.0, "allow_private": True, **settings})


def fetched(
    urls: Any, cache: ImageCache | None = None, progress: Any = None, **settings: Any
) -> list[Fetched | Failed]:
    """Returns all results in the order of the URLs; the settings are those of `FetchPolicy`."""
    fetcher = ImageFetcher(urls, cache=cache, policy=local_policy(**settings), progress=progress)
    return sorted(fetcher, key=lambda result: result.position)


def reasons(urls: Any, **settings: Any) -> list[str]:
    """Returns the result of each URL in one word, in the order of the URLs."""
    return ["fetched" if isinstance(r, Fetched) else r.reason for r in fetched(urls, **settings)]
