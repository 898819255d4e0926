"""The engines that serve a base directory with TensorFlow Serving's interface, each started from the same flags.

`tensorflow_model_server` is the real one, `docker` its stock image, and `embedded` our own server for machines that
have neither.
"""

from __future__ import annotations

import os
import secrets
import shutil
import site
import socket
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, ClassVar, Final

from serving.engines.flags import Flags
from serving.engines.server_process import Running

if TYPE_CHECKING:
    # Started by name, not imported; named here so that what depends on this module depends on the server too.
    import serving.embedded.__main__  # noqa: F401

IMAGE: Final = "tensorflow/serving:2.19.1"
PROGRAM: Final = "tensorflow_model_server"
LOOPBACK: Final = "127.0.0.1"
ANSWER_SECONDS: Final = 5.0
"""The most that a question to the docker client or the program's `--version` may take."""


class EngineError(ValueError):
    """An engine is not there; the message says which one was wanted and what is missing."""


class Engine(ABC):
    """One way to serve.

    Attributes:
        name: What it is called on the command line and in the configuration.
        needs: What must be there for it.
    """

    name: ClassVar[str]
    needs: ClassVar[str]

    @abstractmethod
    def missing(self, automatic: bool = False) -> str:
        """Returns what keeps it from running here, empty when nothing does.

        Args:
            automatic: Nobody asked for it, so nothing large may be downloaded for it. Defaults to asked for.
        """

    @abstractmethod
    def version(self) -> str:
        """Returns what serves, with its version."""

    @abstractmethod
    def command(self, flags: Flags) -> list[str]:
        """Returns the command line that serves in the foreground."""

    def environment(self) -> dict[str, str]:
        """Returns the environment to run the command in. Defaults to ours."""
        return dict(os.environ)

    def start(self, flags: Flags, log: Path) -> Running:
        """Starts serving in the background; the child ends with this process.

        Args:
            flags: What to serve and where.
            log: The file that takes what the server prints.
        """
        return self._run(self.command(flags), flags, log)

    def _run(
        self,
        command: list[str],
        flags: Flags,
        log: Path,
        farewell: Signals = SIGKILL,
        afterwards: tuple[str, ...] = (),
    ) -> Running:
        return Running(
            command,
            self.environment(),
            log,
            rest_url=f"http://{LOOPBACK}:{flags.rest_port}",
            grpc_address=f"{LOOPBACK}:{flags.grpc_port}",
            model_name=flags.model_name,
            farewell=farewell,
            afterwards=afterwards,
        )


class Embedded(Engine):
    """Our own server, in a process of its own."""

    name = "embedded"
    needs = "the project itself"

    def missing(self, automatic: bool = False) -> str:
        """Nothing: it comes with the project."""
        return ""

    def version(self) -> str:
        """Returns the version of TensorFlow, which computes the answers."""
        return f"embedded server, TensorFlow {metadata.version('tensorflow')}"

    def command(self, flags: Flags) -> list[str]:
        """Returns the command line; -P keeps a folder `serving` where the user stands from being taken for ours."""
        return [sys.executable, "-P", "-m", "serving.embedded", *flags.arguments()]

    def environment(self) -> dict[str, str]:
        """Ours, but finding this package from anywhere, on the processor as the stock image, and without Keras."""
        root = str(Path(__file__).resolve().parents[2])
        # Installed it is found as it is; PYTHONPATH would put all of site-packages before the standard library.
        found = [] if root in site.getsitepackages() else [root]
        paths = [*found, *filter(None, [os.environ.get("PYTHONPATH")])]
        # TF_USE_LEGACY_KERAS keeps `import tensorflow` from importing Keras 3 as well: 3.5 s of processor, not 4.6.
        server = {"CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
        return os.environ | server | {"PYTHONPATH": os.pathsep.join(paths)}


class ModelServer(Engine):
    """TensorFlow Serving's own program. It has no flag for an address: it listens on all of the machine's."""

    name = PROGRAM
    needs = f"the program {PROGRAM}"

    def missing(self, automatic: bool = False) -> str:
        """Says so when the program is not on PATH."""
        return "" if shutil.which(PROGRAM) else f"no {PROGRAM} on PATH (its package exists for amd64 Linux alone)"

    def version(self) -> str:
        """Returns the first line that the program prints for `--version`."""
        return (_answer([PROGRAM, "--version"]) or PROGRAM).splitlines()[0]

    def command(self, flags: Flags) -> list[str]:
        """Returns the command line."""
        return [shutil.which(PROGRAM) or PROGRAM, *flags.arguments()]


class Docker(Engine):
    """The stock image, published on loopback alone, with everything mounted read-only."""

    name = "docker"
    needs = "a docker client with a daemon"

    def missing(self, automatic: bool = False) -> str:
        """Says so when there is no client, no daemon that answers it, or, unasked, no image yet."""
        if not shutil.which("docker"):
            return "no docker client on PATH"
        if not _answer(["docker", "info", "--format", "{{.ServerVersion}}"]):
            return "no docker daemon that answers `docker info`"
        if automatic and not _answer(["docker", "image", "inspect", "--format", "{{.Id}}", IMAGE]):
            return f"no image {IMAGE} on this machine (`docker pull {IMAGE}` fetches it)"
        return ""

    def version(self) -> str:
        """Returns the image with its tag."""
        return IMAGE

    def command(self, flags: Flags, container: str = "") -> list[str]:
        """Returns the command line; with a name for the container, so that it can be removed from outside."""
        inside = replace(
            flags,
            base_path=Path("/models") / flags.model_name,
            rest_port=8501,
            grpc_port=8500,
            batching=_mounted(flags.batching),
            monitoring=_mounted(flags.monitoring),
        )
        ports = {flags.rest_port: 8501, flags.grpc_port: 8500}
        outside = (flags.base_path, flags.batching, flags.monitoring)
        mounts = zip(outside, (inside.base_path, inside.batching, inside.monitoring), strict=True)
        # --init: as the first process it would ignore SIGTERM.
        return [
            *("docker", "run", "--rm", "--init"),
            *(("--name", container) if container else ()),
            *(f"--publish={LOOPBACK}:{port}:{own}" for port, own in ports.items() if port),
            *(f"--mount=type=bind,source={path.absolute()},target={to},readonly" for path, to in mounts if path),
            *(f"--entrypoint={PROGRAM}", IMAGE),
            *inside.arguments(),
        ]

    def start(self, flags: Flags, log: Path) -> Running:
        """Starts a container in the background; it is removed when it is stopped or this process ends."""
        container = f"fashion-{uuid.uuid4().hex[:12]}"
        # The client passes SIGTERM on to the container, SIGKILL it cannot.
        return self._run(self.command(flags, container), flags, log, SIGTERM, ("docker", "rm", "--force", container))


ENGINES: Final[tuple[Engine, ...]] = (ModelServer(), Docker(), Embedded())
"""In the order of preference: what production runs, its image, and what is always there."""


def choose(name: str = "auto") -> Engine:
    """Returns the engine of that name, for `auto` the first one that is there.

    Raises:
        EngineError: There is no engine of that name, or it cannot run here.
    """
    if name == "auto":
        return next(engine for engine in ENGINES if not engine.missing(automatic=True))
    engine = next((engine for engine in ENGINES if engine.name == name), None)
    if engine is None:
        known = ", ".join(["auto", *(engine.name for engine in ENGINES)])
        raise EngineError(f"There is no engine {name!r}. Expected: {known}. Received: {name}")
    if why := engine.missing():
        raise EngineError(
            f"The engine {name} cannot run here. Expected: {engine.needs}, or the engine embedded. Received: {why}"
        )
    return engine


def free_port() -> int:
    """Returns a port of loopback that nobody listens on now."""
    while True:
        # Below the range that Linux gives to connections going out: they would take it before the server does.
        port = 16384 + secrets.randbelow(16384)
        with socket.socket() as held, suppress(OSError):
            held.bind((LOOPBACK, port))
            return port


def _mounted(path: Path | None) -> Path | None:
    """Where a configuration file lies in the container."""
    return Path("/config") / path.name if path else None


def _answer(command: list[str]) -> str:
    """What a program prints; empty when it fails, hangs or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
