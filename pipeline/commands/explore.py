"""The command `fashion explore`: what the images are like, on one page, with the main findings in the terminal."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.taxonomy import Taxonomy
from pipeline.commands.options import (
    DEFAULT_WORKSPACE,
    FreshOption,
    ProfileOption,
    SetOption,
    WorkspaceOption,
    assemble,
    resume_command,
)
from pipeline.contract.errors import UserError
from pipeline.contract.files import atomic_path
from pipeline.runner.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.contract.artifacts import (
        Examples,
        Exploration,
        ImageNeighbours,
        Model,
        ModelEvaluation,
        OutOfFoldPredictions,
    )
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


@dataclass(frozen=True)
class NotebookArtifacts:
    """What the notebook reads.

    Attributes:
        examples: The images that the newest exploration is of.
        neighbours: Their nearest training images.
        out_of_fold: Out-of-fold predictions for them.
        evaluation: The newest evaluation.
        model: The model that it evaluated.
        grouped: The examples that it was evaluated on.
        taxonomy: The groups that it was evaluated with.
    """

    examples: Examples
    neighbours: ImageNeighbours
    out_of_fold: OutOfFoldPredictions
    evaluation: ModelEvaluation
    model: Model
    grouped: Examples
    taxonomy: Taxonomy


def newest_artifacts(workspace: Workspace) -> NotebookArtifacts:
    """Returns the artifacts of the newest exploration and of the newest evaluation.

    Raises:
        UserError: The workspace lacks one of them.
    """
    from pipeline.contract.artifacts import Examples, ImageNeighbours, Model, ModelEvaluation, OutOfFoldPredictions
    from pipeline.runner.metadata_store import ExecutionRecord, MetadataStore

    def latest(stage: str, command: str) -> tuple[ExecutionRecord, dict[str, Path]]:
        execution = store.latest_execution(stage)
        if execution is None:
            raise UserError(
                f"The stage {stage} has not finished in {workspace.root}.",
                expected="one finished execution",
                received="none",
                next_step=f"{command} --workspace {workspace.root}",
            )
        events = store.events(execution.id, "INPUT") | store.events(execution.id, "OUTPUT")
        return execution, {name: workspace.root / artifact.uri for name, artifact in events.items()}

    with MetadataStore(workspace.store, read_only=True) as store:
        execution, evaluated = latest("evaluator", "fashion run")
        _, explored = latest("explorer", "fashion explore")
    return NotebookArtifacts(
        examples=Examples(explored["examples"]),
        neighbours=ImageNeighbours(explored["neighbours"]),
        out_of_fold=OutOfFoldPredictions(explored["predictions"]),
        evaluation=ModelEvaluation(evaluated["evaluation"]),
        model=Model(evaluated["model"]),
        grouped=Examples(evaluated["examples"]),
        taxonomy=Taxonomy.from_table(execution.properties["key_parts"]["parameters"]["taxonomy"]),
    )


def publish(exploration: Exploration, workspace: Workspace) -> Path:
    """Copies the page to `reports/exploration.html` in the workspace, and returns its path."""
    target = workspace.reports / exploration.page_file.name
    with atomic_path(target) as hidden:
        shutil.copyfile(exploration.page_file, hidden)
    return target
