"""The servers that the cases are asked of, started when the first case needs them and stopped at the end.

Starting one costs ten seconds of imports, so that cases share them: `main` serves every model without special flags,
`polling` reads its configuration again and again, `still` reads everything once, `batching` batches and is configured
by requests. The rest are about the start itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from serving.engines.engine import free_port
from tests.conformance.preparation import ANSWERING, PREPARATIONS
from tests.conformance.server import READY_SECONDS, Server, wait_for

ENGINES = ("embedded", "tensorflow_model_server")
AT_ONCE = 2


class Pool:
    """All servers of a run."""

    def __init__(self, engine: str, models: Path, folder: Path, other: Server | None = None) -> None:
        """Starts nothing yet.

        Args:
            engine: Which program serves, one of `ENGINES`.
            models: The models, see `models.py`.
            folder: Where servers keep their own.
            other: Somebody else's server, which is `main` then.
        """
        self.engine, self.models, self.folder = engine, models, folder
        self.embedded = engine == "embedded" and other is None
        self._starting: dict[str, Future[Server]] = {}
        self._started: list[Server] = []
        self._threads = ThreadPoolExecutor(AT_ONCE)
        if other:
            self._starting["main"] = Future()
            self._starting["main"].set_result(other)

    def expect(self, names: Iterable[str]) -> None:
        """Begins to start servers, two at a time, in this order."""
        for name in names:
            if name not in self._starting:
                self._starting[name] = self._threads.submit(self._start, name)

    def get(self, name: str) -> Server:
        """Returns a server that answers, or one of those that never will: `empty`, `broken`, `platform`, `logging`."""
        self.expect([name])
        return self._starting[name].result()

    def stop(self) -> None:
        """Ends all of them."""
        self._threads.shutdown(cancel_futures=True)
        for server in self._started:
            server.stop()

    def _start(self, name: str) -> Server:
        url, grpc = f"http://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        folder = self.folder / name
        folder.mkdir()
        server = Server(url, grpc, folder, folder / "log.txt")
        flags = {
            "port": grpc.rpartition(":")[2],
            "rest_api_port": url.rpartition(":")[2],
            "max_num_load_retries": "0",
            "load_retry_interval_micros": "0",
            **PREPARATIONS[name](self.models, server),
        }
        command = [*self._program(), *(f"--{flag}={value}" for flag, value in flags.items())]
        with server.log.open("wb") as log:
            server.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        self._started.append(server)
        if name in ANSWERING:
            wait_for(server.listens, READY_SECONDS)
        return server

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "serving.embedded"] if self.engine == "embedded" else [self.engine]
