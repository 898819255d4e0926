"""Tests of pipeline.runner.local_runner: the promises of the runner, on the toy pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.contract.artifacts import Exploration
from pipeline.contract.errors import UserError
from pipeline.runner import plan
from pipeline.runner.display import PlainDisplay
from pipeline.runner.execution import StageError
from pipeline.runner.fingerprint import ROOT
from pipeline.runner.local_runner import InterruptedRunError, LocalRunner, RunResult
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.store_recovery import repair
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Explain, Run, open_database
from tests.pipeline.runner.toy import configured, describing

STAGES = ["source", "learn", "judge"]


def model(result: RunResult, workspace: Workspace) -> dict[str, int]:
    """The content of the model that a run has."""
    path = workspace.root / result.artifacts["learn"]["model"].uri / "model.json"
    content: dict[str, int] = json.loads(path.read_text())
    return content


def run_in_process(workspace: Workspace, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs the toy pipeline in a process of its own, which may be killed."""
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from pipeline.runner.display import PlainDisplay; from pipeline.runner.local_runner import LocalRunner\n"
        "from pipeline.runner.workspace import Workspace; from tests.pipeline.runner.toy import configured\n"
        "workspace = Workspace(Path(sys.argv[1])); pipeline = configured(*sys.argv[2:], workspace=workspace)\n"
        "LocalRunner(pipeline, workspace, PlainDisplay(Console())).run(list(pipeline.nodes))\n"
    )
    command = [sys.executable, "-c", code, str(workspace.root), *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_second_run_reuses_everything(run: Run) -> None:
    """A run with nothing changed executes no stage and has the same artifacts."""
    first, second = run(), run()
    assert set(first.seconds) == set(STAGES) and not second.seconds
    assert first.artifacts == second.artifacts


def test_changed_parameter_runs_its_stage_and_what_follows(run: Run) -> None:
    """A parameter of one stage leaves the stages before it alone."""
    run()
    assert set(run("learn.steps=5").seconds) == {"learn", "judge"}


def test_database_state_is_part_of_the_key(run: Run, explain: Explain, tmp_path: Path) -> None:
    """A stage runs again when a database that it reads has changed, explain says so, and going back reuses."""
    table = tmp_path / "table"
    table.write_text("one row")
    option = f"source.table={table}"
    run(option)
    assert not run(option).seconds
    table.write_text("two rows")
    assert explain(option)["source"].reasons == ("the table changed",)
    assert set(run(option).seconds) == {"source"}
    table.write_text("one row")
    assert not run(option).seconds


def test_changed_library_version_runs_what_imports_it(
    run: Run, explain: Explain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another version of a library that a stage's modules import reruns the stage, and explain names both versions."""
    run()
    installed = tmp_path / "numpy-99.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plan._version.cache_clear()
    reasons = explain()["source"].reasons
    monkeypatch.undo()
    plan._version.cache_clear()
    assert reasons == (f"library numpy changed: {metadata.version('numpy')} -> 99.0",)


@pytest.mark.parametrize("library", ["numpy", "tensorflow", "apache-beam", "pydantic"])
def test_versions_are_those_of_importlib(library: str) -> None:
    """The short way to a version says what `importlib.metadata.version` says."""
    assert plan._version(library) == metadata.version(library)


def test_downloads_outlive_the_stage(run: Run) -> None:
    """The cache is the same directory in every run of every configuration."""
    counts = [run("source.count=4", fresh=fresh).artifacts["source"]["examples"].properties for fresh in (False, True)]
    assert [properties["downloads"] for properties in counts] == [0, 1]


@pytest.mark.parametrize("change", ["move", "copy"])
def test_moved_workspace_reuses_everything(run: Run, workspace: Workspace, tmp_path: Path, change: str) -> None:
    """No stage runs again in a workspace that was moved or copied, though one has a path in it as a parameter."""
    run()
    other = Workspace(tmp_path / "elsewhere")
    workspace.root.rename(other.root) if change == "move" else shutil.copytree(workspace.root, other.root)
    pipeline = configured(workspace=other)
    assert not LocalRunner(pipeline, other, PlainDisplay(Console(quiet=True))).run(list(pipeline.nodes)).seconds


def test_same_output_stops_the_rerun(run: Run) -> None:
    """A stage that runs again and writes the same bytes does not make the stages after it run."""
    run()
    assert set(run(only="source", fresh=True).seconds) == {"source"}
    assert not run().seconds


def test_returning_to_an_earlier_parameter_reuses_its_result(run: Run) -> None:
    """The cache holds every earlier result, not only the last."""
    first = run()
    run("learn.steps=5")
    assert "learn" not in (again := run()).seconds
    assert again.artifacts["learn"] == first.artifacts["learn"]


@pytest.mark.parametrize("damage", ["change", "remove", "add", "remove all"])
def test_damaged_artifact_is_rebuilt_and_named(run: Run, explain: Explain, workspace: Workspace, damage: str) -> None:
    """An artifact whose files are not those recorded is never reused, and the reason says which file."""
    directory = workspace.root / run().artifacts["learn"]["model"].uri
    if damage == "change":
        (directory / "model.json").write_text("{}")
    elif damage == "remove":
        (directory / "model.json").unlink()
    elif damage == "add":
        (directory / "other.json").write_text("{}")
    else:
        shutil.rmtree(directory.parent)
    decision = explain()["learn"]
    assert decision.action == "run" and str(directory.name) in decision.reasons[0]
    assert "learn" in run().seconds
    assert not run().seconds


def test_external_path_counts_by_its_content(run: Run, tmp_path: Path) -> None:
    """A moved file changes nothing; a changed one does."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("one")
    second.write_text("one")
    run(f"source.extra='{first}'")
    assert not run(f"source.extra='{second}'").seconds
    second.write_text("two")
    assert "source" in run(f"source.extra='{second}'").seconds


def test_failure_is_one_paragraph_with_log_and_resuming_command(run: Run) -> None:
    """The error of a component reaches the user, with the log and the command that resumes."""
    with pytest.raises(StageError) as caught:
        run('learn.fail="error"')
    text = str(caught.value)
    for part in (
        "learn: The numbers are odd.",
        "Expected: even ones",
        "Received: 3",
        "choose others; then fashion run",
    ):
        assert part in text
    log = caught.value.log.read_text()
    assert "native output" in log and "Traceback" in log


def test_full_disk_is_reported_and_leaves_no_unfinished_output(run: Run, workspace: Workspace) -> None:
    """A full disk ends in an error with the free space; the unfinished directory is removed."""
    with pytest.raises(StageError, match="The disk is full"):
        run('learn.fail="full"')
    assert not list(workspace.artifacts.glob("learn/*"))
    assert set(run().seconds) == {"learn", "judge"}


def test_bug_in_a_component_names_the_exception(run: Run) -> None:
    """An unexpected exception ends in the same paragraph, with its type."""
    with pytest.raises(StageError, match="KeyError.*nobody expected this") as caught:
        run('learn.fail="bug"')
    assert caught.value.next_step == "remove the cause, which the log shows; then fashion run"


def test_interrupt_keeps_what_finished(run: Run, workspace: Workspace) -> None:
    """Ctrl-C in a stage is recorded as CANCELED, and the next run resumes there."""
    with pytest.raises(InterruptedRunError, match="Interrupted in learn"):
        run('learn.fail="interrupt"')
    with MetadataStore(workspace.store) as store:
        assert [e.state for e in store.run_executions(1)] == ["COMPLETE", "CANCELED"]
    assert set(run().seconds) == {"learn", "judge"}


def test_kill_loses_at_most_the_running_step(workspace: Workspace, run: Run) -> None:
    """After SIGKILL in a stage the next run resumes from its scratch, and ends with the undisturbed result."""
    run(until="source")
    armed = workspace.scratch / "learn" / "armed"
    armed.parent.mkdir(parents=True)
    armed.touch()
    assert run_in_process(workspace).returncode == -9
    assert list(workspace.artifacts.glob("learn/.unfinished-*"))
    result = run()
    assert result.artifacts["learn"]["model"].properties["resumed_at"] == 2
    assert model(result, workspace) == {"total": 1 + 2 + 3, "steps": 4}
    assert not list(workspace.artifacts.glob("learn/.unfinished-*")) and not list(workspace.scratch.glob("learn/*"))
    with MetadataStore(workspace.store) as store:
        assert [e.state for e in store.run_executions(2)] == ["CACHED", "FAILED"]


def test_kill_between_finishing_and_recording_loses_nothing(run: Run, workspace: Workspace) -> None:
    """A stage that was renamed into place but not recorded is recorded by the next run."""
    run()
    with open_database(workspace.store) as db:
        db.execute("DELETE FROM Event WHERE execution_id = 3")
        db.execute("DELETE FROM Artifact WHERE type = 'ModelBlessing'")
        db.execute("UPDATE Execution SET state = 'RUNNING' WHERE id = 3")
    assert not run().seconds


def test_second_run_names_the_process_that_holds_the_lock(run: Run, workspace: Workspace) -> None:
    """While one run holds the lock, another one ends with an error that names the process."""
    for _ in range(2):
        with workspace.lock(), pytest.raises(UserError) as caught:
            run()
        assert caught.value.received == f"a lock of process {os.getpid()}"
    run()


def test_damaged_store_is_repaired_from_the_artifacts(run: Run, workspace: Workspace) -> None:
    """A damaged store is reported; repair rebuilds it, and no stage has to run."""
    run()
    workspace.store.write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="damaged") as caught:
        run()
    assert caught.value.next_step == "fashion repair"
    recovered = repair(workspace)
    assert recovered.damaged_store is not None and recovered.damaged_store.exists()
    assert list(recovered.stages) == STAGES and not recovered.unreadable
    assert not run().seconds


def test_lost_store_is_rebuilt(run: Run, workspace: Workspace) -> None:
    """A removed metadata store costs nothing: the next run records the finished stages and reuses them."""
    first = run()
    workspace.store.unlink()
    second = run()
    assert not second.seconds
    assert second.artifacts["judge"]["blessing"].digest == first.artifacts["judge"]["blessing"].digest


def test_workspace_of_another_version_is_refused(run: Run, workspace: Workspace) -> None:
    """Neither a run nor repair changes the store of a later version, and the error names the next step."""
    run()
    with open_database(workspace.store) as db:
        db.execute("PRAGMA user_version = 99")
    for command in (run, lambda: repair(workspace)):
        with pytest.raises(UserError, match="another version") as caught:
            command()
        assert "version 99" in caught.value.received and "fashion clean --all" in caught.value.next_step
    with open_database(workspace.store) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)


def test_unselected_stage_keeps_its_latest_result(run: Run) -> None:
    """`--only` uses the results of the other stages, even where their parameters have changed."""
    first = run()
    result = run("source.count=5", only="judge", fresh=True)
    assert set(result.seconds) == {"judge"}
    assert result.artifacts["learn"] == first.artifacts["learn"]


def test_unselected_stage_without_result_is_an_error(run: Run) -> None:
    """A stage that is not selected needs an earlier result."""
    with pytest.raises(UserError, match="learn is not selected") as caught:
        run(only="judge")
    assert caught.value.next_step == "fashion run --until learn"


def verdict(result: RunResult, workspace: Workspace) -> dict[str, int | None]:
    """The content that the judge wrote."""
    path = workspace.root / result.artifacts["judge"]["blessing"].uri / "verdict.json"
    content: dict[str, int | None] = json.loads(path.read_text())
    return content


def test_unselected_stage_with_a_damaged_result_is_an_error(run: Run, workspace: Workspace) -> None:
    """A stage that is not selected never hands on files that are not those recorded."""
    (workspace.root / run().artifacts["learn"]["model"].uri / "model.json").write_text("{}")
    with pytest.raises(UserError, match="learn is not selected") as caught:
        run(only="judge", fresh=True)
    assert caught.value.received == "its artifact artifacts/learn/2/model is damaged: model.json has changed"


def test_baseline_is_the_latest_blessed_other_model(run: Run, workspace: Workspace) -> None:
    """The judge gets the model blessed last that is not the candidate, and none before there is one."""

    def baseline(*overrides: str) -> int | None:
        return verdict(run(*overrides), workspace)["baseline"]

    assert baseline() is None
    assert baseline("source.count=4") == 6
    assert baseline("source.count=5") == 10
    assert baseline("source.count=2", "judge.at_least=100") == 15
    assert baseline("source.count=6") == 15, "a refused model is no baseline"


def test_previous_is_what_the_stage_read_last(run: Run, workspace: Workspace) -> None:
    """The judge gets the other model that it finished with last, blessed or not, and with the same parameter alone."""

    def previous(*overrides: str) -> int | None:
        return verdict(run(*overrides), workspace)["previous"]

    assert previous() is None
    assert previous("source.count=4") == 6
    assert set(run("source.count=4").seconds) == set(), "the same model is not its own predecessor"
    assert previous("source.count=6") == 10
    assert previous("source.count=7", "judge.at_least=100") is None
    assert previous("source.count=8", "judge.at_least=100") == 28
    assert previous("source.count=9") == 21


def test_the_newest_intact_artifact_of_another_pipeline_is_read(run: Run, workspace: Workspace) -> None:
    """The newest model is read, the one before it when that is damaged, and none before there is one."""

    def described() -> list[str]:
        result = LocalRunner(describing(), workspace, PlainDisplay(Console(quiet=True))).run(["describe"])
        exploration = result.last(Exploration)
        return [] if exploration is None else exploration.findings()

    assert described() == []
    first, second = run(), run("source.count=5")
    models = [Path(result.artifacts["learn"]["model"].uri).parent.name for result in (first, second)]
    assert described() == [models[1]]
    (workspace.root / second.artifacts["learn"]["model"].uri / "model.json").unlink()
    assert described() == [models[0]]


def test_a_stage_resumes_only_from_its_own_key(run: Run, workspace: Workspace) -> None:
    """What an interrupted execution left is not for one with another parameter."""
    with pytest.raises(InterruptedRunError):
        run("learn.steps=3", 'learn.fail="interrupt"')
    assert len(list(workspace.scratch.glob("learn/*/step.txt"))) == 1
    assert run("learn.steps=5").artifacts["learn"]["model"].properties["resumed_at"] == 0


def test_reused_executions_count_as_the_newest(run: Run, workspace: Workspace) -> None:
    """A stage whose earlier result was reused last is compared with that, and keeps it when it is not selected."""
    first = run()
    run("learn.steps=5")
    run()
    assert run("learn.steps=7", only="judge", fresh=True).artifacts["learn"] == first.artifacts["learn"]
    with MetadataStore(workspace.store) as store:
        newest = {e.type: (e.id, e.state) for e in store.latest_executions()}
        assert newest["learn"] == (max(e.id for e in store.run_executions(4) if e.type == "learn"), "CACHED")
        producer = store.producer(first.artifacts["learn"]["model"].id)
        assert producer is not None and (producer.id, producer.state) == (2, "COMPLETE")


def test_record_is_enough_to_reproduce_an_execution(run: Run, workspace: Workspace) -> None:
    """Every execution has parameters, library versions, inputs, commit, memory and duration."""
    run()
    with MetadataStore(workspace.store) as store:
        execution = store.latest_execution("source")
    assert execution is not None and execution.end_time is not None
    assert 0 < execution.seconds == execution.end_time - execution.start_time
    assert execution.properties["key_parts"]["parameters"] == {"seed": 1, "count": 3, "extra": None, "table": ""}
    versions = {"numpy": metadata.version("numpy"), "a_library_of_an_extra": "not installed"}
    assert execution.properties["key_parts"]["libraries"] == versions
    assert {"git_commit", "python", "peak_mebibytes", "reasons"} <= set(execution.properties)
