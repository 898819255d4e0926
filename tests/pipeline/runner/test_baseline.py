"""Which earlier artifacts a stage gets: the latest blessed one, what stands beside it or for it, and the newest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.commands.cleaning import clean
from pipeline.contract.artifacts import Artifact, Model, ModelBlessing, ServedModel
from pipeline.runner.display import PlainDisplay
from pipeline.runner.graph import Latest, LatestBlessed, Pipeline, Source
from pipeline.runner.lineage import as_text, trace
from pipeline.runner.local_runner import LocalRunner, RunResult
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run
from tests.pipeline.runner.toy import judge, learn, source
from tests.pipeline.runner.toy_memory import remembering


def serve(workspace: Workspace, version: int, total: int) -> Path:
    """Puts a toy model into the serving directory as TensorFlow Serving would find it."""
    directory = workspace.serving / str(version)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.json").write_text(json.dumps({"total": total}))
    return directory


def newest_other(workspace: Workspace, candidate: Artifact) -> Artifact | None:
    """Returns the highest version that knows another total than the candidate."""

    def total(path: Path) -> Any:
        return json.loads((path / "model.json").read_text())["total"]

    versions = sorted(workspace.serving.glob("*"), key=lambda path: int(path.name), reverse=True)
    return next((ServedModel(path) for path in versions if total(path) != total(candidate.path)), None)


def judged(workspace: Workspace, count: int, at_least: int = 0, baseline: str = "served") -> RunResult:
    """Runs source, learn and judge; the judge's baseline has the source of that name."""
    pipeline = Pipeline("toy")
    examples = pipeline.add(source, seed=1, count=count)["examples"]
    model = pipeline.add(learn, examples=examples)["model"]
    sources: dict[str, Source | None] = {
        "served": LatestBlessed(model, otherwise=lambda candidate: newest_other(workspace, candidate)),
        "newest": Latest(Model),
        "none": None,
    }
    pipeline.add(judge, model=model, baseline=sources[baseline], destination=workspace.serving, at_least=at_least)
    return LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True))).run(list(pipeline.nodes))


def total_of_baseline(workspace: Workspace, result: RunResult) -> int | None:
    """Returns the total of the model that the judge compared with."""
    path = workspace.root / result.artifacts["judge"]["blessing"].uri / "verdict.json"
    value: int | None = json.loads(path.read_text())["baseline"]
    return value


def test_the_newest_served_version_stands_in_for_a_blessed_model(workspace: Workspace) -> None:
    """It is found by number and recorded as an input, and its content decides whether the judge runs again."""
    serve(workspace, 9, total=50)
    newest = serve(workspace, 10, total=60)
    assert total_of_baseline(workspace, judged(workspace, 3)) == 60
    assert not judged(workspace, 3).seconds
    store = MetadataStore(workspace.store)
    execution = store.latest_execution("judge")
    assert execution is not None
    recorded = store.events(execution.id, "INPUT")["baseline"]
    assert (recorded.type, recorded.uri) == ("ServedModel", "serving_models/fashion/10")
    tree = as_text(trace(store, workspace, "judge"))
    assert "serving_models/fashion/10\n      by no recorded execution" in tree and "by judge (execution 3" in tree
    store.close()
    (newest / "model.json").write_text(json.dumps({"total": 70}))
    again = judged(workspace, 3)
    assert set(again.seconds) == {"judge"} and total_of_baseline(workspace, again) == 70


def test_the_candidate_itself_is_no_baseline(workspace: Workspace) -> None:
    """The version that holds this very model says nothing; the one before it does."""
    serve(workspace, 1, total=6)
    assert total_of_baseline(workspace, judged(workspace, 3)) is None
    serve(workspace, 2, total=50)
    serve(workspace, 3, total=6)
    assert total_of_baseline(workspace, judged(workspace, 3)) == 50


def test_a_recorded_blessed_model_goes_before_a_served_one(workspace: Workspace) -> None:
    """Once a model is blessed, the next is compared with it, whatever is served."""
    serve(workspace, 5, total=50)
    judged(workspace, 3)
    assert total_of_baseline(workspace, judged(workspace, 4)) == 6
    clean(workspace, everything=True)
    assert total_of_baseline(workspace, judged(workspace, 4)) == 50


def test_the_newest_artifact_is_the_latest_that_is_intact(workspace: Workspace) -> None:
    """`Latest` takes the model written last; if its files are damaged, the one before."""
    judged(workspace, 3)
    newest = judged(workspace, 4, baseline="newest")
    assert total_of_baseline(workspace, newest) == 10
    (workspace.root / newest.artifacts["learn"]["model"].uri / "model.json").unlink()
    pipeline = Pipeline("later")
    examples = pipeline.add(source, seed=1)["examples"]
    model = pipeline.add(learn, examples=examples)["model"]
    pipeline.add(judge, model=model, baseline=Latest(Model), destination=workspace.serving)
    runner = LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True)))
    assert total_of_baseline(workspace, runner.run(list(pipeline.nodes))) == 6


@pytest.mark.parametrize("damaged", [False, True])
def test_what_lies_beside_the_latest_blessed_is_read_with_it(workspace: Workspace, damaged: bool) -> None:
    """The stage gets an output of the execution that gave the blessing, unless its files are damaged."""
    runner = LocalRunner(remembering(3), workspace, PlainDisplay(Console(quiet=True)))
    first = runner.run(["source", "learn", "remember"])
    if damaged:
        (workspace.root / first.artifacts["remember"]["blessing"].uri / "verdict.json").write_text("{}")
    runner = LocalRunner(remembering(4), workspace, PlainDisplay(Console(quiet=True)))
    second = runner.run(["source", "learn", "remember"])
    blessing = ModelBlessing(workspace.root / second.artifacts["remember"]["blessing"].uri)
    assert blessing.verdict()["remembered"] == ([] if damaged else [6])


def test_clean_keeps_the_blessed_model_after_a_refusal(workspace: Workspace) -> None:
    """The newest model was refused by a judge that did not read the blessed one; it stays the next baseline."""
    blessed = judged(workspace, 3).artifacts["learn"]["model"]
    refused = judged(workspace, 2, at_least=100, baseline="none").artifacts["learn"]["model"]
    older = judged(workspace, 1, at_least=100, baseline="none").artifacts["learn"]["model"]
    clean(workspace)
    assert (workspace.root / blessed.uri).exists() and (workspace.root / older.uri).exists()
    assert not (workspace.root / refused.uri).exists()
    assert total_of_baseline(workspace, judged(workspace, 5)) == 6


def test_clean_keeps_what_a_reusing_run_uses(run: Run, workspace: Workspace) -> None:
    """After returning to an earlier configuration its reused results are the latest, and the others go."""
    first = run(until="learn").artifacts["learn"]["model"]
    second = run("learn.steps=5", until="learn").artifacts["learn"]["model"]
    assert not run(until="learn").seconds
    clean(workspace)
    assert (workspace.root / first.uri).exists() and not (workspace.root / second.uri).exists()
    assert not run(until="learn").seconds
