"""The command `fashion serve`: starts an engine on the versions that were pushed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.options import DEFAULT_WORKSPACE, WorkspaceOption
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace

# A version that is being copied may be whole a moment later; one that is broken is told of after seconds, not minutes.
RETRIES = ("--max_num_load_retries=2", "--load_retry_interval_micros=2000000")


def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    engine: Annotated[
        str, typer.Option(help="auto, tensorflow_model_server, docker or embedded; auto takes the first that is there.")
    ] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of REST; 0 is off.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="The port of gRPC; 0 is off.")] = 8500,
    label: Annotated[
        Optional[list[str]],
        typer.Option(help="Names a version, such as canary=4; may be repeated. All versions are then served."),
    ] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Leaves out the page to try the model (embedded).")] = False,
    flag: Annotated[
        Optional[list[str]], typer.Option(help="One more flag for the server, such as --flag=--rest_api_num_threads=8.")
    ] = None,
) -> None:
    """Serves the newest pushed model over REST and gRPC as TensorFlow Serving does, to this machine only.

    (tensorflow_model_server cannot be told so: it listens on all addresses.)

    Pushes and rollbacks are taken over while it runs. Ctrl-C ends it.
    """
    command, environment, where = server_command(
        Workspace(workspace).serving, engine, port, grpc_port, label or [], not no_ui, flag or []
    )
    print(where, file=sys.stderr, flush=True)
    os.execvpe(command[0], command, environment)


def server_command(
    base: Path, engine: str, port: int, grpc_port: int, labels: list[str], ui: bool, flags: list[str]
) -> tuple[list[str], dict[str, str], str]:
    """Returns the command that serves, its environment, and where it will answer.

    Args:
        base: The directory with the pushed versions.
        engine: Which engine, or "auto".
        port: The port of REST.
        grpc_port: The port of gRPC.
        labels: Versions by name, as "canary=4".
        ui: Whether the embedded engine shows its page.
        flags: Further flags of the server.

    Raises:
        UserError: Nothing was pushed, the engine is not there, or a label is none.
    """
    from serving.engines.engine import BATCHING, MONITORING, PROGRAM, EngineError, Flags, choose
    from serving.versions import versions

    held = [version.number for version in versions(base)]
    if not held:
        raise UserError(
            "There is nothing to serve.",
            expected=f"a pushed version in {base}",
            received="none",
            next_step="fashion run",
        )
    try:
        chosen = choose(engine)
    except EngineError as error:
        raise UserError(str(error), next_step="fashion serve --engine embedded") from None
    extra = [*RETRIES, *_label_flags(base, labels, held, chosen.name), *flags]
    if chosen.name == "embedded" and not ui:
        extra.append("--ui=false")
    command = chosen.command(Flags(base, base.name, port, grpc_port, BATCHING, MONITORING, tuple(extra)))
    page = f", a page to try it at http://127.0.0.1:{port}/" if ui and port and chosen.name == "embedded" else ""
    reach = "; it listens on all addresses of this machine" if chosen.name == PROGRAM else ""
    where = (
        f"Version {held[-1]} of {base.name} by {chosen.name}: REST http://127.0.0.1:{port}/v1/models/{base.name}, "
        f"gRPC 127.0.0.1:{grpc_port}{page}{reach}"
    )
    return command, chosen.environment(), where


def _label_flags(base: Path, labels: list[str], held: list[int], engine: str) -> list[str]:
    """Labels are no flag of TensorFlow Serving: they need a configuration file."""
    if not labels:
        return []
    if engine == "docker":
        raise UserError(
            "The docker engine cannot take labels from here.",
            expected="a model_config_file mounted into the container",
            received=f"--label {labels[0]}",
            next_step="fashion serve --engine embedded, or see docs/deployment.md",
        )
    entries = " ".join(f'version_labels {{ key: "{n}" value: {v} }}' for n, v in (_label(x, held) for x in labels))
    config = (
        f'model_config_list {{ config {{ name: "{base.name}" base_path: "{base.absolute()}" '
        f'model_platform: "tensorflow" model_version_policy {{ all {{}} }} {entries} }} }}\n'
    )
    path = base.parent / "models.config"
    path.write_text(config, encoding="utf-8")
    return [
        f"--model_config_file={path.absolute()}",
        # Whoever edits the file moves a label, while the server runs.
        "--model_config_file_poll_wait_seconds=1",
        # Without it the real server takes no label at its start, when nothing is loaded yet.
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _label(text: str, held: list[int]) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not (equals and name.isidentifier() and number.isdecimal() and int(number) in held):
        raise UserError(
            f"{text} is no label.",
            expected=f"a name and a pushed version, such as canary={held[-1]}; pushed are {', '.join(map(str, held))}",
            received=text,
            next_step=f"fashion serve --label canary={held[-1]}",
        )
    return name, int(number)
