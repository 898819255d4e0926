"""The command `fashion`: runs the pipeline, shows what it is and what it did, and keeps house in its workspace."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

from pipeline.commands.assembly import assemble, resume_command
from pipeline.commands.catalogue import catalogue
from pipeline.commands.experiment import experiment
from pipeline.commands.explore import explore
from pipeline.commands.options import DEFAULT_WORKSPACE, FreshOption, ProfileOption, SetOption, WorkspaceOption
from pipeline.commands.predict import predict
from pipeline.commands.serve import serve
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace

app = typer.Typer(
    help="The reference pipeline for grouped fashion classification. Any command takes --debug, for stack traces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

FromOption = Annotated[Optional[str], typer.Option("--from", help="Starts at this stage; those before it stand.")]
UntilOption = Annotated[Optional[str], typer.Option("--until", help="Ends with this stage.")]
OnlyOption = Annotated[Optional[str], typer.Option("--only", help="Runs this stage alone.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON.")]

NOT_BLESSED = 3


@app.command()
def run(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    fresh: FreshOption = False,
) -> None:
    """Runs the pipeline; what has not changed is reused.

    Exits with 0 when the model was blessed (or no stage that judges it was asked for), 3 when it was not, 1 on an
    error and 130 after Ctrl-C.
    """
    from pipeline.commands.summary import print_summary, refusals
    from pipeline.runner.display import display_for, terminal_console
    from pipeline.runner.local_runner import LocalRunner

    place = Workspace(workspace)
    pipeline, configuration = assemble("fashion", place, profile, set_)
    selected = pipeline.select(from_, until, only)
    console = terminal_console()
    runner = LocalRunner(pipeline, place, display_for(console), resume_command())
    result = runner.run(selected, fresh, {"profile": profile, "configuration": configuration.model_dump(mode="json")})
    print_summary(console, result, place)
    if refusals(result, place, selected):
        raise typer.Exit(NOT_BLESSED)


@app.command()
def explain(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Says for every stage whether `fashion run` would run it or reuse it, and why."""
    from pipeline.runner.metadata_store import MetadataStore
    from pipeline.runner.plan import Planner

    place = Workspace(workspace)
    pipeline, _ = assemble("fashion", place, profile, set_)
    # Before the first run there is nothing to compare with, and nothing to write down either.
    store = MetadataStore(place.store if place.store.exists() else Path(":memory:"))
    decisions = Planner(pipeline, place, store).explain(pipeline.select(from_, until, only), fresh)
    if as_json:
        _print_json([{"stage": d.node.name, "action": d.action, "reasons": d.reasons} for d in decisions])
        return
    for decision in decisions:
        print(f"{decision.node.name:<18} {decision.action:<6} {'; '.join(decision.reasons)}")


@app.command()
def show(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    as_json: JsonOption = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Prints a Mermaid flowchart.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Prints every parameter with its value.")] = False,
) -> None:
    """Shows the graph: every stage with what it reads and writes."""
    from pipeline.commands import picture

    pipeline, configuration = assemble("fashion", Workspace(workspace), profile, set_)
    if as_json:
        _print_json(picture.as_table(pipeline, configuration))
    elif mermaid:
        print(picture.as_mermaid(pipeline))
    else:
        print(picture.as_parameters(configuration) if parameters else picture.as_text(pipeline))


@app.command()
def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Shows the latest run: the state of every stage, how long it took, and where its artifacts are."""
    from pipeline.commands import status as record

    place = Workspace(workspace)
    table = record.latest_run(_store(place), place)
    if as_json:
        _print_json(table)
    else:
        print(record.as_text(table))


@app.command()
def lineage(
    artifact: Annotated[str, typer.Argument(help="The number, path or type of an artifact, or a stage's name.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Walks from an artifact back to the data that it came from."""
    from pipeline.runner import lineage as walk

    place = Workspace(workspace)
    tree = walk.trace(_store(place), place, artifact)
    if as_json:
        _print_json(tree)
    else:
        print(walk.as_text(tree))


@app.command()
def tensorboard(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 6006,
) -> None:
    """Starts TensorBoard on the logs of the tuner and the trainer, on this machine only."""
    logs = Workspace(workspace).logs
    if not any(logs.glob("**/*tfevents*")):
        raise UserError(
            f"There is nothing to look at in {logs}.",
            expected="the logs of a tuner or a trainer",
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
    version: Annotated[Optional[int], typer.Argument(help="The version to serve; the one before by default.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Makes an earlier pushed version the newest again; TensorFlow Serving picks it up by itself."""
    from serving.versions import VersionError
    from serving.versions import rollback as roll_back

    place = Workspace(workspace)
    with place.lock():
        try:
            restored = roll_back(place.serving, version)
        except VersionError as error:
            raise UserError(str(error), next_step="fashion status") from None
    print(f"Version {restored.number} serves what version {restored.source} served: {restored.path}")


@app.command()
def clean(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    everything: Annotated[bool, typer.Option("--all", help="Removes all but the pushed models.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only says what would be removed.")] = False,
) -> None:
    """Removes the artifacts and logs that the latest run did not use."""
    from pipeline.commands.cleaning import clean as remove

    place = Workspace(workspace)
    removed = remove(place, everything, dry_run)
    verb = "Would remove" if dry_run else "Removed"
    print(f"{verb} {len(removed.paths)} directories, {removed.bytes / 2**20:,.1f} MiB, in {place.root}")


@app.command()
def repair(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Makes a damaged or lost metadata store again from the finished stages."""
    from pipeline.runner.recovery import repair as make_again

    moved, stages = make_again(Workspace(workspace))
    print("The metadata store was intact." if moved is None else f"The damaged file was moved to {moved}.")
    print(f"Executions recorded again: {len(stages)}{' (' + ', '.join(stages) + ')' if stages else ''}")


def _store(workspace: Workspace) -> Any:
    from pipeline.runner.metadata_store import MetadataStore

    if not workspace.store.exists():
        raise UserError(
            f"Nothing has run in the workspace {workspace.root}.",
            expected=f"a metadata store at {workspace.store}",
            received="none",
            next_step="fashion run",
        )
    return MetadataStore(workspace.store)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line; a user's mistake ends in a paragraph, with a stack trace only under `--debug`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        app([a for a in arguments if a != "--debug"], prog_name="fashion", standalone_mode=True)
    except UserError as error:
        if debug:
            raise
        print(f"\n{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        said = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        print(f"\n{said}\nNext: the same command with --debug", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
