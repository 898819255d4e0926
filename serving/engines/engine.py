"""The serving engines, all started with the flags of tensorflow_model_server.

`tensorflow_model_server` is TensorFlow Serving's own program, `docker` its stock image, and `embedded` our own server
for machines that have neither.
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
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, ClassVar, Final

from pipeline.contract.errors import UserError
from serving.engines.server_process import ServerProcess

if TYPE_CHECKING:
    # Started by name, not imported; imported here so that code that depends on this module depends on the server too.
    import serving.embedded.__main__  # noqa: F401

CONFIG: Final = Path(__file__).resolve().parents[1] / "config"
BATCHING: Final = CONFIG / "batching.config"
MONITORING: Final = CONFIG / "monitoring.config"
IMAGE: Final = "tensorflow/serving:2.19.1"
PROGRAM: Final = "tensorflow_model_server"
LOOPBACK: Final = "127.0.0.1"
ANSWER_SECONDS: Final = 5.0
"""The time limit for a command of the docker client and for the program's `--version`."""


class EngineError(UserError):
    """An engine does not exist, or cannot run on this machine."""


@dataclass(frozen=True)
class Flags:
    """The flags of a server, which are those of tensorflow_model_server.

    Attributes:
        base_path: The directory with the versions.
        model_name: The name of the model in requests.
        rest_port: The port of the REST interface; 0 turns it off.
        grpc_port: The port of the gRPC interface.
        batching: A BatchingParameters file. Defaults to none: the server does not batch requests.
        monitoring: A MonitoringConfig file. Defaults to none: no metrics.
        extra: Further flags, as on the command line.
    """

    base_path: Path
    model_name: str = "fashion"
    rest_port: int = 8501
    grpc_port: int = 8500
    batching: Path | None = None
    monitoring: Path | None = None
    extra: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Returns the command-line flags, with absolute paths, which tensorflow_model_server requires."""
        arguments = [
            f"--port={self.grpc_port}",
            f"--rest_api_port={self.rest_port}",
            f"--model_name={self.model_name}",
            f"--model_base_path={self.base_path.absolute()}",
        ]
        if self.batching:
            arguments += ["--enable_batching=true", f"--batching_parameters_file={self.batching.absolute()}"]
        if self.monitoring:
            arguments.append(f"--monitoring_config_file={self.monitoring.absolute()}")
        return [*arguments, *self.extra]


class Engine(ABC):
    """A way to run a model server.

    Attributes:
        name: Its name on the command line and in the configuration.
        needs: What it needs on the machine.
    """

    name: ClassVar[str]
    needs: ClassVar[str]

    @abstractmethod
    def missing(self, automatic: bool = False) -> str:
        """Returns what the machine lacks for this engine, empty if nothing.

        Args:
            automatic: Whether the engine is chosen automatically, so that it must not cause a large download. Defaults
                to False.
        """

    @abstractmethod
    def version(self) -> str:
        """Returns the name of the server with its version."""

    @abstractmethod
    def command(self, flags: Flags) -> list[str]:
        """Returns the command line that serves in the foreground."""

    def environment(self) -> dict[str, str]:
        """Returns the environment variables of the command. Defaults to those of this process."""
        return dict(os.environ)

    def start(self, flags: Flags, log: Path) -> ServerProcess:
        """Starts the server in the background; it ends with this process.

        Args:
            flags: The flags of the server.
            log: The file for the output of the server.
        """
        return self._run(self.command(flags), flags, log)

    def _run(
        self,
        command: list[str],
        flags: Flags,
        log: Path,
        parent_death_signal: Signals = SIGKILL,
        cleanup: tuple[str, ...] = (),
    ) -> ServerProcess:
        return ServerProcess(
            command,
            self.environment(),
            log,
            rest_url=f"http://{LOOPBACK}:{flags.rest_port}",
            grpc_address=f"{LOOPBACK}:{flags.grpc_port}",
            model_name=flags.model_name,
            parent_death_signal=parent_death_signal,
            cleanup=cleanup,
        )


class Embedded(Engine):
    """The embedded server, in a separate process."""

    name = "embedded"
    needs = "the project itself"

    def missing(self, automatic: bool = False) -> str:
        """Returns nothing: the embedded server comes with the project."""
        return ""

    def version(self) -> str:
        """Returns the version of TensorFlow, which runs the model."""
        return f"embedded server, TensorFlow {metadata.version('tensorflow')}"

    def command(self, flags: Flags) -> list[str]:
        """Returns the command line; -P prevents a folder `serving` in the current directory from shadowing ours."""
        return [sys.executable, "-P", "-m", "serving.embedded", *flags.arguments()]

    def environment(self) -> dict[str, str]:
        """Returns our variables with this package on PYTHONPATH, for the CPU as in the image, and without Keras."""
        root = str(Path(__file__).resolve().parents[2])
        # An installed package needs no path; PYTHONPATH would put all of site-packages before the standard library.
        package = [] if root in site.getsitepackages() else [root]
        paths = [*package, *filter(None, [os.environ.get("PYTHONPATH")])]
        # TF_USE_LEGACY_KERAS keeps `import tensorflow` from importing Keras 3 as well: 3.5 s of processor, not 4.6.
        settings = {"CUDA_VISIBLE_DEVICES": "-1", "TF_USE_LEGACY_KERAS": "1"}
        return os.environ | settings | {"PYTHONPATH": os.pathsep.join(paths)}


class ModelServer(Engine):
    """TensorFlow Serving's own program. It has no flag for an address: it listens on all addresses of the machine."""

    name = PROGRAM
    needs = f"the program {PROGRAM}"

    def missing(self, automatic: bool = False) -> str:
        """Returns a message if the program is not on PATH."""
        return "" if shutil.which(PROGRAM) else f"no {PROGRAM} on PATH (its package exists for amd64 Linux alone)"

    def version(self) -> str:
        """Returns the first line of the output of `--version`."""
        return (_output([PROGRAM, "--version"]) or PROGRAM).splitlines()[0]

    def command(self, flags: Flags) -> list[str]:
        """Returns the command line."""
        return [shutil.which(PROGRAM) or PROGRAM, *flags.arguments()]


class Docker(Engine):
    """TensorFlow Serving's image, with its ports on loopback alone and all mounts read-only."""

    name = "docker"
    needs = "a docker client with a daemon"

    def missing(self, automatic: bool = False) -> str:
        """Returns a message if there is no client, no running daemon or, when chosen automatically, no image yet."""
        if not shutil.which("docker"):
            return "no docker client on PATH"
        if not _output(["docker", "info", "--format", "{{.ServerVersion}}"]):
            return "no docker daemon that answers `docker info`"
        if automatic and not _output(["docker", "image", "inspect", "--format", "{{.Id}}", IMAGE]):
            return f"no image {IMAGE} on this machine (`docker pull {IMAGE}` fetches it)"
        return ""

    def version(self) -> str:
        """Returns the name of the image with its tag."""
        return IMAGE

    def command(self, flags: Flags, container: str = "") -> list[str]:
        """Returns the command line; a name for the container allows others to remove it."""
        inside = replace(
            flags,
            base_path=Path("/models") / flags.model_name,
            rest_port=8501,
            grpc_port=8500,
            batching=_path_in_container(flags.batching),
            monitoring=_path_in_container(flags.monitoring),
        )
        ports = {flags.rest_port: 8501, flags.grpc_port: 8500}
        outside = (flags.base_path, flags.batching, flags.monitoring)
        mounts = zip(outside, (inside.base_path, inside.batching, inside.monitoring), strict=True)
        # --init: a first process ignores SIGTERM.
        return [
            *("docker", "run", "--rm", "--init"),
            *(("--name", container) if container else ()),
            *(f"--publish={LOOPBACK}:{port}:{own}" for port, own in ports.items() if port),
            *(f"--mount=type=bind,source={path.absolute()},target={to},readonly" for path, to in mounts if path),
            *(f"--entrypoint={PROGRAM}", IMAGE),
            *inside.arguments(),
        ]

    def start(self, flags: Flags, log: Path) -> ServerProcess:
        """Starts a container in the background, which is removed when it stops or this process ends."""
        container = f"fashion-{uuid.uuid4().hex[:12]}"
        # The client forwards SIGTERM to the container, but cannot forward SIGKILL.
        return self._run(self.command(flags, container), flags, log, SIGTERM, ("docker", "rm", "--force", container))


ENGINES: Final[tuple[Engine, ...]] = (ModelServer(), Docker(), Embedded())
"""In the order of preference: what production runs, its image, and what always works."""


def choose(name: str = "auto") -> Engine:
    """Returns the engine of that name; for `auto` the first one that can run on this machine.

    Raises:
        EngineError: There is no engine of that name, or it cannot run on this machine.
    """
    if name == "auto":
        return next(engine for engine in ENGINES if not engine.missing(automatic=True))
    engine = next((engine for engine in ENGINES if engine.name == name), None)
    if engine is None:
        known = ", ".join(["auto", *(engine.name for engine in ENGINES)])
        raise EngineError(f"There is no engine {name!r}.", expected=known, received=name)
    if missing := engine.missing():
        raise EngineError(
            f"The engine {name} cannot run on this machine.",
            expected=f"{engine.needs}, or the engine embedded",
            received=missing,
        )
    return engine


def free_port() -> int:
    """Returns a free port of loopback."""
    while True:
        # Below Linux's range for outgoing connections, which could take the port before the server does.
        port = 16384 + secrets.randbelow(16384)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def _path_in_container(path: Path | None) -> Path | None:
    return Path("/config") / path.name if path else None


def _output(command: list[str]) -> str:
    """Returns the output of a program; empty if it fails, hangs or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
