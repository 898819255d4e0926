"""Fetches the images of many URLs in parallel, with limits for each host, a cache, and each URL once.

with ImageCache(Path("workspace/images.sqlite")) as cache:
    fetcher = ImageFetcher(urls, cache=cache)
    for result in fetcher:
        ...  # Fetched or Failed
    print(fetcher.counts)  # Counter({"fetched": 9800, "http_404": 150, "not_an_image": 50})
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from serving.fetching.download_workers import DownloadWorkers, Job, Loaded
from serving.fetching.downloader import parse_url
from serving.fetching.errors import DownloadError, DownloadReason, Status, excerpt, redact_url
from serving.fetching.fetch_policy import FetchPolicy
from serving.fetching.image_cache import CachedImage, ImageCache, url_key
from serving.images.encoding import ImageReason

Reason = ImageReason | DownloadReason | Status
"""Why a URL gives no image, as a stable word."""


@dataclass(frozen=True)
class Fetched:
    """A fetched image.

    Attributes:
        position: The position of its URL among those given, from 0.
        url: The URL as the caller gave it.
        pixels: uint8 [28, 28], the input of the network.
        sha256: The SHA-256 of the file in hexadecimal digits.
        cached: Whether the image was in the cache or fetched for the same URL before, so nothing was downloaded.
        stale: Whether it is `cached` and the server did not say whether it has changed: no complete answer came, or the
            server asked to wait. The next fetch retries.
    """

    position: int
    url: str
    pixels: NDArray[np.uint8]
    sha256: str
    cached: bool
    stale: bool = False


@dataclass(frozen=True)
class Failed:
    """A URL without an image.

    Attributes:
        position: The position of the URL among those given, from 0.
        url: The URL as the caller gave it, with any password in it.
        reason: Why there is no file, or why the file is no image, as a stable word.
        message: The error on one line, without a password.
    """

    position: int
    url: str
    reason: Reason
    message: str


Result = Fetched | Failed


@dataclass
class _Pending:
    """A job in progress: the positions and spellings of its URL, and the cached image."""

    positions: list[tuple[int, str]] = field(default_factory=list)
    cached: CachedImage | None = None


class ImageFetcher:
    """An iterator over the results of URLs: one result a URL, in the order in which they finish.

    Args:
        urls: The URLs: `http`, `https`, and `file` where allowed. They are read only a window ahead of the results.
        cache: The cache to read from and to write to. Defaults to none. A server that is asked about an old image and
            does not answer makes the result `stale`; if it answers that the image is gone, the result is a failure.
        policy: The limits, time-outs and retries. Defaults to those of `FetchPolicy`.
        progress: Called after every result with the number of results, and the number of URLs if they have a length.

    Attributes:
        counts: The number of results by kind: `fetched`, `cached`, `stale`, and each reason of a failure.

    Raises:
        CacheError: While iterating, if the cache cannot be used.
    """

    def __init__(
        self,
        urls: Iterable[str],
        *,
        cache: ImageCache | None = None,
        policy: FetchPolicy | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self._urls, self._cache, self._policy = urls, cache, policy or FetchPolicy()
        self._files_below = self._policy.files_below.resolve() if self._policy.files_below else None
        self._total = len(urls) if isinstance(urls, Sized) else None
        self._progress = progress or (lambda done, total: None)
        self._keys: dict[Job, bytes] = {}
        self._pending: dict[bytes, _Pending] = {}
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Result]:
        waiting = 0
        with DownloadWorkers(self._policy) as workers:
            for position, url in enumerate(self._urls):
                immediate = self._start(workers, position, url)
                waiting += immediate is None
                yield from self._count([] if immediate is None else [immediate])
                finished = self._finished(workers, wait=waiting >= self._policy.window)
                waiting -= len(finished)
                yield from self._count(finished)
            while waiting:
                finished = self._finished(workers, wait=True)
                waiting -= len(finished)
                yield from self._count(finished)

    def _start(self, workers: DownloadWorkers, position: int, url: str) -> Result | None:
        """Returns a result that needs no download, or starts a download and returns None."""
        try:
            parts, path = self._parse(url)
        except DownloadError as error:
            return Failed(position, url, error.reason, error.one_line)
        key = url_key(parts)
        if key in self._pending:
            self._pending[key].positions.append((position, url))
            return None
        cached = self._cache.find(key) if self._cache is not None and path is None else None
        if cached and time.time() - cached.fetched_at < self._policy.max_age_seconds:
            return Fetched(position, url, cached.pixels, cached.sha256, cached=True)
        # With the scheme: a host may listen for http but not for https.
        host = f"{parts.scheme}://{parts.netloc.decode()}" if path is None else "file:"
        job = Job(url, host, path, cached.validators if cached else None)
        self._keys[job], self._pending[key] = key, _Pending([(position, url)], cached)
        workers.submit(job)
        return None

    def _parse(self, url: str) -> tuple[httpx.URL, Path | None]:
        """Returns the parts of a URL, and the path if it is a `file:` URL."""
        if self._files_below is None or not url.lower().startswith("file:"):
            return parse_url(url), None
        try:
            parts = httpx.URL(url)
            path, host = Path(parts.path).resolve(), parts.host
        except (httpx.InvalidURL, OSError, ValueError) as error:
            received = "one that cannot be read" if "@" in url else excerpt(error)
            headline = f"{redact_url(url)} is no URL."
            raise DownloadError(headline, "bad_url", expected="the URL of a file", received=received) from None
        if host not in ("", "localhost") or not path.is_relative_to(self._files_below):
            raise DownloadError(
                f"{redact_url(url)} is not read.",
                "file_refused",
                expected=f"a file below {self._files_below}",
                received="another",
            )
        return parts, path

    def _finished(self, workers: DownloadWorkers, wait: bool) -> list[Result]:
        """Returns the finished results, after their images are stored in the cache."""
        results: list[Result] = []
        new: list[CachedImage] = []
        for job, outcome in workers.finished(wait):
            key = self._keys.pop(job)
            pending = self._pending.pop(key)
            if isinstance(outcome, Loaded):
                image = _cache_entry(key, outcome, pending.cached)
                if job.path is None:
                    new.append(image)
                results += _to_results(pending.positions, image, unchanged=outcome.pixels is None)
            elif pending.cached and isinstance(outcome, DownloadError) and outcome.inconclusive:
                # Not stored, so that its age stays the same and the next fetch retries.
                results += _to_results(pending.positions, pending.cached, unchanged=True, stale=True)
            else:
                results += [Failed(*position, outcome.reason, outcome.one_line) for position in pending.positions]
        if self._cache is not None and new:
            self._cache.store(new)
        return results

    def _count(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self.counts[_kind(result)] += 1
            self._progress(self.counts.total(), self._total)
            yield result


def _kind(result: Result) -> str:
    if isinstance(result, Failed):
        return result.reason
    return "stale" if result.stale else "cached" if result.cached else "fetched"


def _cache_entry(key: bytes, loaded: Loaded, cached: CachedImage | None) -> CachedImage:
    if loaded.pixels is not None:
        return CachedImage(key, loaded.sha256, loaded.pixels, loaded.validators, time.time())
    assert cached is not None, "Only a cached image can be unchanged"
    sent = loaded.validators.etag or loaded.validators.last_modified
    return replace(cached, validators=loaded.validators if sent else cached.validators, fetched_at=time.time())


def _to_results(
    positions: list[tuple[int, str]], image: CachedImage, unchanged: bool, stale: bool = False
) -> list[Fetched]:
    return [
        Fetched(position, url, image.pixels, image.sha256, unchanged or index > 0, stale)
        for index, (position, url) in enumerate(positions)
    ]
