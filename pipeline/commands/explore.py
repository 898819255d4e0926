"""The command `fashion explore`: what the images are like, on one page, with the main findings in the terminal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.options import (
    DEFAULT_WORKSPACE,
    FreshOption,
    ProfileOption,
    SetOption,
    WorkspaceOption,
    assemble,
    resume_command,
)
from pipeline.contract.files import atomic_path
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from analysis.exploration.report import ExplorationInputs
    from pipeline.contract.artifacts import Exploration
    from pipeline.runner.display import Display
    from pipeline.runner.local_runner import RunResult


def explore(
    directory: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Explore the data: write reports/exploration.html in the workspace and print the main findings.

    Stages that have not changed are reused. A trained model is examined too if the workspace has one.
    """
    from pipeline.runner.display import display_for, terminal_console

    workspace = Workspace(directory)
    console = terminal_console()
    _, exploration = run_exploration(workspace, profile, set_, fresh, display_for(console))
    page = publish(exploration, workspace)
    console.print()
    for number, finding in enumerate(exploration.findings(), start=1):
        console.print(f"{number}. {finding.replace('**', '')}", markup=False)
    console.print(f"\nPage     {page}", soft_wrap=True, markup=False)


def run_exploration(
    workspace: Workspace, profile: str, overrides: list[str] | None, fresh: bool, display: Display
) -> tuple[RunResult, Exploration]:
    """Runs the pipeline `exploration`, or reuses its results; returns them and the last stage's artifact."""
    pipeline, configuration = assemble("exploration", workspace, profile, overrides)
    from pipeline.contract.artifacts import Exploration
    from pipeline.runner.local_runner import LocalRunner

    runner = LocalRunner(pipeline, workspace, display, resume_command())
    properties = {"profile": profile, "configuration": configuration.model_dump(mode="json")}
    result = runner.run(list(pipeline.nodes), fresh, properties)
    exploration = result.last(Exploration)
    assert exploration is not None, "every stage was selected"
    return result, exploration


def read_exploration(
    workspace: Workspace, profile: str = "default", overrides: list[str] | None = None
) -> ExplorationInputs:
    """Returns the inputs of the last stage for a notebook; runs the stages before it, or reuses their results."""
    from rich.console import Console

    from components.explorer import explorer, read_inputs
    from pipeline.runner.display import PlainDisplay
    from pipeline.runner.graph import Channel

    node = assemble("exploration", workspace, profile, overrides)[0].node(explorer.spec.name)
    display = PlainDisplay(Console(stderr=True, highlight=False, force_jupyter=False))
    result, _ = run_exploration(workspace, profile, overrides, False, display)
    channels = {name: source for name, source in node.sources.items() if isinstance(source, Channel)}
    inputs: dict[str, Any] = {name: result.artifact(channel) for name, channel in channels.items()}
    return read_inputs(**inputs, taxonomy=node.parameters["taxonomy"])


def publish(exploration: Exploration, workspace: Workspace) -> Path:
    """Copies the page to `reports/exploration.html` in the workspace, and returns its path."""
    target = workspace.reports / exploration.page_file.name
    with atomic_path(target) as hidden:
        shutil.copyfile(exploration.page_file, hidden)
    return target
