"""Schedules downloads by host: a limit for each host, hosts in turn, and no more for a host that does not answer."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition
from typing import Generic, TypeVar

from serving.fetching.downloader import Downloader

MAX_IDLE = 64
"""The most idle connections of all hosts together."""

Job = TypeVar("Job")


@dataclass
class _Host(Generic[Job]):
    waiting: deque[Job] = field(default_factory=deque)
    idle: list[Downloader] = field(default_factory=list)
    busy: set[Downloader] = field(default_factory=set)


@dataclass
class _Outage:
    since: float
    attempts: int = 0


class HostScheduler(Generic[Job]):
    """Queues of jobs by host, for many threads.

    Args:
        max_per_host: The most jobs of a host at a time.
        max_unanswered: The consecutive downloads without any answer after which a host is dropped.
        min_unanswered_seconds: The least time from the beginning of the first of these to the end of the last: many
            parallel downloads may all fail in the one moment in which a server restarts.
        connect: Makes a downloader. It is reused for the same host, with its connection.
    """

    def __init__(
        self, max_per_host: int, max_unanswered: int, min_unanswered_seconds: float, connect: Callable[[], Downloader]
    ) -> None:
        self._max_per_host, self._connect = max_per_host, connect
        self._max_unanswered, self._min_unanswered_seconds = max_unanswered, min_unanswered_seconds
        self._changed = Condition()
        self._hosts: OrderedDict[str, _Host[Job]] = OrderedDict()
        self._outages: dict[str, _Outage] = {}
        self._dropped: dict[str, str] = {}
        self._last_answers: dict[str, float] = {}
        self._closed = False

    def put(self, host: str, job: Job) -> None:
        """Queues a job of a host."""
        with self._changed:
            self._hosts.setdefault(host, _Host()).waiting.append(job)
            self._changed.notify()

    def take(self) -> tuple[str, Job, Downloader] | None:
        """Waits for the next job, and returns its host, the job and a downloader; None after `close`."""
        with self._changed:
            while not self._closed:
                for name, host in self._hosts.items():
                    if host.waiting and len(host.busy) < self._max_per_host:
                        # To the end of the order: the other hosts come first now.
                        self._hosts.move_to_end(name)
                        downloader = host.idle.pop() if host.idle else self._connect()
                        host.busy.add(downloader)
                        return name, host.waiting.popleft(), downloader
                self._changed.wait()
        return None

    def release(self, name: str, downloader: Downloader) -> None:
        """Ends a job, so that the host's next one may begin."""
        with self._changed:
            host = self._hosts[name]
            host.busy.remove(downloader)
            host.idle.append(downloader)
            self._close_surplus()
            self._changed.notify()

    def record_answer(self, name: str) -> None:
        """Resets the count of unanswered downloads of a host; a dropped host stays dropped."""
        with self._changed:
            self._outages.pop(name, None)
            self._last_answers[name] = time.monotonic()

    def record_no_answer(self, name: str, message: str, started: float) -> None:
        """Counts a download without any answer, and drops the host when there are too many.

        Args:
            name: The name of the host.
            message: The error of the download.
            started: The start of the download, by `time.monotonic`. If the host has answered another download since,
                this one does not count: sixteen slow files time out together while the host is healthy.
        """
        with self._changed:
            if started < self._last_answers.get(name, 0.0):
                return
            outage = self._outages.setdefault(name, _Outage(started))
            outage.attempts += 1
            long_enough = time.monotonic() - outage.since >= self._min_unanswered_seconds
            if outage.attempts >= self._max_unanswered and long_enough:
                self._dropped[name] = message

    def dropped(self, name: str) -> str:
        """Returns the last error of a dropped host, or an empty string for any other host."""
        return self._dropped.get(name, "")

    def close(self) -> None:
        """Ends all calls of `take`, and aborts the downloads in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for host in self._hosts.values():
                for downloader in host.busy:
                    downloader.abort()
                for downloader in host.idle:
                    downloader.close()
                host.idle.clear()

    def _close_surplus(self) -> None:
        """Closes the longest idle connections beyond the limit, and forgets the hosts without any."""
        idle = sum(len(host.idle) for host in self._hosts.values())
        if idle <= MAX_IDLE and not self._closed:
            return
        for name, host in list(self._hosts.items()):
            while host.idle and (idle > MAX_IDLE or self._closed):
                host.idle.pop(0).close()
                idle -= 1
            if not (host.waiting or host.busy or host.idle):
                del self._hosts[name]
                self._last_answers.pop(name, None)
