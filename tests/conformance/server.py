"""A server of the suite: its ports, its process, and what it keeps on the disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.configuration import Entry

READY_SECONDS = 180.0
WAIT_SECONDS = 60.0
STOP_SECONDS = 30.0


def wait_for(look: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Looks until what is seen is true, and returns it; asserts that it becomes so in time."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"Nothing seen within {seconds:g} s"
        time.sleep(0.05)
    return seen


@dataclass
class Server:
    """A server, ours or somebody else's.

    Attributes:
        url: Where REST answers.
        grpc: Where gRPC answers, as host:port.
        folder: Where its own models and configuration are; None for somebody else's.
        log: The file with all that it said; None for somebody else's.
        process: Its process.
    """

    url: str
    grpc: str
    folder: Path = Path()
    log: Path = Path()
    process: subprocess.Popen[bytes] | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    def said(self) -> str:
        """Returns all that it has said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def listens(self) -> bool:
        """Whether both ports are open; asserts that it still runs."""
        assert self.process and self.process.poll() is None, self.said()[-4000:]
        return all(_open(place) for place in (self.url.removeprefix("http://"), self.grpc))

    def closed(self) -> bool:
        """Whether neither port is open."""
        return not any(_open(place) for place in (self.url.removeprefix("http://"), self.grpc))

    def ends(self) -> int:
        """Waits for it to end by itself, and returns its exit status."""
        assert self.process
        return self.process.wait(READY_SECONDS)

    def stop(self) -> None:
        """Ends it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _open(place: str) -> bool:
    host, _, port = place.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def place(models: Path, server: Server, model: str, versions: Iterable[str], source: str = "half_plus_two") -> Path:
    """Puts versions of a model into a server's own folder.

    Args:
        models: The models, see `models.py`.
        server: Whose.
        model: The name of the folder.
        versions: Names of the folders in it.
        source: Which of the models they are copies of.

    Returns:
        The base path.
    """
    base = server.folder / model
    base.mkdir(exist_ok=True)
    (found,) = list((models / source).iterdir())
    for version in versions:
        # A copy that is still growing must not look like a version.
        growing = server.folder / f"{model}.{version}.growing"
        shutil.copytree(found, growing)
        growing.rename(base / version)
    return base
