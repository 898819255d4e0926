"""The command `fashion serve`: starts an engine on the pushed versions, and announces it when it answers."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.commands.options import DEFAULT_WORKSPACE, WorkspaceOption
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.files import write_text
from pipeline.contract.printable import printable_lines
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from serving.engines.engine import Engine, Flags
    from serving.engines.server_process import ServerProcess

# A version that is being copied may be complete a moment later; a broken one fails within seconds, not minutes.
RETRIES = ("--max_num_load_retries=2", "--load_retry_interval_micros=2000000")
START_SECONDS = 600.0
"""Long enough for a first pull of the Docker image."""
NEWEST_SECONDS = 10.0
"""How long to wait for the newest version once an older one answers, which with labels may load first."""


def serve(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    engine: Annotated[
        str, typer.Option(help="auto, tensorflow_model_server, docker or embedded; auto takes the first available.")
    ] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of REST; 0 turns it off.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="The port of gRPC; 0 turns it off.")] = 8500,
    label: Annotated[
        Optional[list[str]],
        typer.Option(help="Label a version, such as canary=4; may be repeated. All versions are then served."),
    ] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Leave out the page to try the model (embedded).")] = False,
    flag: Annotated[
        Optional[list[str]], typer.Option(help="One more flag for the server, such as --flag=--rest_api_num_threads=8.")
    ] = None,
) -> None:
    """Serve the newest pushed model over REST and gRPC with TensorFlow Serving's interface, on loopback.

    (tensorflow_model_server has no flag for the address: it listens on all addresses.)

    The server picks up pushes and rollbacks while it runs. Ctrl-C stops it.
    """
    base = Workspace(directory).serving
    chosen, flags = choose_engine(base, engine, port, grpc_port, label or [], not no_ui, flag or [])
    _check_ports(port, grpc_port)
    # Shells start background jobs with SIGINT ignored; SIGTERM stops the server as Ctrl-C does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log = _log_file(Workspace(directory), port or grpc_port)
    _say(f"Starting the engine {chosen.name}; its output goes to {log}")
    with suggest(f"see {log}"), chosen.start(flags, log) as server:
        try:
            version = _wait_until_open(server, flags)
            _say(announcement(chosen, flags, version))
            server.process.wait()
        except KeyboardInterrupt:
            raise typer.Exit(max(0, server.stop())) from None
        server.check()


def choose_engine(
    base: Path, engine: str, port: int, grpc_port: int, labels: list[str], ui: bool, flags: list[str]
) -> tuple[Engine, Flags]:
    """Returns the engine and the flags to start it with.

    Args:
        base: The directory with the pushed versions.
        engine: The engine's name, or "auto".
        port: The port of REST.
        grpc_port: The port of gRPC.
        labels: Versions by name, as "canary=4".
        ui: Whether the embedded engine shows its page.
        flags: Further flags of the server.

    Raises:
        UserError: Nothing was pushed, an empty directory hides the versions, the engine is not available, or a label is
            malformed.
    """
    from serving.engines.engine import BATCHING, MONITORING, Flags, choose
    from serving.versions import GRAPH, hiding_directories

    pushed = _pushed_numbers(base)
    if not pushed:
        raise UserError(
            "There is nothing to serve.",
            expected=f"a pushed version in {base}",
            received="none",
            next_step="fashion run",
        )
    # With labels, servers load all versions, and one that fails hides none.
    if not labels and (hiding := hiding_directories(base)):
        name = shlex.quote(str(hiding[-1]))
        raise UserError(
            f"A server would try to load {hiding[-1].name} instead of version {pushed[-1]}.",
            expected=f"{GRAPH} in {hiding[-1]}",
            received="no such file",
            next_step=f"mv {name} {name}.unused",
        )
    with suggest("fashion serve --engine embedded"):
        chosen = choose(engine)
    extra = [*RETRIES, *_label_flags(base, labels, pushed, chosen.name), *flags]
    if chosen.name == "embedded" and not ui:
        extra.append("--ui=false")
    return chosen, Flags(base, base.name, port, grpc_port, BATCHING, MONITORING, tuple(extra))


def _check_ports(port: int, grpc_port: int) -> None:
    """Raises UserError when both ports are off, or when another server answers, whose version would be announced."""
    from serving.engines.engine import free_port

    if not port and not grpc_port:
        raise UserError(
            "Both ports are off.",
            expected="a port of REST or of gRPC",
            received="--port 0 --grpc-port 0",
            next_step="fashion serve",
        )
    for option, number in (("--port", port), ("--grpc-port", grpc_port)):
        if number and _accepts(number):
            raise UserError(
                f"Port {number} is in use.",
                expected="a port that no other program listens on",
                received=f"{option} {number}",
                next_step=f"fashion serve {option} {free_port()}",
            )


def announcement(engine: Engine, flags: Flags, version: int | None) -> str:
    """Returns the lines that name the version that answers, and the addresses that it answers at."""
    from serving.engines.engine import PROGRAM

    number = "The newest version" if version is None else f"Version {version}"
    lines = [f"{number} of {flags.model_name} is served by {engine.name}. Ctrl-C stops it."]
    if flags.rest_port:
        lines.append(f"REST     http://127.0.0.1:{flags.rest_port}/v1/models/{flags.model_name}")
    if flags.grpc_port:
        lines.append(f"gRPC     127.0.0.1:{flags.grpc_port}")
    if flags.rest_port and engine.name == "embedded" and "--ui=false" not in flags.extra:
        lines.append(f"Page     http://127.0.0.1:{flags.rest_port}/")
    if engine.name == PROGRAM:
        lines.append("It listens on all addresses of this machine.")
    return "\n".join(lines)


def _wait_until_open(server: ServerProcess, flags: Flags) -> int | None:
    """Waits until the ports answer; returns the version that REST reports, None without REST.

    Raises:
        NotServingError: The server has ended, or it does not answer in time.
    """
    from serving.engines.server_process import NotServingError

    version = None
    if flags.rest_port:
        version = server.wait_until_ready(START_SECONDS)
        newest, deadline = _pushed_numbers(flags.base_path)[-1], time.monotonic() + NEWEST_SECONDS
        while version < newest and time.monotonic() < deadline:
            time.sleep(0.1)
            version = server.wait_until_ready(START_SECONDS)
    deadline = time.monotonic() + START_SECONDS
    while flags.grpc_port and not _accepts(flags.grpc_port):
        server.check()
        if time.monotonic() > deadline:
            raise NotServingError(
                f"The server is not ready after {START_SECONDS:g} seconds.",
                expected=f"an open port {flags.grpc_port}",
                received=server.last_line(),
            )
        time.sleep(0.1)
    return version


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _log_file(workspace: Workspace, port: int) -> Path:
    """Returns the file for the server's output; outside the workspace where that cannot be written."""
    try:
        workspace.logs.mkdir(parents=True, exist_ok=True)
        log = workspace.logs / f"serve-{port}.log"
        log.touch()
    except OSError:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="fashion-serve-")) / f"serve-{port}.log"
    return log


def _say(text: str) -> None:
    print(printable_lines(text), file=sys.stderr, flush=True)


def _pushed_numbers(base: Path) -> list[int]:
    from serving.versions import versions

    return [version.number for version in versions(base)]


def _label_flags(base: Path, labels: list[str], pushed: list[int], engine: str) -> list[str]:
    """Writes the labels into a configuration file, since TensorFlow Serving has no flag for them; returns its flags."""
    if not labels:
        return []
    if engine == "docker":
        raise UserError(
            "The docker engine cannot take labels from here.",
            expected="a model_config_file mounted into the container",
            received=f"--label {labels[0]}",
            next_step="fashion serve --engine embedded, or see docs/deployment.md",
        )
    entries = " ".join(
        f'version_labels {{ key: "{name}" value: {number} }}'
        for name, number in (_parse_label(label, pushed) for label in labels)
    )
    config = (
        f'model_config_list {{ config {{ name: "{base.name}" base_path: "{base.absolute()}" '
        f'model_platform: "tensorflow" model_version_policy {{ all {{}} }} {entries} }} }}\n'
    )
    path = write_text(base.parent / "models.config", config)
    return [
        f"--model_config_file={path.absolute()}",
        # Editing the file moves a label while the server runs.
        "--model_config_file_poll_wait_seconds=1",
        # Without it the real server accepts no label at its start, when no version is loaded yet.
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _parse_label(text: str, pushed: list[int]) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not (equals and name.isidentifier() and number.isdecimal() and int(number) in pushed):
        raise UserError(
            f"{text} is not a label of a version.",
            expected=f"a name and a pushed version, such as canary={pushed[-1]}; pushed: {', '.join(map(str, pushed))}",
            received=text,
            next_step=f"fashion serve --label canary={pushed[-1]}",
        )
    return name, int(number)
