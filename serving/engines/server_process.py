"""A server that runs in the background: when it is ready, why it is not, and that it is gone afterwards."""

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

POLL_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 10.0
"""How long a server may drain after SIGTERM before SIGKILL."""
IMPATIENT_SECONDS: Final = 1.0
"""The same for one that failed."""

# The system ends the child with its parent, however that ended (Linux's PR_SET_PDEATHSIG, 1); a parent that was gone
# before the call is noticed by the other parent's number. In a program of its own, since code between fork and exec is
# not safe in a process with TensorFlow's threads. Elsewhere than on Linux the child stays.
LAUNCHER: Final = """
import ctypes, os, sys
parent, farewell, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(farewell))
    if os.getppid() != int(parent):
        sys.exit("The process that started this one is gone.")
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"{error.strerror}: {command[0]}")
"""


class NotServingError(ValueError):
    """A server does not serve; the message says how far it came and its last words."""


class Running:
    """A server process; `with` stops it.

    Attributes:
        process: The process.
        log: What it prints.
        rest_url: Where it answers REST, without a path.
        grpc_address: Where it answers gRPC, host and port.
        model_name: The model that it is to serve.
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
        farewell: signal.Signals = signal.SIGKILL,
        afterwards: Sequence[str] = (),
    ) -> None:
        """Starts the command.

        Args:
            command: What to run.
            environment: Its environment variables.
            log: The file that takes what it prints.
            rest_url: Where it will answer REST.
            grpc_address: Where it will answer gRPC.
            model_name: The model that it is to serve.
            farewell: What it gets when this process ends without having stopped it. Defaults to SIGKILL.
            afterwards: A command to run when it had to be killed, for what it may have left. Defaults to none.
        """
        self.log = log
        self.rest_url = rest_url
        self.grpc_address = grpc_address
        self.model_name = model_name
        self._afterwards = list(afterwards)
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(int(farewell))]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*launcher, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a failure there are no requests to finish.
        self.stop(GRACE_SECONDS if error is None else IMPATIENT_SECONDS)

    def wait_until_ready(self, timeout_seconds: float) -> int:
        """Waits until a version of the model is available over REST; returns its number.

        Raises:
            NotServingError: The process ended, or the time did.
        """
        deadline = time.monotonic() + timeout_seconds
        while (version := self._available()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotServingError(
                    f"The server is not ready after {timeout_seconds:g} seconds. "
                    f"Expected: an available version at {self._status_url()}. Received: {self.last_words()}"
                )
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(min(POLL_SECONDS, left))
            self.check()
        return version

    def check(self) -> None:
        """Raises NotServingError when the process has ended."""
        if (code := self.process.poll()) is not None:
            raise NotServingError(f"The server ended with {_ending(code)}: {self.last_words()}")

    def last_words(self) -> str:
        """Returns the last line of the log that holds something."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 65536))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> int:
        """Ends the process by SIGTERM, and by SIGKILL when it does not go; returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                if self._afterwards:
                    subprocess.run(self._afterwards, capture_output=True, check=False)
        return self.process.returncode

    def _status_url(self) -> str:
        return f"{self.rest_url}/v1/models/{quote(self.model_name, safe='')}"

    def _available(self) -> int | None:
        url = urlsplit(self._status_url())
        # Not urllib: that would send the question to the proxy of the environment.
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
    """The highest version that a status answer calls available; None when there is none, or it is no such answer."""
    held = content.get("model_version_status", []) if isinstance(content, dict) else []
    return max((int(version["version"]) for version in held if version.get("state") == "AVAILABLE"), default=None)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
