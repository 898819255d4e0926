"""Tests of pipeline.runner.metadata_store: what is recorded, in which state, and that half a record never stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.contract.errors import UserError
from pipeline.runner.metadata_store import ArtifactRecord, MetadataStore
from tests.pipeline.conftest import open_database

MODEL = {"type": "Model", "uri": "artifacts/learn/1/model", "digest": "abc", "properties": {"size": 3, "manifest": {}}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MetadataStore]:
    """An empty store."""
    with MetadataStore(tmp_path / "metadata.sqlite") as store:
        yield store


def test_a_finished_execution_has_its_inputs_and_outputs(store: MetadataStore) -> None:
    """Inputs and outputs keep their names and directions, and a reused artifact keeps its writer."""
    run = store.start_run("toy", {"profile": "quick", "seed": 7})
    first = store.start_execution(run, "learn", "key", {"reasons": ["new"], "note": "before"})
    assert [(e.state, e.end_time, e.seconds) for e in store.run_executions(run)] == [("RUNNING", None, 0)]
    ids = store.finish_execution(first, "COMPLETE", outputs={"model": MODEL}, properties={"note": "after"})
    second = store.start_execution(run, "judge", "other key", {})
    store.finish_execution(second, "CACHED", inputs={"model": ids["model"]}, reused={"again": ids["model"]})
    artifact = store.artifact(ids["model"])
    assert artifact is not None and artifact.properties == MODEL["properties"]
    assert (artifact.type, artifact.uri, artifact.digest) == ("Model", "artifacts/learn/1/model", "abc")
    assert store.events(first, "OUTPUT") == {"model": artifact} and store.events(first, "INPUT") == {}
    assert store.events(second, "INPUT") == {"model": artifact} and store.events(second, "OUTPUT") == {
        "again": artifact
    }
    writer = store.producer(artifact.id)
    assert writer is not None and (writer.id, writer.properties) == (first, {"reasons": ["new"], "note": "after"})
    assert writer.end_time is not None and writer.end_time >= writer.start_time
    assert store.latest_run() == (run, {"pipeline": "toy", "profile": "quick", "seed": 7})
    later = store.start_run("other", {})
    assert store.latest_run() == (later, {"pipeline": "other"}) and store.run_executions(later) == []


def test_only_results_count_as_latest(store: MetadataStore) -> None:
    """Failed, canceled and running executions have no outputs; a reused result counts as latest, not as finished."""
    run = store.start_run("toy", {})
    for key, state in (("a", "COMPLETE"), ("b", "COMPLETE"), ("a", "CACHED"), ("b", "FAILED"), ("a", "CANCELED")):
        store.finish_execution(store.start_execution(run, "learn", key, {}), state)
    store.finish_execution(store.start_execution(run, "judge", "a", {}), "COMPLETE")
    store.start_execution(run, "learn", "b", {})
    latest = [store.latest_execution("learn", key) for key in (None, "a", "b")]
    assert [execution.id for execution in latest if execution] == [3, 3, 2]
    assert store.latest_execution("learn", "c") is store.latest_execution("source") is None
    assert [execution.id for execution in store.finished_executions("learn")] == [2, 1]
    assert [(e.type, e.id) for e in store.latest_executions()] == [("learn", 3), ("judge", 6)]


def test_a_killed_execution_took_no_known_time(store: MetadataStore) -> None:
    """What a killed process left becomes FAILED and is returned once; finished executions stay as they are."""
    run = store.start_run("toy", {})
    store.finish_execution(store.start_execution(run, "source", "a", {}), "COMPLETE")
    store.start_execution(run, "learn", "a", {})
    assert [(e.id, e.type, e.state) for e in store.abandon_running()] == [(2, "learn", "RUNNING")]
    done, killed = store.run_executions(run)
    assert (done.state, killed.state, killed.end_time, killed.seconds) == ("COMPLETE", "FAILED", killed.start_time, 0)
    assert store.abandon_running() == []


def test_half_a_record_never_stays(store: MetadataStore) -> None:
    """An execution whose outputs cannot be recorded keeps none of them, and the store stays usable."""
    execution = store.start_execution(store.start_run("toy", {}), "learn", "key", {})
    broken = {**MODEL, "properties": {"what": {1, 2}}}
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.finish_execution(execution, "COMPLETE", outputs={"model": MODEL, "broken": broken})
    assert store.artifacts() == [] and [e.state for e in store.run_executions(1)] == ["RUNNING"]
    store.finish_execution(execution, "COMPLETE", outputs={"model": MODEL})
    assert [artifact.type for artifact in store.artifacts()] == ["Model"]


def test_a_served_version_is_recorded_once(store: MetadataStore) -> None:
    """It is known by its place and its content together."""
    served = ArtifactRecord(0, "ServedModel", "serving_models/fashion/1", "abc", 0.0, {"manifest": {"a": "b"}})
    variants = [served, replace(served, digest="abd"), replace(served, uri="serving_models/fashion/2"), served]
    assert [store.record_artifact(artifact) for artifact in variants] == [1, 2, 3, 1]
    assert [(a.type, a.uri, a.digest, a.properties) for a in store.artifacts("ServedModel")] == [
        ("ServedModel", a.uri, a.digest, {"manifest": {"a": "b"}}) for a in variants[:3]
    ]
    assert store.artifacts("Model") == []


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    """The check reads the whole file: also a part that opening it does not need."""
    path = tmp_path / "metadata.sqlite"
    with MetadataStore(path) as store:
        run = store.start_run("toy", {})
        for number in range(200):
            store.start_execution(run, "learn", f"key {number}", {"note": "x" * 100})
        store.check()
    with open_database(path) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ExecutionByKey'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * size : root * size] = bytes(size)
    path.write_bytes(content)
    with MetadataStore(path) as store, pytest.raises(UserError, match="is damaged") as caught:
        store.check()
    assert caught.value.next_step == "fashion repair"
