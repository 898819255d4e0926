"""Removes what the latest result of every stage did not use; never a pushed model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.artifacts import ModelBlessing
from pipeline.contract.errors import UserError
from pipeline.runner.metadata_store import ArtifactRecord, MetadataStore
from pipeline.runner.store_recovery import adopt_finished
from pipeline.runner.workspace import Workspace


@dataclass(frozen=True)
class Removed:
    """The directories and files that were removed, and their size in bytes."""

    paths: list[Path]
    bytes: int


def clean(workspace: Workspace, everything: bool = False, dry_run: bool = False) -> Removed:
    """Removes artifacts and logs that no stage's latest result used; keeps what an interrupted stage resumes from.

    Args:
        workspace: The workspace; it is locked meanwhile.
        everything: Whether to remove all artifacts, logs and downloads, the metadata store, and what interrupted stages
            resume from. Defaults to False.
        dry_run: Whether only to return what would be removed. Defaults to False.

    Raises:
        UserError: The directory is not a workspace, a run holds it, or the metadata store is damaged.
    """
    if workspace.root.exists() and any(workspace.root.iterdir()) and not (workspace.root / "lock").exists():
        raise UserError(
            f"{workspace.root} is not a workspace; nothing was removed.",
            expected="a directory that a run has written",
            received="other files",
            next_step="fashion clean --workspace DIRECTORY",
        )
    with workspace.lock():
        paths = _all(workspace) if everything else _unused(workspace)
        removed = Removed(paths, sum(_size(p) for p in paths))
        if not dry_run:
            for path in paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return removed


def _all(workspace: Workspace) -> list[Path]:
    candidates = [
        workspace.artifacts,
        workspace.scratch,
        workspace.logs,
        workspace.reports,
        workspace.cache,
        workspace.temporary,
        *workspace.root.glob("metadata.sqlite*"),
        *workspace.root.glob("metadata.damaged-*"),
    ]
    return [p for p in candidates if p.exists()]


def _unused(workspace: Workspace) -> list[Path]:
    if not workspace.store.exists():
        return []
    with MetadataStore(workspace.store, read_only=True) as store:
        adopt_finished(store, workspace)  # what a killed run has finished counts, as for the next run
        used = store.latest_executions()
        # The newest blessed model is the next candidate's baseline, whether or not the latest run used it.
        used_paths = {a.uri.rpartition("/")[0] for e in used for a in _touched(store, e.id)} | _blessed(store)
        logs = {f"{e.type}/{e.cache_key[:16]}" for e in used}
    artifacts = [p for p in workspace.artifacts.glob("*/*") if str(p.relative_to(workspace.root)) not in used_paths]
    logged = [p for p in workspace.logs.glob("*/*") if str(p.relative_to(workspace.logs)) not in logs]
    return [*artifacts, *logged, *([workspace.temporary] if workspace.temporary.exists() else [])]


def _touched(store: MetadataStore, execution: int) -> list[ArtifactRecord]:
    return [*store.events(execution, "INPUT").values(), *store.events(execution, "OUTPUT").values()]


def _blessed(store: MetadataStore) -> set[str]:
    for blessing in reversed(store.artifacts(ModelBlessing.__name__)):
        judge = store.producer(blessing.id) if blessing.properties.get("blessed") else None
        if judge:
            return {a.uri.rpartition("/")[0] for a in _touched(store, judge.id)}
    return set()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in files if p.is_file())
