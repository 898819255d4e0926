"""Says which URL is whose turn: so many of a host at a time, hosts by turns, and none of a host that stays silent."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition
from typing import Generic, TypeVar

from serving.fetching.downloads import Downloader

MOST_IDLE = 64
"""Connections that nobody uses just now, of all hosts together."""

Job = TypeVar("Job")


@dataclass
class _Host(Generic[Job]):
    waiting: deque[Job] = field(default_factory=deque)
    idle: list[Downloader] = field(default_factory=list)
    busy: set[Downloader] = field(default_factory=set)


@dataclass
class _Silence:
    since: float
    times: int = 0


class Hosts(Generic[Job]):
    """Jobs by host, for many threads.

    Args:
        per_host: The jobs of a host that are taken at a time.
        silences: After how many downloads on end without any answer a host is given up.
        silent_seconds: The least that these take from the beginning of the first to the end of the last: many that are
            under way together may all fail in one moment, in which the server is started anew.
        connect: Makes what downloads; it is used again for the same host, with its connection.
    """

    def __init__(self, per_host: int, silences: int, silent_seconds: float, connect: Callable[[], Downloader]) -> None:
        self._per_host, self._connect = per_host, connect
        self._silences, self._silent_seconds = silences, silent_seconds
        self._changed = Condition()
        self._hosts: OrderedDict[str, _Host[Job]] = OrderedDict()
        self._silent: dict[str, _Silence] = {}
        self._given_up: dict[str, str] = {}
        self._answered: dict[str, float] = {}
        self._closed = False

    def put(self, host: str, job: Job) -> None:
        """Lets a job wait for its turn."""
        with self._changed:
            self._hosts.setdefault(host, _Host()).waiting.append(job)
            self._changed.notify()

    def take(self) -> tuple[str, Job, Downloader] | None:
        """Waits for a job's turn, and returns it with its host and what to download with; None after `close`."""
        with self._changed:
            while not self._closed:
                for name, host in self._hosts.items():
                    if host.waiting and len(host.busy) < self._per_host:
                        # To the end of the row: the others come first now.
                        self._hosts.move_to_end(name)
                        downloader = host.idle.pop() if host.idle else self._connect()
                        host.busy.add(downloader)
                        return name, host.waiting.popleft(), downloader
                self._changed.wait()
        return None

    def give_back(self, name: str, downloader: Downloader) -> None:
        """Ends a job that was taken: the host's next may begin."""
        with self._changed:
            host = self._hosts[name]
            host.busy.remove(downloader)
            host.idle.append(downloader)
            self._tidy()
            self._changed.notify()

    def answered(self, name: str) -> None:
        """Ends a host's silence; but nothing brings back a host that is given up."""
        with self._changed:
            self._silent.pop(name, None)
            self._answered[name] = time.monotonic()

    def stayed_silent(self, name: str, message: str, begun: float) -> None:
        """Counts a download without any answer.

        Args:
            name: The host's.
            message: What came in place of an answer.
            begun: When it was asked, by `time.monotonic`. Where it has answered another download since, silence
                does not count: sixteen slow files time out together, and the host is well.
        """
        with self._changed:
            if begun < self._answered.get(name, 0.0):
                return
            silence = self._silent.setdefault(name, _Silence(begun))
            silence.times += 1
            if silence.times >= self._silences and time.monotonic() - silence.since >= self._silent_seconds:
                self._given_up[name] = message

    def given_up(self, name: str) -> str:
        """Returns what the last attempt met of a host that is not asked any more, or nothing."""
        return self._given_up.get(name, "")

    def close(self) -> None:
        """Ends all waiting in `take`, and cuts the downloads that are under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for host in self._hosts.values():
                for downloader in host.busy:
                    downloader.cut()
                for downloader in host.idle:
                    downloader.close()
                host.idle.clear()

    def _tidy(self) -> None:
        """Forgets the hosts that were idle longest, once there are too many connections, or none of theirs."""
        idle = sum(len(host.idle) for host in self._hosts.values())
        if idle <= MOST_IDLE and not self._closed:
            return
        for name, host in list(self._hosts.items()):
            while host.idle and (idle > MOST_IDLE or self._closed):
                host.idle.pop(0).close()
                idle -= 1
            if not (host.waiting or host.busy or host.idle):
                del self._hosts[name]
                self._answered.pop(name, None)
