"""Lineage of an artifact: the execution that wrote it, its inputs and parameters, back to the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest
from pipeline.runner.metadata_store import ArtifactRecord, MetadataStore
from pipeline.runner.workspace import Workspace


def trace(store: MetadataStore, workspace: Workspace, reference: str) -> dict[str, Any]:
    """Returns the lineage of an artifact as a tree.

    Args:
        store: The metadata store.
        workspace: The workspace that the paths are relative to.
        reference: The number, path or type of the artifact, or the name of a stage for its newest artifact.

    Raises:
        UserError: No artifact matches the reference.
    """
    return _node(store, _find(store, workspace, reference))


def _find(store: MetadataStore, workspace: Workspace, reference: str) -> ArtifactRecord:
    artifacts = store.artifacts()
    # An artifact may be named by a path inside it, such as that of its SavedModel.
    path = str(Path(reference).absolute())
    roots = {a.id: str((workspace.root / a.uri).absolute()) for a in artifacts}
    matches = [
        a
        for a in artifacts
        if reference in (str(a.id), a.type, a.uri, a.uri.split("/")[1]) or f"{path}/".startswith(f"{roots[a.id]}/")
    ]
    if not matches:
        known = sorted({a.type for a in artifacts} | {a.uri.split("/")[1] for a in artifacts})
        raise UserError(
            f"No artifact matches {reference!r}.{nearest(reference, known)}",
            expected="an artifact's number or path, a stage, or one of " + (", ".join(known) or "(none yet)"),
            received=reference,
            next_step="fashion status",
        )
    return matches[-1]


def _node(store: MetadataStore, artifact: ArtifactRecord) -> dict[str, Any]:
    execution = store.producer(artifact.id)
    properties = execution.properties if execution else {}
    inputs = store.events(execution.id, "INPUT") if execution else {}
    return {
        "artifact": artifact.id,
        "type": artifact.type,
        "path": artifact.uri,
        "digest": artifact.digest,
        "properties": {k: v for k, v in artifact.properties.items() if k != "manifest"},
        "execution": execution.id if execution else None,
        "stage": execution.type if execution else None,
        "git_commit": properties.get("git_commit"),
        "parameters": properties.get("key_parts", {}).get("parameters", {}),
        "libraries": properties.get("key_parts", {}).get("libraries", {}),
        "inputs": {name: _node(store, read) for name, read in inputs.items()},
    }


def as_text(tree: dict[str, Any], depth: int = 0, name: str = "", seen: set[int] | None = None) -> str:
    """Returns the tree as indented lines; an artifact that occurs again is not expanded again."""
    seen = set() if seen is None else seen
    pad = "    " * depth
    label = f"{name}: " if name else ""
    line = f"{pad}{label}{tree['type']} {tree['artifact']} ({tree['digest'][:12]}) {tree['path']}"
    if tree["artifact"] in seen:
        return f"{line}, as above"
    seen.add(tree["artifact"])
    facts = ", ".join(f"{k} {v}" for k, v in tree["properties"].items())
    writer = f"by {tree['stage']} (execution {tree['execution']}, commit {tree['git_commit']})"
    lines = [line, f"{pad}  {writer if tree['execution'] else 'by no recorded execution'}"]
    lines += [f"{pad}  {facts}"] if facts else []
    lines += [as_text(read, depth + 1, input_name, seen) for input_name, read in tree["inputs"].items()]
    return "\n".join(lines)
