"""Cleaning removes what is no longer used, and nothing outside the workspace."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.commands.cleaning import clean
from pipeline.contract.errors import UserError
from pipeline.runner.execution import StageError
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run


def test_older_results_go_and_the_latest_stay(run: Run, workspace: Workspace) -> None:
    """After two configurations only what the second used is left, and a run of it reuses everything."""
    run("learn.steps=5")
    run()
    assert clean(workspace, dry_run=True).paths == clean(workspace).paths != []
    assert not run().seconds


def test_failed_run_does_not_cost_the_finished_one(run: Run, workspace: Workspace) -> None:
    """Results stay after a run that failed before it came to them."""
    run()
    with pytest.raises(StageError):
        run('learn.fail="error"', "learn.steps=9")
    clean(workspace)
    assert not run().seconds


@pytest.mark.parametrize("everything", [False, True])
def test_what_a_killed_run_left_is_removed_and_what_it_finished_is_kept(
    run: Run, workspace: Workspace, everything: bool
) -> None:
    """Unfinished output and temporary files go; a stage that was killed before it was recorded keeps its result."""
    run()
    with closing(sqlite3.connect(workspace.store)) as db, db:
        db.execute("DELETE FROM Event WHERE execution_id = 3")
        db.execute("DELETE FROM Artifact WHERE type = 'ModelBlessing'")
        db.execute("UPDATE Execution SET state = 'RUNNING' WHERE id = 3")
    unfinished = workspace.artifacts / "learn" / ".unfinished-4"
    for directory in (unfinished, workspace.temporary):
        directory.mkdir()
    clean(workspace, everything)
    assert not unfinished.exists() and not workspace.temporary.exists()
    assert set(run().seconds) == ({"source", "learn", "judge"} if everything else set())


def test_directory_that_is_not_a_workspace_is_left_alone(tmp_path: Path) -> None:
    """Somebody else's files are never removed."""
    (tmp_path / "logs").mkdir()
    with pytest.raises(UserError, match="is not a workspace"):
        clean(Workspace(tmp_path), everything=True)
    assert (tmp_path / "logs").exists()
