"""Tests of status, explain and lineage where nothing may be written, and after kills and losses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.runner.fingerprint import ROOT
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.store_recovery import repair
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run
from tests.pipeline.runner.test_local_runner import STAGES

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(workspace: Workspace) -> Command:
    """Runs a command on the workspace as a user whom the permissions of files bind: root without its privileges."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        bound = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
        return subprocess.run(
            [*bound, sys.executable, "-m", "pipeline.commands.cli", *words, "-w", str(workspace.root)],
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def read_only(workspace: Workspace) -> Iterator[Callable[[], None]]:
    """Takes the right to write to the workspace away until the end of the test."""

    def change(writable: bool) -> None:
        for path in [workspace.root, *workspace.root.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200 if writable else path.stat().st_mode & ~0o222)

    yield lambda: change(False)
    change(True)


@pytest.mark.parametrize("killed", [False, True])
def test_a_workspace_that_nobody_may_write_can_be_read(
    run: Run, workspace: Workspace, command: Command, read_only: Callable[[], None], killed: bool, tmp_path: Path
) -> None:
    """The three commands work on a finished workspace and on a killed run's, whose last rows are in the -wal file."""
    run()
    if killed:
        with MetadataStore(workspace.store) as store:
            store.start_run("killed", {})
            shutil.copytree(workspace.root, tmp_path / "copy")
        shutil.rmtree(workspace.root)
        (tmp_path / "copy").rename(workspace.root)
        assert workspace.store.with_name("metadata.sqlite-wal").stat().st_size
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
    read_only()
    status, lineage, explain = command("status"), command("lineage", "judge"), command("explain")
    for done in (status, lineage, explain):
        assert done.returncode == 0, done.stderr
    assert ("of killed," in status.stdout) == killed and ("judge              COMPLETE" in status.stdout) != killed
    assert "ModelBlessing" in lineage.stdout and "by source (execution 1" in lineage.stdout
    assert "example_gen        run" in explain.stdout
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


def test_a_killed_run_is_interrupted_and_a_living_one_runs(run: Run, workspace: Workspace, command: Command) -> None:
    """The lock tells them apart: the operating system releases it when the process ends."""
    run()
    with MetadataStore(workspace.store) as store:
        store.start_execution(store.start_run("toy", {}), "learn", "key", {"key_parts": {}})
    assert "learn              INTERRUPTED" in (text := command("status").stdout)
    assert "The run was killed in learn; fashion run resumes it." in text
    with workspace.lock():
        assert "learn              RUNNING" in (text := command("status").stdout)
        assert "killed" not in text
    assert [stage["state"] for stage in json.loads(command("status", "--json").stdout)["stages"]] == ["INTERRUPTED"]


def test_a_lost_store_is_read_as_the_next_run_would_find_it(run: Run, workspace: Workspace, command: Command) -> None:
    """Status names the stages that a run would record, lineage knows them, and nothing is written."""
    run()
    workspace.store.unlink()
    text = command("status").stdout
    assert "No run is recorded." in text
    assert "Finished but not in the metadata store: source, learn, judge. fashion run records them." in text
    assert "by source (execution 1" in command("lineage", "judge").stdout
    assert not workspace.store.exists()
    run()
    assert "Finished but" not in command("status").stdout


def test_records_are_adopted_in_the_order_of_their_executions(run: Run, workspace: Workspace) -> None:
    """Every execution has its inputs again, whatever the order of the directories."""
    run()
    run("source.count=5")
    workspace.store.unlink()
    assert list(repair(workspace).stages) == STAGES * 2
    with MetadataStore(workspace.store) as store:
        events = {e: set(store.events(e, "INPUT")) for e in range(1, 7)}
        assert [a.uri.split("/")[1:3] for a in store.artifacts()] == [
            [stage, str(number)] for number, stage in enumerate(STAGES * 2, start=1)
        ]
    assert events[6] >= {"model", "baseline"} and events.pop(6)
    assert events == {1: set(), 2: {"examples"}, 3: {"model"}, 4: set(), 5: {"examples"}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "no record of an execution"),
        ('{"execution": {}}', "no record of an execution"),
        (None, "No such file or directory"),
        ("of another", "the record of learn/2"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    run: Run, workspace: Workspace, command: Command, content: str | None, reason: str
) -> None:
    """Repair and status name the file and the reason, and the other executions are recorded."""
    run()
    workspace.store.unlink()
    records = {path.parts[-3]: path for path in workspace.artifacts.glob("*/*/execution.json")}
    if content is None:
        records["judge"].unlink()
    else:
        records["judge"].write_text(records["learn"].read_text() if content == "of another" else content)
    for done in (command("status"), command("repair")):
        assert done.returncode == 0, done.stderr
        assert f"artifacts/judge/3/execution.json: {reason}" in done.stdout
    assert "Executions recorded again: 2 (source, learn)" in done.stdout
