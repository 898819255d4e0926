"""A model server as a background process: starts it, waits until it is ready, and stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pipeline.contract.errors import UserError

POLL_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 10.0
"""How long a server may finish its requests after SIGTERM before SIGKILL."""
FAILED_GRACE_SECONDS: Final = 1.0
"""The same after a failure."""

# Linux ends the child with its parent, however the parent ends (PR_SET_PDEATHSIG, 1); a parent that ended before the
# call shows in a different parent process ID. A separate program does this, since code between fork and exec is not
# safe in a process with TensorFlow's threads. On other systems the child survives its parent.
LAUNCHER: Final = """
import ctypes, os, sys
parent, parent_death_signal, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(parent_death_signal))
    if os.getppid() != int(parent):
        sys.exit("The process that started this one has ended.")
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"{error.strerror}: {command[0]}")
"""


class NotServingError(UserError):
    """A server ended, or was not ready in time."""


class ServerProcess:
    """A server process, which a `with` block stops at its end.

    Attributes:
        process: The process.
        log: The file with its output.
        rest_url: The URL of its REST interface, without a path.
        grpc_address: The host and port of its gRPC interface.
        model_name: The name of the model.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        rest_url: str,
        grpc_address: str,
        model_name: str,
        parent_death_signal: signal.Signals = signal.SIGKILL,
        cleanup: Sequence[str] = (),
    ) -> None:
        """Starts the command.

        Args:
            command: The command line of the server.
            environment: The environment variables of the server.
            log: The file for its output.
            rest_url: The URL of its REST interface.
            grpc_address: The host and port of its gRPC interface.
            model_name: The name of the model.
            parent_death_signal: The signal for the server when this process ends without stopping it. Defaults to
                SIGKILL.
            cleanup: A command to run after the server had to be killed. Defaults to none.
        """
        self.log = log
        self.rest_url = rest_url
        self.grpc_address = grpc_address
        self.model_name = model_name
        self._cleanup = list(cleanup)
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(int(parent_death_signal))]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*launcher, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a failure there are no requests to finish.
        self.stop(GRACE_SECONDS if error is None else FAILED_GRACE_SECONDS)

    def wait_until_ready(self, timeout_seconds: float) -> int:
        """Waits until a version of the model is available over REST; returns its number.

        Raises:
            NotServingError: The process ended, or the time-out passed.
        """
        deadline = time.monotonic() + timeout_seconds
        while (version := self._available()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotServingError(
                    f"The server is not ready after {timeout_seconds:g} seconds.",
                    expected=f"an available version at {self._status_url()}",
                    received=self.last_line(),
                )
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(min(POLL_SECONDS, left))
            self.check()
        return version

    def check(self) -> None:
        """Raises NotServingError when the process has ended."""
        if (code := self.process.poll()) is not None:
            ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            raise NotServingError(f"The server ended with {ending}: {self.last_line()}")

    def last_line(self) -> str:
        """Returns the last line of the log that is not empty."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 65536))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it printed nothing"

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> int:
        """Ends the process with SIGTERM, and with SIGKILL if it does not end in time; returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                if self._cleanup:
                    subprocess.run(self._cleanup, capture_output=True, check=False)
        return self.process.returncode

    def _status_url(self) -> str:
        return f"{self.rest_url}/v1/models/{quote(self.model_name, safe='')}"

    def _available(self) -> int | None:
        url = urlsplit(self._status_url())
        # Not urllib, which would send the request to a proxy named in the environment.
        connection = HTTPConnection(url.hostname or "", url.port, timeout=5)
        try:
            connection.request("GET", url.path)
            content = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return _newest_available(content)


def _newest_available(content: Any) -> int | None:
    """Returns the highest available version in a status answer; None if there is none, or the answer is invalid."""
    statuses = content.get("model_version_status", []) if isinstance(content, dict) else []
    return max((int(version["version"]) for version in statuses if version.get("state") == "AVAILABLE"), default=None)
