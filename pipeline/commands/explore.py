"""The command `fashion explore`: what is in the data, on one page, and the main findings in the terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.assembly import assemble, resume_command
from pipeline.commands.options import DEFAULT_WORKSPACE, FreshOption, ProfileOption, SetOption, WorkspaceOption
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from analysis.exploration.sections import Pieces
    from pipeline.runner.display import Display
    from pipeline.runner.local_runner import RunResult

PAGE = "exploration.html"


def explore(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    profile: ProfileOption = "default",
    set_: SetOption = None,
    fresh: FreshOption = False,
) -> None:
    """Explores the data: writes reports/exploration.html in the workspace, and prints the main findings.

    What has not changed since the last time is reused. A trained model is looked at too where the workspace has one.
    """
    from pipeline.runner.display import display_for, terminal_console

    place = Workspace(workspace)
    console = terminal_console()
    result = run_exploration(place, profile, set_, fresh, display_for(console))
    page = publish(result, place)
    findings = json.loads((artifact_path(result, place) / "findings.json").read_text(encoding="utf-8"))
    console.print()
    for number, finding in enumerate(findings, start=1):
        console.print(f"{number}. {finding.replace('**', '')}", markup=False)
    console.print(f"\nPage     {page}", soft_wrap=True, markup=False)


def run_exploration(
    workspace: Workspace, profile: str, overrides: list[str] | None, fresh: bool, display: Display
) -> RunResult:
    """Runs the pipeline `exploration`, or reuses what it left; returns where its artifacts are."""
    from pipeline.runner.local_runner import LocalRunner

    pipeline, configuration = assemble("exploration", workspace, profile, overrides)
    runner = LocalRunner(pipeline, workspace, display, resume_command())
    told = {"profile": profile, "configuration": configuration.model_dump(mode="json")}
    return runner.run(list(pipeline.nodes), fresh, told)


def read_exploration(workspace: Workspace, profile: str = "default", overrides: list[str] | None = None) -> Pieces:
    """Returns what the last stage reads, for a notebook; the stages before it run, or what they left is reused."""
    from rich.console import Console

    from components.explorer import read_pieces
    from pipeline.runner.display import PlainDisplay
    from pipeline.runner.graph import Channel

    node = assemble("exploration", workspace, profile, overrides)[0].node("explorer")
    display = PlainDisplay(Console(stderr=True, highlight=False, force_jupyter=False))
    result = run_exploration(workspace, profile, overrides, False, display)
    channels = {name: source for name, source in node.sources.items() if isinstance(source, Channel)}
    inputs: dict[str, Any] = {
        n: c.type(workspace.root / result.artifacts[c.node][c.output].uri) for n, c in channels.items()
    }
    return read_pieces(**inputs, taxonomy=node.parameters["taxonomy"])


def publish(result: RunResult, workspace: Workspace) -> Path:
    """Puts the page where it always stands, `reports/exploration.html`, and returns its path."""
    target = workspace.reports / PAGE
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    shutil.copyfile(artifact_path(result, workspace) / PAGE, unfinished)
    unfinished.replace(target)
    return target


def artifact_path(result: RunResult, workspace: Workspace) -> Path:
    """Returns the directory of the run's Exploration artifact."""
    return workspace.root / result.artifacts["explorer"]["exploration"].uri
