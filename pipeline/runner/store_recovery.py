"""Recovery of the metadata store from the record files that finished stages keep beside their outputs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError
from pipeline.runner.metadata_store import MetadataStore, StoreVersionError
from pipeline.runner.workspace import RECORD, Workspace


@dataclass(frozen=True)
class Recovered:
    """What was recovered from the record files.

    Attributes:
        stages: The stages whose executions were recorded, oldest execution first.
        unreadable: The files, relative to the workspace, that describe no execution, with the reason.
        damaged_store: The new path of a damaged metadata store; None when it was intact.
    """

    stages: tuple[str, ...]
    unreadable: tuple[str, ...]
    damaged_store: Path | None = None


def adopt_finished(store: MetadataStore, workspace: Workspace) -> Recovered:
    """Records every finished execution that the store does not know.

    That happens when a run was killed between the end of a stage and its recording, or when the store was lost.
    """
    known = {str(Path(artifact.uri).parent) for artifact in store.artifacts()}
    unknown = [p for p in workspace.artifacts.glob("*/[0-9]*") if str(p.relative_to(workspace.root)) not in known]
    records, unreadable = [], []
    for directory in sorted(unknown):
        try:
            records.append(_read(directory))
        except (OSError, ValueError) as error:
            unreadable.append(f"{(directory / RECORD).relative_to(workspace.root)}: {_reason(error)}")
    # An execution refers to the artifacts of earlier ones.
    records.sort(key=lambda record: record["execution"]["id"])
    for record in records:
        store.adopt_execution(**record)
    return Recovered(tuple(record["execution"]["type"] for record in records), tuple(unreadable))


@contextmanager
def read_store(workspace: Workspace) -> Iterator[tuple[MetadataStore, Recovered]]:
    """Yields the metadata store as the next run would find it, and what that run would record first; writes nothing.

    Raises:
        UserError: The store is damaged, or nothing has run in the workspace.
    """
    with MetadataStore(workspace.store, read_only=True) as store:
        recovered = adopt_finished(store, workspace)
        if not workspace.store.exists() and not recovered.stages:
            raise UserError(
                f"Nothing has run in the workspace {workspace.root}.",
                expected=f"a metadata store at {workspace.store}",
                received="; ".join(recovered.unreadable) or "none",
                next_step="fashion run",
            )
        yield store, recovered


def repair(workspace: Workspace) -> Recovered:
    """Replaces a damaged metadata store by one rebuilt from the finished executions.

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
            recovered = adopt_finished(store, workspace)
            return Recovered(recovered.stages, recovered.unreadable, moved)


def _move_damaged_store(workspace: Workspace) -> Path:
    moved = workspace.store.with_suffix(f".damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    workspace.store.rename(moved)
    for suffix in ("-wal", "-shm"):
        workspace.store.with_name(workspace.store.name + suffix).unlink(missing_ok=True)
    return moved


def _read(directory: Path) -> dict[str, Any]:
    """Returns the record of the execution that wrote a directory.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: It describes no execution, or that of another directory.
    """
    content: dict[str, Any] = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    try:
        named = [content["execution"]["type"], str(content["execution"]["id"])]
        complete = set(content) == {"execution", "properties", "inputs", "outputs"} and all(
            {"type", "uri", "digest", "properties"} == set(output) for output in content["outputs"].values()
        )
    except (KeyError, TypeError, AttributeError):
        complete, named = False, []
    if not complete:
        raise ValueError("no record of an execution")
    if named != [directory.parent.name, directory.name]:
        raise ValueError(f"the record of {'/'.join(named)}")
    return content


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
