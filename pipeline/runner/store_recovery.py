"""Recovery of the metadata store from the record files that finished stages keep beside their outputs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError
from pipeline.runner.execution import RECORD
from pipeline.runner.metadata_store import MetadataStore, StoreVersionError
from pipeline.runner.workspace import Workspace


def adopt_finished(store: MetadataStore, workspace: Workspace) -> list[str]:
    """Records every finished execution that the store does not know.

    That happens when a run was killed between the end of a stage and its recording, or when the store was lost.

    Returns:
        The names of the stages recorded, oldest execution first.
    """
    known = {artifact.uri for artifact in store.artifacts()}
    records = [_read(path) for path in workspace.artifacts.glob(f"*/*/{RECORD}")]
    unknown = [r for r in records if r and not known & {o["uri"] for o in r["outputs"].values()}]
    unknown.sort(key=lambda r: r["execution"]["id"])
    for record in unknown:
        store.adopt_execution(**record)
    return [record["execution"]["type"] for record in unknown]


def repair(workspace: Workspace) -> tuple[Path | None, list[str]]:
    """Replaces a damaged metadata store by one rebuilt from the finished executions.

    Returns:
        The new path of the damaged file (None when the store was intact), and the stages recorded.

    Raises:
        StoreVersionError: Another version of this project wrote the store, which is not damaged and stays.
    """
    with workspace.lock():
        moved = None
        try:
            with MetadataStore(workspace.store) as store:
                store.check()
        except StoreVersionError:
            raise
        except UserError:
            moved = _move_damaged_store(workspace)
        with MetadataStore(workspace.store) as store:
            return moved, adopt_finished(store, workspace)


def _move_damaged_store(workspace: Workspace) -> Path:
    moved = workspace.store.with_suffix(f".damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    workspace.store.rename(moved)
    for suffix in ("-wal", "-shm"):
        workspace.store.with_name(workspace.store.name + suffix).unlink(missing_ok=True)
    return moved


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(content, dict) and set(content) == {"execution", "properties", "inputs", "outputs"}
    return content if complete else None
