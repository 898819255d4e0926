"""The pipeline on a catalogue, from its rows to validated and grouped examples, as `fashion run` does it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from components.catalogue_demo import Demo, write_demo
from components.examples import read_arrays
from pipeline.artifacts import Examples
from pipeline.assembly import assemble
from pipeline.display import PlainDisplay
from pipeline.errors import UserError
from pipeline.local_runner import LocalRunner, RunResult
from pipeline.metadata_store import MetadataStore
from pipeline.plan import Planner
from pipeline.workspace import Workspace
from tests.components.catalogues import GARMENTS
from tests.conftest import PROFILE
from tests.synthetic import images_and_garments

STAGES = ["example_gen", "statistics_gen", "schema_gen", "example_validator", "label_grouping"]
SECRET = "correct-horse-battery"


@dataclass(frozen=True)
class Shop:
    """A catalogue and the workspace of its pipeline."""

    dsn: str
    demo: Demo
    workspace: Workspace
    options: list[str]

    def run(self, until: str) -> RunResult:
        """Runs as far as a stage."""
        pipeline, configuration = assemble("fashion", self.workspace, str(PROFILE), self.options)
        runner = LocalRunner(pipeline, self.workspace, PlainDisplay(Console(quiet=True)))
        properties = {"configuration": configuration.model_dump(mode="json")}
        return runner.run(pipeline.select(None, until, None), properties=properties)

    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Why stages would run, by stage."""
        pipeline, _ = assemble("fashion", self.workspace, str(PROFILE), self.options)
        store = MetadataStore(self.workspace.store)
        decisions = Planner(pipeline, self.workspace, store).explain(STAGES)
        store.close()
        return {d.node.name: d.reasons for d in decisions if d.action == "run"}

    def change(self, statement: str) -> None:
        """Changes the catalogue."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement)


@pytest.fixture
def shop(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with 300 products and some broken ones, whose database wants a password, or so its user thinks."""
    monkeypatch.setenv("PGPASSWORD", SECRET)
    images, garments = images_and_garments(300, 0)
    with psycopg.connect(dsn) as connection:
        demo = write_demo(connection, tmp_path / "shop", images, [GARMENTS[g] for g in garments])
    settings = {"source": "catalogue", "dsn": dsn, "files_below": tmp_path / "shop"}
    options = [f"example_gen.{name}={value}" for name, value in settings.items()]
    return Shop(dsn, demo, Workspace(tmp_path / "workspace"), options)


def test_a_catalogue_runs_through_the_pipeline(shop: Shop) -> None:
    """Validation finds nothing wrong, the texts reach the grouped examples, and a second run reuses everything."""
    result = shop.run("label_grouping")
    grouped = Examples(shop.workspace.root / result.artifacts["label_grouping"]["grouped"].uri)
    columns = read_arrays(grouped.split("train"), ["title", "description", "garment_name", "group_name"])
    assert all(t.startswith(g) for t, g in zip(columns["title"], columns["garment_name"], strict=True))
    assert result.artifacts["schema_gen"]["schema"].properties["disagreements"] == 0
    assert result.artifacts["example_validator"]["anomalies"].properties["anomalies"] == 0
    failures = shop.workspace.root / result.artifacts["example_gen"]["failures"].uri / "failures.jsonl"
    listed = {json.loads(line)["product"] for line in failures.read_text().splitlines()}
    assert listed and listed < shop.demo.broken.keys()
    assert not shop.run("label_grouping").seconds
    held = b"".join(path.read_bytes() for path in shop.workspace.root.rglob("*") if path.is_file())
    assert SECRET.encode() not in held and b"example_gen" in held


def test_a_changed_row_makes_the_stage_run_again(shop: Shop) -> None:
    """Of what is read any change counts, and nothing else does."""
    first = shop.run("example_gen")
    assert "example_gen" not in shop.reasons()
    shop.change("INSERT INTO ProductDescription VALUES (9001, 1, 'de', 'Hemd', NULL)")
    assert "example_gen" not in shop.reasons()
    for statement in (
        "UPDATE Product SET Title = 'New' WHERE Id = 1",
        "UPDATE ProductDescription SET TranslatedText = NULL WHERE Id = 2",
        "DELETE FROM ProductImages WHERE ProductId = 3",
        "DELETE FROM ProductGarment WHERE ProductId = 4",
    ):
        shop.change(statement)
        assert shop.reasons()["example_gen"] == ("the catalogue changed",), statement
        again = shop.run("example_gen")
        assert "example_gen" in again.seconds
    assert again.artifacts["example_gen"]["examples"].digest != first.artifacts["example_gen"]["examples"].digest


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://anna:{SECRET}@db/shop",
        f"host=db password={SECRET}",
        f"postgresql://db/shop?sslpassword={SECRET}",
        f"postgresql://anna:{SECRET}@[db/shop",
        f"dbname = shop {SECRET}",
    ],
)
def test_a_password_in_the_dsn_is_refused_and_not_repeated(dsn: str, tmp_path: Path) -> None:
    """Before anything is recorded, and with where to put it instead."""
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(UserError, match="^The catalogue's DSN|^The DSN") as caught:
        assemble("fashion", workspace, str(PROFILE), [f"example_gen.dsn={dsn}", "example_gen.source=catalogue"])
    assert SECRET not in str(caught.value) and not workspace.root.exists()
