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


def files_of(workspace: Workspace) -> dict[Path, int]:
    """The files of a workspace and their sizes."""
    return {path: path.stat().st_size for path in workspace.root.rglob("*") if path.is_file()}


def test_older_results_go_and_the_latest_stay(run: Run, workspace: Workspace) -> None:
    """After two configurations only what the second used is left, and a run of it reuses everything."""
    run("learn.steps=5")
    run()
    (workspace.scratch / "learn" / "interrupted").mkdir(parents=True)
    before = files_of(workspace)
    planned = clean(workspace, dry_run=True)
    assert files_of(workspace) == before, "a dry run removes nothing"
    removed = clean(workspace)
    gone = set(before) - set(files_of(workspace))
    assert removed == planned and removed.bytes == sum(before[path] for path in gone) > 0
    assert {path.relative_to(workspace.root).parts[:2] for path in removed.paths} == {
        ("artifacts", "judge"), ("logs", "learn"), ("logs", "judge")
    }, "the latest judge has read the first model"  # fmt: skip
    assert len(removed.paths) == 3 and (workspace.scratch / "learn" / "interrupted").exists()
    assert not run().seconds


def test_clean_all_leaves_the_served_models(run: Run, workspace: Workspace) -> None:
    """Every trace of the runs goes, damaged stores too; pushed versions and the user's own files stay."""
    run()
    kept = [workspace.serving / "1" / "saved_model.pb", workspace.root / "notes.txt", workspace.lock_file]
    others = [workspace.root / "metadata.damaged-20260101T000000", workspace.reports / "report.html"]
    others += [workspace.scratch / "learn" / "key" / "step.txt", workspace.temporary / "half"]
    for path in [*kept, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    removed = clean(workspace, everything=True)
    assert sorted(path for path in workspace.root.rglob("*") if path.is_file()) == sorted(kept)
    names = {"artifacts", "scratch", "logs", "reports", "cache", "tmp", "metadata.sqlite"}
    assert {path.name for path in removed.paths} == {*names, "metadata.damaged-20260101T000000"}
    assert clean(workspace).paths == clean(workspace, everything=True).paths == []


def test_clean_waits_for_no_run(workspace: Workspace) -> None:
    """While a run holds the workspace, nothing is removed."""
    workspace.logs.mkdir(parents=True)
    with workspace.lock(), pytest.raises(UserError, match="Another run uses the workspace"):
        clean(workspace, everything=True)
    assert workspace.logs.exists()


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
