"""The latest run as the metadata store has it: for `fashion status`."""

from __future__ import annotations

import time
from typing import Any

from pipeline.runner.metadata_store import ExecutionRecord, MetadataStore
from pipeline.runner.workspace import Workspace


def latest_run(store: MetadataStore, workspace: Workspace) -> dict[str, Any]:
    """Returns the newest run with its stages as JSON content; without a run, an empty list of stages."""
    found = store.latest_run()
    run, properties = found or (None, {})
    executions = store.run_executions(run) if run is not None else []
    return {
        "run": run,
        "pipeline": properties.get("pipeline"),
        "git_commit": properties.get("git_commit"),
        "profile": properties.get("profile"),
        "stages": [_stage(store, workspace, e) for e in executions],
        "pushed_versions": sorted(
            (int(p.name) for p in workspace.serving.glob("[0-9]*") if p.name.isdigit()), reverse=True
        ),
    }


def _stage(store: MetadataStore, workspace: Workspace, execution: ExecutionRecord) -> dict[str, Any]:
    outputs = store.events(execution.id, "OUTPUT")
    return {
        "stage": execution.type,
        "execution": execution.id,
        "state": execution.state,
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(execution.start_time)),
        "seconds": round(execution.seconds, 1),
        "peak_mebibytes": execution.properties.get("peak_mebibytes"),
        "artifacts": {
            name: {"artifact": a.id, "type": a.type, "path": str(workspace.root / a.uri)} for name, a in outputs.items()
        },
    }


def as_text(table: dict[str, Any]) -> str:
    """Returns the run as lines: a stage a line, its artifacts under it."""
    if table["run"] is None:
        return "No run is recorded yet. Next: fashion run"
    lines = [f"run {table['run']} of {table['pipeline']}, profile {table['profile']}, commit {table['git_commit']}"]
    for stage in table["stages"]:
        lines.append(f"{stage['stage']:<18} {stage['state']:<9} {stage['seconds']:>7.1f} s  {stage['started']}")
        lines += [f"    {a['type']} {a['artifact']}: {a['path']}" for a in stage["artifacts"].values()]
    versions = ", ".join(map(str, table["pushed_versions"])) or "none"
    return "\n".join([*lines, f"pushed versions, newest first: {versions}"])
