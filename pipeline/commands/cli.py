"""The command line `fashion`: its commands, and how a user's error is printed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from pipeline.commands.catalogue import catalogue
from pipeline.commands.experiment import experiment
from pipeline.commands.explore import explore
from pipeline.commands.next_steps import DEBUG, next_step_after
from pipeline.commands.options import (
    DEFAULT_WORKSPACE,
    FreshOption,
    JsonOption,
    ProfileOption,
    SetOption,
    WorkspaceOption,
    assemble,
    convert_without_pydantic,
    renamed_option,
    resume_command,
)
from pipeline.commands.predict import predict
from pipeline.commands.serve import serve
from pipeline.contract.disk_space import full_disk_error
from pipeline.contract.errors import UserError, suggest
from pipeline.contract.interrupts import EXIT_CODE, handle_interrupts, was_interrupted
from pipeline.contract.printable import printable_lines
from pipeline.runner.display import discard_output, open_standard_streams
from pipeline.runner.workspace import Workspace

app = typer.Typer(
    help="The reference pipeline for grouped fashion classification. Every command takes --debug for stack traces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

FromOption = Annotated[Optional[str], typer.Option("--from", help="Start at this stage; keep the results before it.")]
UntilOption = Annotated[Optional[str], typer.Option("--until", help="Stop after this stage.")]
OnlyOption = Annotated[Optional[str], typer.Option("--only", help="Run this stage alone.")]

NOT_BLESSED = 3


@app.command()
def run(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    fresh: FreshOption = False,
) -> None:
    """Run the pipeline; reuse what has not changed.

    Exit codes: 0 when the model is blessed or no selected stage judges it, 3 when it is not blessed, 1 on an error,
    130 after Ctrl-C.
    """
    workspace = Workspace(directory)
    pipeline, configuration = assemble("fashion", workspace, profile, set_)
    from pipeline.commands.summary import expected_time_announcer, print_summary, refusals
    from pipeline.runner.display import display_for, terminal_console
    from pipeline.runner.local_runner import LocalRunner

    selected = pipeline.select(from_, until, only)
    console = terminal_console()
    display = display_for(console)
    announcer = expected_time_announcer(pipeline, selected, profile, configuration.expected_minutes, display.message)
    runner = LocalRunner(pipeline, workspace, display, resume_command(), announcer)
    result = runner.run(selected, fresh, {"profile": profile, "configuration": configuration.model_dump(mode="json")})
    print_summary(console, result, workspace)
    if refusals(result, selected):
        raise typer.Exit(NOT_BLESSED)


@app.command()
def explain(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Explain for every stage whether `fashion run` would run or reuse it, and why."""
    workspace = Workspace(directory)
    pipeline, configuration = assemble("fashion", workspace, profile, set_)
    from pipeline.commands.summary import planned_training_time
    from pipeline.runner.metadata_store import MetadataStore
    from pipeline.runner.plan import Planner
    from pipeline.runner.store_recovery import adopt_finished

    with MetadataStore(workspace.store, read_only=True) as store:
        adopt_finished(store, workspace)  # as the run would do
        decisions = Planner(pipeline, workspace, store).explain(pipeline.select(from_, until, only), fresh)
    if as_json:
        _print_json([{"stage": d.node.name, "action": d.action, "reasons": d.reasons} for d in decisions])
        return
    for decision in decisions:
        print(f"{decision.node.name:<18} {decision.action:<6} {'; '.join(decision.reasons)}")
    running = [decision.node.name for decision in decisions if decision.action == "run"]
    if text := planned_training_time(running, profile, configuration.expected_minutes):
        print(text)


@app.command()
def show(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    as_json: JsonOption = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Print every parameter with its value.")] = False,
) -> None:
    """Show the graph: every stage with its inputs and outputs."""
    workspace = Workspace(directory)
    pipeline, configuration = assemble("fashion", workspace, profile, set_)
    from pipeline.commands import graph_rendering

    if as_json:
        from pipeline.runner.fingerprint import SourceReader

        _print_json(graph_rendering.as_json(pipeline, configuration, SourceReader(cache_file=workspace.source_cache)))
    elif mermaid:
        print(graph_rendering.as_mermaid(pipeline))
    elif parameters:
        print(graph_rendering.as_parameters(configuration))
    else:
        print(graph_rendering.as_text(pipeline))


@app.command()
def status(directory: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show the latest run: the state of every stage, its duration, and the paths of its artifacts."""
    from pipeline.commands.summary import latest_run, latest_run_text
    from pipeline.runner.store_recovery import read_store

    workspace = Workspace(directory)
    with read_store(workspace) as (store, recovered):
        table = latest_run(store, workspace, recovered)
    if as_json:
        _print_json(table)
    else:
        print(printable_lines(latest_run_text(table)))


@app.command()
def lineage(
    artifact: Annotated[str, typer.Argument(help="The number, path or type of an artifact, or a stage's name.")],
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Trace an artifact back to the data that it was made from."""
    from pipeline.runner import lineage as tracing
    from pipeline.runner.store_recovery import read_store

    workspace = Workspace(directory)
    with read_store(workspace) as (store, _):
        tree = tracing.trace(store, workspace, artifact)
    if as_json:
        _print_json(tree)
    else:
        print(printable_lines(tracing.as_text(tree)))


@app.command()
def tensorboard(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 6006,
) -> None:
    """Start TensorBoard on the logs of the Tuner and the Trainer, on loopback."""
    logs = Workspace(directory).logs
    if not any(logs.glob("**/*tfevents*")):
        raise UserError(
            f"There is nothing to show in {logs}.",
            expected="the logs of a Tuner or a Trainer",
            received="no event files",
            next_step="fashion run",
        )
    command = ["-m", "tensorboard.main", "--logdir", str(logs), "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *command])


app.add_typer(catalogue, name="catalogue")
app.add_typer(experiment, name="experiment")
app.command()(explore)
app.command()(serve)
app.command()(predict)


@app.command()
def rollback(
    version: Annotated[Optional[int], typer.Argument(help="The version to serve; by default the one before.")] = None,
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make an earlier pushed version the newest again; TensorFlow Serving loads it by itself."""
    from serving.versions import rollback as roll_back

    workspace = Workspace(directory)
    with workspace.lock(), suggest("fashion status"):
        restored = roll_back(workspace.serving, version)
    print(f"Version {restored.number} serves what version {restored.source} served: {restored.path}")


@app.command()
def clean(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything but the pushed models.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
) -> None:
    """Remove the artifacts and logs that the latest run did not use."""
    from pipeline.commands.cleaning import clean as remove

    workspace = Workspace(directory)
    removed = remove(workspace, everything, dry_run)
    verb = "Would remove" if dry_run else "Removed"
    print(f"{verb} {len(removed.paths)} directories, {removed.bytes / 2**20:,.1f} MiB, in {workspace.root}")


@app.command()
def repair(directory: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Rebuild a damaged or lost metadata store from the finished stages."""
    from pipeline.runner.store_recovery import repair as rebuild

    workspace = Workspace(directory)
    lost = not workspace.store.exists()
    recovered = rebuild(workspace)
    moved, stages = recovered.damaged_store, recovered.stages
    intact = "There was no metadata store." if lost else "The metadata store was intact."
    print(intact if moved is None else f"The damaged file was moved to {moved}.")
    print(f"Executions recorded again: {len(stages)}{' (' + ', '.join(stages) + ')' if stages else ''}")
    for file in recovered.unreadable:
        print(f"Not recorded, because it cannot be read: {file}")


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line; a user's error is printed as a paragraph, and with a stack trace under `--debug`."""
    open_standard_streams()
    handle_interrupts()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    convert_without_pydantic()
    try:
        if renamed := renamed_option(["fashion", *arguments]):
            raise renamed
        try:
            app(arguments, prog_name="fashion", standalone_mode=True)
        finally:
            _flush_output()
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
    except BrokenPipeError:
        discard_output(sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        shown = _as_user_error(error)
        if debug or shown is None:
            raise
        if shown.exit_code != EXIT_CODE:  # an interrupted command is resumed by repeating it
            shown.next_step = shown.next_step and next_step_after(arguments, shown.next_step, _takes_workspace)
        print(f"\n{printable_lines(shown)}", file=sys.stderr)
        sys.exit(EXIT_CODE if was_interrupted() else shown.exit_code)
    sys.exit(0)


def _flush_output() -> None:
    """Writes what is buffered; a reader that has gone must not replace the outcome of the command."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output(sys.stdout.fileno())


def _takes_workspace(command: str) -> bool:
    found = typer.main.get_command(app).commands.get(command)  # type: ignore[attr-defined]
    return found is not None and any("--workspace" in parameter.opts for parameter in found.params)


def _as_user_error(error: Exception) -> UserError | None:
    """Returns the error to print instead of a stack trace; None for one that nobody expected."""
    if isinstance(error, UserError):
        return error
    if was_interrupted():
        return UserError("Interrupted.")
    if isinstance(error, OSError):
        headline = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        return full_disk_error(error, Path(error.filename or ".").parent) or UserError(headline, next_step=DEBUG)
    return None


if __name__ == "__main__":
    main()
