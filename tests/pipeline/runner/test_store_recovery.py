"""Tests of pipeline.runner.store_recovery: a rebuilt store holds what the lost one held."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.errors import UserError
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.store_recovery import read_store, repair
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Run
from tests.pipeline.runner.test_local_runner import STAGES


def recorded(workspace: Workspace) -> list[dict[str, Any]]:
    """Everything about the finished executions that the files beside their outputs hold."""
    with MetadataStore(workspace.store) as store:
        return [
            {
                "execution": (e.id, e.type, e.state, e.cache_key),
                "started": round(e.start_time),
                "properties": {name: value for name, value in e.properties.items() if name != "peak_mebibytes"},
                "inputs": {name: a.uri for name, a in store.events(e.id, "INPUT").items()},
                "outputs": {
                    name: (a.type, a.uri, a.digest, a.properties) for name, a in store.events(e.id, "OUTPUT").items()
                },
            }
            for stage in STAGES
            for e in store.finished_executions(stage)
        ]


def test_a_rebuilt_store_equals_the_lost_one(run: Run, workspace: Workspace) -> None:
    """Ids, keys, times, properties, inputs and outputs of every execution are the same."""
    run()
    run("source.count=5")
    before = recorded(workspace)
    for path in workspace.root.glob("metadata.sqlite*"):
        path.unlink()
    recovered = repair(workspace)
    assert (recovered.stages, recovered.unreadable, recovered.damaged_store) == (tuple(STAGES * 2), (), None)
    after = recorded(workspace)
    for one, other in zip(before, after, strict=True):
        assert abs(one.pop("started") - other.pop("started")) <= 5
    assert after == before and len(after) == 6


def test_a_recovered_execution_keeps_its_duration(run: Run, workspace: Workspace) -> None:
    """It ended when its file says so, and not when it was recovered; files of earlier releases have no end."""
    run()
    workspace.store.unlink()
    for stage, end in (("source", {"end_time": 1007.5}), ("learn", {})):
        (file,) = workspace.artifacts.glob(f"{stage}/*/execution.json")
        record = json.loads(file.read_text())
        assert record["execution"].pop("end_time") >= record["execution"]["start_time"]
        record["execution"].update(end, start_time=1000.0)
        file.write_text(json.dumps(record))
    repair(workspace)
    with MetadataStore(workspace.store) as store:
        seconds = [e.seconds for stage in ("source", "learn") for e in store.finished_executions(stage)]
    assert seconds == [7.5, 0.0]


def test_a_copied_result_is_not_recorded(run: Run, workspace: Workspace) -> None:
    """A directory with the record of another execution, of the same stage too, is named and left alone."""
    run()
    shutil.copytree(workspace.artifacts / "judge" / "3", workspace.artifacts / "judge" / "9")
    recovered = repair(workspace)
    assert recovered.unreadable == ("artifacts/judge/9/execution.json: the record of judge/3",)
    assert recovered.stages == () and (workspace.artifacts / "judge" / "9").exists()


def test_an_intact_store_stays(run: Run, workspace: Workspace) -> None:
    """Repair moves only a damaged store, and records nothing twice."""
    run()
    before = recorded(workspace)
    recovered = repair(workspace)
    assert (recovered.stages, recovered.unreadable, recovered.damaged_store) == ((), (), None)
    assert recorded(workspace) == before and not list(workspace.root.glob("metadata.damaged-*"))


def test_the_log_of_a_damaged_store_does_not_come_back(run: Run, workspace: Workspace, tmp_path: Path) -> None:
    """What SQLite keeps beside a store belongs to that store: a rebuilt one has none of its rows."""
    run()
    with MetadataStore(workspace.store) as store:
        store.start_run("killed", {})
        shutil.copytree(workspace.root, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")
    assert copy.store.with_name("metadata.sqlite-wal").stat().st_size
    copy.store.write_bytes(b"this is no database" * 100)
    moved = repair(copy).damaged_store
    assert moved is not None and moved.parent == copy.root and moved.name.startswith("metadata.damaged-")
    with MetadataStore(copy.store) as store:
        store.check()
        assert store.latest_run() is None and [e.type for e in store.latest_executions()] == STAGES


@pytest.mark.parametrize("leftover", [False, True])
def test_a_workspace_without_a_run(workspace: Workspace, leftover: bool) -> None:
    """Reading it is an error that names the command to type and what could not be read; nothing is written."""
    if leftover:
        (workspace.artifacts / "learn" / "7").mkdir(parents=True)
    with pytest.raises(UserError, match="Nothing has run in the workspace") as caught, read_store(workspace):
        pass
    unreadable = "artifacts/learn/7/execution.json: No such file or directory"
    assert caught.value.received == (unreadable if leftover else "none")
    assert caught.value.next_step == "fashion run" and not workspace.store.exists()
