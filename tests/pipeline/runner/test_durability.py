"""Tests of what reaches the disk in which order: after a power cut a name never leads to content that is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.contract.files import write_text
from pipeline.runner.workspace import RECORD, Workspace
from tests.pipeline.conftest import Run

Events = list[tuple[str, Path]]


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """Records, in order, which file or directory is brought to the disk, and which name is given."""
    events: Events = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def record_fsync(descriptor: int) -> None:
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def record_rename(source: str, target: str) -> None:
        events.append(("rename", Path(target).absolute()))
        rename(source, target)

    def record_replace(source: str, target: str) -> None:
        events.append(("rename", Path(target).absolute()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(os, "replace", record_replace)
    try:
        yield events
    finally:
        monkeypatch.undo()


def test_a_stage_is_on_the_disk_before_it_has_its_name(
    run: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and directory of the output is synced before the rename, and the directory above after it."""
    with recorded(monkeypatch) as events:
        run(until="source")
    final = workspace.artifacts / "source" / "1"
    unfinished = final.with_name(".unfinished-1")
    at = events.index(("rename", final))
    written = {unfinished, *(unfinished / path.relative_to(final) for path in final.rglob("*"))}
    assert written >= {unfinished / "examples" / "numbers.txt", unfinished / "examples", unfinished / RECORD}
    assert {path for kind, path in events[:at] if kind == "sync"} >= written
    assert ("sync", final.parent) in events[at:]


def test_an_atomic_write_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the rename, the directory after it, and nothing else happens."""
    path = tmp_path / "a.json"
    with recorded(monkeypatch) as events:
        write_text(path, "content")
    (first, hidden), *others = events
    assert first == "sync" and hidden.parent == tmp_path and hidden != path
    assert others == [("rename", path), ("sync", tmp_path)]


def test_the_store_syncs_every_transaction(workspace: Workspace) -> None:
    """A recorded execution survives a power cut: SQLite waits for the disk at every commit."""
    from pipeline.runner.metadata_store import MetadataStore

    with MetadataStore(workspace.store) as store:
        assert store._rows("PRAGMA synchronous")[0][0] == 2
        assert store._rows("PRAGMA journal_mode")[0][0] == "wal"
