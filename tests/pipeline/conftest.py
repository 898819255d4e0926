"""A workspace and a runner for the toy pipeline."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.runner.display import PlainDisplay
from pipeline.runner.local_runner import LocalRunner, RunResult
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.plan import Decision, Planner
from pipeline.runner.workspace import Workspace
from tests.pipeline.runner.toy import configured

Run = Callable[..., RunResult]
Explain = Callable[..., dict[str, Decision]]


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file, and commits and closes it; sqlite3's own context manager does not close."""
    with closing(sqlite3.connect(path)) as db, db:
        yield db


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """Runs the toy pipeline with overrides: `run("learn.steps=5", only="learn")`."""

    def go(*overrides: str, fresh: bool = False, **selection: str | None) -> RunResult:
        pipeline = configured(*overrides, workspace=workspace)
        chosen = pipeline.select(selection.get("start"), selection.get("until"), selection.get("only"))
        return LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True))).run(chosen, fresh)

    return go


@pytest.fixture
def explain(workspace: Workspace) -> Explain:
    """Decides about the stages of the toy pipeline without running: stage name to decision."""

    def go(*overrides: str, root: Path | None = None) -> dict[str, Decision]:
        pipeline = configured(*overrides, workspace=workspace)
        with MetadataStore(workspace.store) as store:
            arguments = (pipeline, workspace, store)
            planner = Planner(*arguments) if root is None else Planner(*arguments, root)
            return {d.node.name: d for d in planner.explain(list(pipeline.nodes))}

    return go
