"""A workspace that version 0.1 wrote stays readable.

`workspace_0_1.tar.gz` holds two runs of version 0.1 (commit 259b2c1) on synthetic data, the second with one epoch more:

    fashion run --profile tests/tiny.toml --set example_gen.idx_dir=DIRECTORY --set trainer.epochs=5

Logs are left out. Files over 1,500 bytes are replaced by a line of text; the digests in `metadata.sqlite` and in the
`execution.json` files are those of the shortened files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commands.summary import latest_run
from pipeline.contract.artifacts import PushedModel
from pipeline.contract.errors import UserError
from pipeline.definition import COMPONENTS, fashion
from pipeline.runner import metadata_store
from pipeline.runner.configuration import load_configuration
from pipeline.runner.lineage import trace
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.plan import Decision, Planner
from pipeline.runner.store_recovery import repair
from pipeline.runner.workspace import Workspace
from serving.versions import versions
from tests.pipeline.conftest import open_database

STAGES = [
    "example_gen", "statistics_gen", "schema_gen", "example_validator", "label_grouping", "tuner", "trainer",
    "evaluator", "infra_validator", "pusher", "bulk_inferrer",
]  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A copy of the workspace, somewhere else than where it was made."""
    with tarfile.open(Path(__file__).with_name("workspace_0_1.tar.gz")) as archive:
        archive.extractall(tmp_path / "workspace", filter="data")
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def store(workspace: Workspace) -> Iterator[MetadataStore]:
    """Its metadata store, opened by the code of today."""
    with MetadataStore(workspace.store) as store:
        yield store


def decide(workspace: Workspace, store: MetadataStore, *selected: str) -> dict[str, Decision]:
    """Decides about stages of today's pipeline in the old workspace."""
    pipeline = fashion(load_configuration(COMPONENTS, "default"), workspace)
    return {d.node.name: d for d in Planner(pipeline, workspace, store).explain(selected or STAGES)}


def test_status_shows_the_latest_run(workspace: Workspace, store: MetadataStore) -> None:
    """Every stage has its state, and the pushed versions are found; an empty directory is no version."""
    (workspace.serving / "99999999999").mkdir()
    table = latest_run(store, workspace)
    assert [stage["stage"] for stage in table["stages"]] == STAGES
    assert [stage["state"] for stage in table["stages"]] == ["CACHED"] * 6 + ["COMPLETE"] * 5
    assert table["pushed_versions"] == [2, 1]
    assert all(Path(a["path"]).is_dir() for stage in table["stages"] for a in stage["artifacts"].values())


def test_lineage_walks_to_the_data(workspace: Workspace, store: MetadataStore) -> None:
    """The pushed model leads back to ExampleGen, with commit and parameters."""
    tree = trace(store, workspace, "PushedModel")
    stages = {tree["stage"]: tree}
    waiting = [tree]
    while waiting:
        waiting += (inputs := list(waiting.pop()["inputs"].values()))
        stages |= {artifact["stage"]: artifact for artifact in inputs}
    assert set(stages) == set(STAGES) - {"bulk_inferrer"}
    assert stages["trainer"]["parameters"]["epochs"] == 5 and stages["trainer"]["git_commit"] == "259b2c15a69a"


def test_baseline_is_the_model_that_was_blessed_before(workspace: Workspace, store: MetadataStore) -> None:
    """The Evaluator compares the newest model with the one of the first run."""
    inputs = decide(workspace, store, "evaluator")["evaluator"].inputs
    assert inputs["model"].uri == "artifacts/trainer/18/model"
    assert inputs["baseline"].uri == "artifacts/trainer/7/model"


def test_pushed_versions_are_found_where_the_workspace_is_now(workspace: Workspace, store: MetadataStore) -> None:
    """The absolute paths of version 0.1 lead to the versions beside the artifact, so neither counts as gone."""
    pushed = [PushedModel(workspace.root / a.uri) for a in store.artifacts("PushedModel")]
    assert [p.version_directory() for p in pushed] == [v.path for v in versions(workspace.serving)]
    assert [p.damage() for p in pushed] == ["", ""]


def test_stages_run_once_more_because_modules_have_moved(workspace: Workspace, store: MetadataStore) -> None:
    """A stage whose modules have other names runs again, and explain says so in a sentence."""
    decision = decide(workspace, store)["example_gen"]
    assert decision.action == "run"
    assert decision.reasons[0].startswith("source modules were moved or renamed since the last execution: ")


def test_lost_store_is_made_again_from_the_records(workspace: Workspace) -> None:
    """The files beside the artifacts are enough to record the finished executions again."""
    workspace.store.write_bytes(b"this is no database" * 100)
    recovered = repair(workspace)
    assert recovered.damaged_store is not None and sorted(set(recovered.stages)) == sorted(STAGES)
    with MetadataStore(workspace.store) as store:
        assert len(store.artifacts("Model")) == 2


def test_store_goes_through_the_migrations(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of version 1 is brought to the newest version, and keeps what it holds."""
    first = ("CREATE TABLE Tag (execution_id INTEGER)", "INSERT INTO Tag SELECT id FROM Execution")
    monkeypatch.setattr(metadata_store, "MIGRATIONS", (first, ("ALTER TABLE Tag ADD COLUMN name TEXT",)))
    for _ in range(2):
        with MetadataStore(workspace.store) as store:
            assert len(latest_run(store, workspace)["stages"]) == len(STAGES)
    with open_database(workspace.store) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert db.execute("SELECT COUNT(*), MAX(name) FROM Tag").fetchone() == (22, None)


def test_failed_migration_leaves_the_store_as_it_was(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is one transaction: after an error the store is of the version before it."""
    monkeypatch.setattr(metadata_store, "MIGRATIONS", (("CREATE TABLE Tag (id INTEGER)", "no SQL"),))
    with pytest.raises(UserError, match="cannot be used"):
        MetadataStore(workspace.store)
    monkeypatch.undo()
    with MetadataStore(workspace.store) as store:
        assert latest_run(store, workspace)["run"] == 2
    with open_database(workspace.store) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'Tag'").fetchone()


def test_new_store_has_the_newest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store goes the way of an old one, so both have the same tables."""
    monkeypatch.setattr(metadata_store, "MIGRATIONS", (("CREATE TABLE Tag (id INTEGER)",),))
    MetadataStore(tmp_path / "metadata.sqlite").close()
    with open_database(tmp_path / "metadata.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'Tag'").fetchone()
