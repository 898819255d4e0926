"""The threads behind `fetching`: each downloads a file, tries again where that may help, and fits the image.

Threads, not processes: the decoder and most of the fitting leave the interpreter's lock to others, and a process of its
own would need TensorFlow's 500 MiB once more.
"""

from __future__ import annotations

import hashlib
import logging
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from serving.client.errors import pause_after
from serving.fetching.downloads import Answer, Downloader, Validators
from serving.fetching.errors import DownloadError, shown
from serving.fetching.hosts import Hosts
from serving.images.decoding import Decoders
from serving.images.fitting import load_decoder
from serving.images.inputs import ImageError, Limits, read_file


@dataclass(frozen=True)
class Manners:
    """How hard servers are asked.

    Attributes:
        at_once: The most downloads under way. Defaults to 32; times the most bytes of a file, they bound the memory,
            beside that of decoding (`serving.images.decoding`).
        per_host: Of these, of one host. Defaults to 16.
        retries: How often a URL is asked again after 429, 5xx, a timeout or a broken connection. Defaults to 3.
        seconds: The most that a URL may take in all, with its pauses. Defaults to 60.
        longest_wait: The seconds that a server's Retry-After may ask for; one that asks for more is not asked again,
            since sooner would be rude. Defaults to 30.
        silences: After how many attempts on end without any answer a host is given up. Defaults to 10.
        silent_seconds: How long it must have been silent then, at the least. Defaults to 10, as long as one attempt may
            take: a server that is started anew is back by then.
        window: The most URLs read ahead of the answers, so that a slow host does not hold up the others. Defaults to
            1,000. A host that asks for patience does hold them up: each of its waiting URLs keeps one of `at_once`.
    """

    at_once: int = 32
    per_host: int = 16
    retries: int = 3
    seconds: float = 60.0
    longest_wait: float = 30.0
    silences: int = 10
    silent_seconds: float = 10.0
    window: int = 1_000


@dataclass(frozen=True, eq=False)
class Job:
    """A URL to load.

    Attributes:
        url: As it was given.
        host: Whose turn it needs.
        path: The file, where the URL names one.
        known: The version that is there already.
    """

    url: str
    host: str
    path: Path | None = None
    known: Validators | None = None


@dataclass(frozen=True)
class Loaded:
    """What a URL holds.

    Attributes:
        sha256: Of the file, in hexadecimal digits; empty when it has not changed.
        pixels: uint8 [28, 28]; None when the file has not changed.
        validators: What the server calls this version.
    """

    sha256: str
    pixels: NDArray[np.uint8] | None
    validators: Validators = field(default_factory=Validators)


Outcome = Loaded | DownloadError | ImageError

logger = logging.getLogger(__name__)


class Workers:
    """Threads that load what `begin` gives them, for as long as the block lasts.

    Args:
        manners: How hard servers are asked.
        limits: What is read of a file, and for how long in one attempt.
    """

    def __init__(self, manners: Manners, limits: Limits) -> None:
        self._manners, self._limits = manners, limits
        self._hosts: Hosts[Job] = Hosts(
            manners.per_host,
            manners.silences,
            manners.silent_seconds,
            lambda: Downloader(self._limits.allow_private),
        )
        self._done: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()
        self._stopping = Event()
        self._decoders = Decoders(limits)
        self._threads = [Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(manners.at_once)]

    def __enter__(self) -> Workers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._hosts.close()
        for thread in self._threads:
            thread.join()
        self._decoders.close()

    def begin(self, job: Job) -> None:
        """Lets a job wait for its host's turn."""
        # Before the first download: loading it takes seconds, in which those under way would run into their deadlines.
        load_decoder()
        self._hosts.put(job.host, job)

    def arrived(self, wait: bool) -> list[tuple[Job, Outcome]]:
        """Returns the jobs that are done, each with its outcome; at least one where it waits."""
        found: list[tuple[Job, Outcome]] = []
        while True:
            try:
                found.append(self._done.get(block=wait and not found))
            except Empty:
                return found

    def _work(self) -> None:
        while (turn := self._hosts.take()) is not None:
            host, job, downloader = turn
            try:
                self._done.put((job, self._outcome(host, job, downloader)))
            except Exception as error:
                # A fault of ours; what one stranger's URL brings to light shall not cost all the others.
                self._done.put((job, _unexpected(job, error)))

    def _outcome(self, host: str, job: Job, downloader: Downloader) -> Outcome:
        try:
            try:
                answer = self._content(host, job, downloader)
            finally:
                # Before decoding: that is no business of the host's.
                self._hosts.give_back(host, downloader)
            if answer.content is None:
                return Loaded("", None, answer.validators)
            return Loaded(
                hashlib.sha256(answer.content).hexdigest(), self._fitted(job, answer.content), answer.validators
            )
        except (DownloadError, ImageError) as error:
            return error

    def _content(self, host: str, job: Job, downloader: Downloader) -> Answer:
        """Downloads until there is an answer, with growing pauses; only what may go better is asked again."""
        if job.path is not None:
            return Answer(read_file(job.path, self._limits.bytes, shown(job.url)), Validators())
        deadline = time.monotonic() + self._manners.seconds
        for number in range(self._manners.retries + 1):
            if last := self._hosts.given_up(host):
                raise _given_up(job, self._manners.silences, last)
            begun = time.monotonic()
            try:
                seconds = min(self._limits.seconds, deadline - begun)
                answer = downloader.get(job.url, self._limits.bytes, seconds, job.known)
                self._hosts.answered(host)
                return answer
            except DownloadError as error:
                if error.silent:
                    self._hosts.stayed_silent(host, str(error), begun)
                else:
                    self._hosts.answered(host)
                pause = max(pause_after(number), error.after_seconds)
                final = number == self._manners.retries or pause >= deadline - time.monotonic()
                if not error.again or final or error.after_seconds > self._manners.longest_wait:
                    raise
            if self._stopping.wait(pause):
                break
        raise DownloadError(f"{shown(job.url)} is not waited for. Expected: time. Received: the end", "stopped")

    def _fitted(self, job: Job, content: bytes) -> NDArray[np.uint8]:
        """As a client sends it and the graph then fits it."""
        return self._decoders.fit(content, shown(job.url))


def _given_up(job: Job, silences: int, last: str) -> DownloadError:
    return DownloadError(
        f"{shown(job.url)} is not asked for any more. Expected: a host that answers. "
        f"Received: {silences} attempts on end without an answer, of which the last: {last}",
        "host_given_up",
    )


def _unexpected(job: Job, error: Exception) -> DownloadError:
    # Without its text, which may quote a password.
    received = type(error).__name__
    failure = DownloadError(
        f"{shown(job.url)} meets a fault of ours. Expected: none. Received: {received}", "unexpected"
    )
    logger.error("%s\n%s", failure, "".join(traceback.format_tb(error.__traceback__)).rstrip())
    return failure
