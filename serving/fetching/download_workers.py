"""Worker threads of the image fetcher: they download files with retries, and decode and fit the images.

Threads, not processes: the decoder and most of the fitting release the interpreter's lock, and every process would need
500 MiB for TensorFlow.
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

from pipeline.contract.retries import call_with_retries
from serving.fetching.downloader import Download, Downloader, Validators
from serving.fetching.errors import DownloadError, redact_url
from serving.fetching.fetch_policy import FetchPolicy
from serving.fetching.host_scheduler import HostScheduler
from serving.images.decoder_pool import DecoderPool
from serving.images.encoding import ImageError, read_file
from serving.images.fitting import load_decoder


@dataclass(frozen=True, eq=False)
class Job:
    """A URL to fetch.

    Attributes:
        url: The URL as the caller gave it.
        host: The host in whose queue the job waits.
        path: The file, if it is a `file:` URL.
        known: The cached version.
    """

    url: str
    host: str
    path: Path | None = None
    known: Validators | None = None


@dataclass(frozen=True)
class Loaded:
    """A fitted image.

    Attributes:
        sha256: The SHA-256 of the file in hexadecimal digits; empty if the file has not changed.
        pixels: uint8 [28, 28]; None if the file has not changed.
        validators: The validators of this version.
    """

    sha256: str
    pixels: NDArray[np.uint8] | None
    validators: Validators = field(default_factory=Validators)


Outcome = Loaded | DownloadError | ImageError

logger = logging.getLogger(__name__)


class DownloadWorkers:
    """Threads that fetch the jobs given to `submit`, for the duration of a `with` block."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy
        self._hosts: HostScheduler[Job] = HostScheduler(
            policy.max_per_host,
            policy.max_unanswered,
            policy.min_unanswered_seconds,
            lambda: Downloader(policy.allow_private),
        )
        self._done: SimpleQueue[tuple[Job, Outcome]] = SimpleQueue()
        self._stopping = Event()
        self._decoders = DecoderPool(policy.limits)
        self._threads = [Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(policy.max_downloads)]

    def __enter__(self) -> DownloadWorkers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._hosts.close()
        for thread in self._threads:
            thread.join()
        self._decoders.close()

    def submit(self, job: Job) -> None:
        """Queues a job."""
        # Loading the decoder takes seconds, which would count against the deadlines of downloads in progress.
        load_decoder()
        self._hosts.put(job.host, job)

    def finished(self, wait: bool) -> list[tuple[Job, Outcome]]:
        """Returns the finished jobs with their outcomes; with `wait` at least one."""
        finished: list[tuple[Job, Outcome]] = []
        while True:
            try:
                finished.append(self._done.get(block=wait and not finished))
            except Empty:
                return finished

    def _work(self) -> None:
        while (turn := self._hosts.take()) is not None:
            host, job, downloader = turn
            try:
                self._done.put((job, self._fetch(host, job, downloader)))
            except Exception as error:
                # A programming error that one URL brings to light must not end the fetch of all others.
                self._done.put((job, _unexpected(job, error)))

    def _fetch(self, host: str, job: Job, downloader: Downloader) -> Outcome:
        try:
            try:
                download = self._download(host, job, downloader)
            finally:
                # Before decoding, which does not occupy the host.
                self._hosts.release(host, downloader)
            if download.content is None:
                return Loaded("", None, download.validators)
            pixels = self._decoders.fit(download.content, redact_url(job.url))
            return Loaded(hashlib.sha256(download.content).hexdigest(), pixels, download.validators)
        except (DownloadError, ImageError) as error:
            return error

    def _download(self, host: str, job: Job, downloader: Downloader) -> Download:
        """Downloads a file, with retries within the URL's deadline."""
        policy = self._policy
        if job.path is not None:
            return Download(read_file(job.path, policy.limits.bytes, redact_url(job.url)), Validators())
        deadline = time.monotonic() + policy.url_seconds

        def attempt() -> Download:
            if last_error := self._hosts.dropped(host):
                raise DownloadError(
                    f"{redact_url(job.url)} is not requested, because its host was dropped.",
                    "host_given_up",
                    expected="a host that answers",
                    received=f"{policy.max_unanswered} consecutive attempts without an answer; the last: {last_error}",
                )
            started = time.monotonic()
            try:
                seconds = min(policy.attempt_seconds, deadline - started)
                download = downloader.get(job.url, policy.limits.bytes, seconds, job.known)
            except DownloadError as error:
                if error.unanswered:
                    self._hosts.record_no_answer(host, error.one_line, started)
                else:
                    self._hosts.record_answer(host)
                raise
            self._hosts.record_answer(host)
            return download

        def sleep(seconds: float) -> None:
            if self._stopping.wait(seconds):
                raise DownloadError(f"{redact_url(job.url)} is not retried, because the fetch ended.", "stopped")

        return call_with_retries(
            attempt,
            is_transient=lambda error: (
                isinstance(error, DownloadError) and error.retryable and error.retry_after <= policy.max_retry_after
            ),
            retries=policy.retries,
            deadline=deadline,
            retry_after=lambda error: error.retry_after if isinstance(error, DownloadError) else 0.0,
            sleep=sleep,
        )


def _unexpected(job: Job, error: Exception) -> DownloadError:
    # Without the error's text, which may quote a password.
    failure = DownloadError(
        f"{redact_url(job.url)} causes a programming error.", "unexpected", received=type(error).__name__
    )
    logger.error("%s\n%s", failure.one_line, "".join(traceback.format_tb(error.__traceback__)).rstrip())
    return failure
