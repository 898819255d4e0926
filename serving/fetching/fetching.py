"""Fetches the images of many URLs, politely, and each of them once.

with ImageCache(Path("workspace/images.sqlite")) as cache:
    fetching = Fetching(urls, cache=cache)
    for result in fetching:
        ...  # Fetched or Failed
    print(fetching.counts)  # Counter({"fetched": 9800, "http_404": 150, "not_an_image": 50})
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from serving.fetching.downloads import parsed
from serving.fetching.errors import DownloadError, printable, shown
from serving.fetching.image_cache import ImageCache, Kept, url_key
from serving.fetching.workers import Job, Loaded, Manners, Workers
from serving.images.inputs import ImageError, Limits, Reason

__all__ = ["Failed", "Fetched", "Fetching", "Manners"]


@dataclass(frozen=True)
class Fetched:
    """An image.

    Attributes:
        position: Of its URL in what was given, from 0.
        url: As it was given.
        pixels: uint8 [28, 28], what the network is shown.
        sha256: Of the file, in hexadecimal digits.
        cached: Whether the file was there already, so that none was downloaded for this URL.
        stale: Whether it is `cached` and the server did not say whether it has changed: nobody answered to the end, or
            it asked for patience. It is asked again next time.
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
        position: Of the URL in what was given, from 0.
        url: As it was given; a password in it is still there.
        reason: In a stable word: why there is no file, or why the file is no image.
        message: In a sentence, without a password.
    """

    position: int
    url: str
    reason: Reason
    message: str


Result = Fetched | Failed


@dataclass
class _Open:
    """A job under way: where its URL stands, and what it held before."""

    places: list[tuple[int, str]] = field(default_factory=list)
    kept: Kept | None = None


class Fetching:
    """The results for URLs, one for each that is given, in the order in which they arrive.

    Args:
        urls: `http`, `https`, and `file` where allowed; read only a window ahead of the results.
        cache: What is in it is not downloaded, and what is downloaded is put into it. Defaults to none.
        manners: How hard servers are asked.
        limits: What is read of a file at most, for how many seconds in one attempt, and whether from private addresses.
        files_below: The folder whose files may be named by `file:` URLs. Defaults to none.
        trusted_seconds: The age from which the server is asked whether what is in the cache has changed. Where it does
            not say, what is in the cache is the result, and is counted as `stale`; where it answers that there is no
            image any more, that is a failure. Defaults to never.
        total: The number of URLs, for the progress. Defaults to their length where they have one.
        progress: Called after every result with the number of results and the total or None.

    Attributes:
        counts: How many results there were: `fetched`, `cached`, `stale`, and of each reason.

    Raises:
        CacheError: While iterating, when the cache cannot be used.
    """

    def __init__(
        self,
        urls: Iterable[str],
        *,
        cache: ImageCache | None = None,
        manners: Manners | None = None,
        limits: Limits | None = None,
        files_below: Path | None = None,
        trusted_seconds: float = math.inf,
        total: int | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self._urls, self._cache = urls, cache
        self._manners, self._limits = manners or Manners(), limits or Limits()
        self._files_below = files_below.resolve() if files_below else None
        self._trusted_seconds = trusted_seconds
        self._total = len(urls) if total is None and isinstance(urls, Sized) else total
        self._progress = progress or (lambda done, total: None)
        self._keys: dict[Job, bytes] = {}
        self._open: dict[bytes, _Open] = {}
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Result]:
        waiting = 0
        with Workers(self._manners, self._limits) as workers:
            for position, url in enumerate(self._urls):
                begun = self._begin(workers, position, url)
                waiting += begun is None
                yield from self._counted([] if begun is None else [begun])
                arrived = self._arrived(workers, wait=waiting >= self._manners.window)
                waiting -= len(arrived)
                yield from self._counted(arrived)
            while waiting:
                arrived = self._arrived(workers, wait=True)
                waiting -= len(arrived)
                yield from self._counted(arrived)

    def _begin(self, workers: Workers, position: int, url: str) -> Result | None:
        """The result, where there is one at once."""
        try:
            parts, path = self._parts(url)
        except (DownloadError, ImageError) as error:
            return Failed(position, url, error.reason, str(error))
        key = url_key(parts)
        if key in self._open:
            self._open[key].places.append((position, url))
            return None
        kept = self._cache.find(key) if self._cache is not None and path is None else None
        if kept and time.time() - kept.fetched_at < self._trusted_seconds:
            return Fetched(position, url, kept.pixels, kept.sha256, cached=True)
        job = Job(url, _host(parts) if path is None else "file:", path, kept.validators if kept else None)
        self._keys[job], self._open[key] = key, _Open([(position, url)], kept)
        workers.begin(job)
        return None

    def _parts(self, url: str) -> tuple[httpx.URL, Path | None]:
        """A URL's parts, and the path of the file that it names."""
        if self._files_below is None or not url.lower().startswith("file:"):
            return parsed(url), None
        try:
            parts = httpx.URL(url)
            path, host = Path(parts.path).resolve(), parts.host
        except (httpx.InvalidURL, OSError, ValueError) as error:
            received = "one that cannot be read" if "@" in url else printable(error)
            raise DownloadError(
                f"{shown(url)} is no URL. Expected: a file's. Received: {received}", "bad_url"
            ) from None
        if host not in ("", "localhost") or not path.is_relative_to(self._files_below):
            raise DownloadError(
                f"{shown(url)} is not read. Expected: a file below {self._files_below}. Received: another",
                "file_refused",
            )
        return parts, path

    def _arrived(self, workers: Workers, wait: bool) -> list[Result]:
        """The results that are there; what was downloaded for them is in the cache before anyone sees them."""
        results: list[Result] = []
        new: list[Kept] = []
        for job, outcome in workers.arrived(wait):
            key = self._keys.pop(job)
            opened = self._open.pop(key)
            if isinstance(outcome, Loaded):
                kept = _kept(key, outcome, opened.kept)
                if job.path is None:
                    new.append(kept)
                results += _fetched(opened.places, kept, unchanged=outcome.pixels is None)
            elif opened.kept and isinstance(outcome, DownloadError) and outcome.passing:
                # Not stored, so that it stays as old as it is.
                results += _fetched(opened.places, opened.kept, unchanged=True, stale=True)
            else:
                results += [Failed(*place, outcome.reason, str(outcome)) for place in opened.places]
        if self._cache is not None and new:
            self._cache.store(new)
        return results

    def _counted(self, results: Iterable[Result]) -> Iterator[Result]:
        for result in results:
            self.counts[_kind(result)] += 1
            self._progress(self.counts.total(), self._total)
            yield result


def _host(parts: httpx.URL) -> str:
    """Who is asked: with the scheme, since nobody may listen for one and somebody for the other."""
    return f"{parts.scheme}://{parts.netloc.decode()}"


def _kind(result: Result) -> str:
    if isinstance(result, Failed):
        return result.reason
    return "stale" if result.stale else "cached" if result.cached else "fetched"


def _kept(key: bytes, loaded: Loaded, before: Kept | None) -> Kept:
    if loaded.pixels is not None:
        return Kept(key, loaded.sha256, loaded.pixels, loaded.validators, time.time())
    assert before is not None, "Only what is there already can be unchanged"
    named = loaded.validators.etag or loaded.validators.last_modified
    return replace(before, validators=loaded.validators if named else before.validators, fetched_at=time.time())


def _fetched(places: list[tuple[int, str]], kept: Kept, unchanged: bool, stale: bool = False) -> list[Fetched]:
    return [
        Fetched(position, url, kept.pixels, kept.sha256, unchanged or index > 0, stale)
        for index, (position, url) in enumerate(places)
    ]
