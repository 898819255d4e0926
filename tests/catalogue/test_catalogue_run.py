"""Tests of the pipeline on a catalogue, from its rows to validated and grouped examples."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from rich.console import Console

from analysis.data.examples import read_arrays
from pipeline.commands.options import assemble
from pipeline.contract.artifacts import Examples
from pipeline.contract.errors import UserError
from pipeline.runner.display import PlainDisplay
from pipeline.runner.local_runner import LocalRunner, RunResult
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.plan import Planner
from pipeline.runner.workspace import Workspace
from tests.catalogue.catalogues import Shop, demonstrate
from tests.conftest import PROFILE

STAGES = ["example_gen", "statistics_gen", "schema_gen", "example_validator", "label_grouping"]
SECRET = "correct-horse-battery"


@dataclass(frozen=True)
class Pipeline:
    """A catalogue and the workspace of its pipeline."""

    dsn: str
    shop: Shop
    workspace: Workspace
    options: list[str]

    def run(self, until: str) -> RunResult:
        """Runs the stages up to `until`."""
        pipeline, configuration = assemble("fashion", self.workspace, str(PROFILE), self.options)
        runner = LocalRunner(pipeline, self.workspace, PlainDisplay(Console(quiet=True)))
        properties = {"configuration": configuration.model_dump(mode="json")}
        return runner.run(pipeline.select(None, until, None), properties=properties)

    def reasons(self) -> dict[str, tuple[str, ...]]:
        """The reasons why stages would run, by stage."""
        pipeline, _ = assemble("fashion", self.workspace, str(PROFILE), self.options)
        with MetadataStore(self.workspace.store) as store:
            decisions = Planner(pipeline, self.workspace, store).explain(STAGES)
        return {d.node.name: d.reasons for d in decisions if d.action == "run"}

    def change(self, statement: str) -> None:
        """Executes a statement on the catalogue."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement)


@pytest.fixture
def fashion(empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The demonstration catalogue, whose DSN contains a password."""
    monkeypatch.setenv("FASHION_CATALOGUE_DSN", make_conninfo(empty, password=SECRET))
    shop = demonstrate(empty, tmp_path / "shop", products=400)
    settings = {"source": "catalogue", "files_below": tmp_path / "shop", "test_share": 0.2}
    options = [f"example_gen.{name}={value}" for name, value in settings.items()]
    return Pipeline(empty, shop, Workspace(tmp_path / "workspace"), options)


def test_a_catalogue_runs_through_the_pipeline(fashion: Pipeline) -> None:
    """Validation finds no anomaly, the texts reach the grouped examples, and a second run reuses every stage."""
    result = fashion.run("label_grouping")
    grouped = Examples(fashion.workspace.root / result.artifacts["label_grouping"]["grouped"].uri)
    columns = read_arrays(grouped.split("train"), ["title", "description", "source_id", "garment_name", "group_name"])
    products = [int(name.removeprefix("product/")) for name in columns["source_id"]]
    assert columns["title"].tolist() == [fashion.shop.rows.products[product] for product in products]
    assert columns["garment_name"].tolist() == [fashion.shop.rows.garments[product] for product in products]
    assert any(columns["description"])
    assert result.artifacts["schema_gen"]["schema"].properties["disagreements"] == 0
    assert result.artifacts["example_validator"]["anomalies"].properties["anomalies"] == 0
    failures = fashion.workspace.root / result.artifacts["example_gen"]["failures"].uri / "failures.jsonl"
    listed = {json.loads(line)["product"] for line in failures.read_text().splitlines()}
    assert listed and {fashion.shop.image_of(product) for product in listed} <= fashion.shop.pictures.broken.keys()
    assert not fashion.run("label_grouping").seconds
    content = b"".join(path.read_bytes() for path in fashion.workspace.root.rglob("*") if path.is_file())
    assert SECRET.encode() not in content and b"the catalogue user=postgres" in content


def test_a_missing_dsn_is_a_user_error_with_a_command(fashion: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage runs, and the next step is a command."""
    monkeypatch.delenv("FASHION_CATALOGUE_DSN")
    with pytest.raises(UserError, match="No catalogue is named") as caught:
        fashion.run("example_gen")
    assert caught.value.next_step.startswith("fashion run --profile catalogue")


@pytest.mark.parametrize("dsn", ["dbname=shop", ""])
def test_without_psycopg_the_message_names_the_extra(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The DSN may come from the parameter or from the environment."""
    for name in [name for name in sys.modules if name.split(".")[0] == "sql"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setenv("FASHION_CATALOGUE_DSN", "dbname=shop")
    options = ["example_gen.source=catalogue", *([f"example_gen.dsn={dsn}"] if dsn else [])]

    def explain() -> None:
        pipeline, _ = assemble("fashion", Workspace(tmp_path), str(PROFILE), options)
        with MetadataStore(Path(":memory:")) as store:
            Planner(pipeline, Workspace(tmp_path), store).explain(["example_gen"])

    with pytest.raises(UserError, match="needs psycopg") as caught:
        explain()
    assert caught.value.next_step == "pip install '.[catalogue]'"


def test_a_changed_row_makes_the_stage_run_again(fashion: Pipeline) -> None:
    """A change of the content that is read makes the stage run, and no other change does."""
    first = fashion.run("example_gen")
    assert "example_gen" not in fashion.reasons()
    fashion.change("INSERT INTO ProductDescription VALUES (9001, 1, 'it', 'Camicia', NULL)")
    assert "example_gen" not in fashion.reasons()
    for statement in (
        "UPDATE Product SET Title = 'New' WHERE Id = 1",
        "UPDATE ProductDescription SET TranslatedText = 'New' WHERE ProductId = 1 AND CountryCode = 'us'",
        "DELETE FROM ProductImages WHERE ProductId = 1",
        "DELETE FROM ProductGarment WHERE ProductId = 1",
    ):
        fashion.change(statement)
        assert fashion.reasons()["example_gen"] == ("the catalogue changed",), statement
        again = fashion.run("example_gen")
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
    """The error comes before anything is recorded, and never contains the password."""
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(UserError, match="^The catalogue's DSN|^The DSN") as caught:
        assemble("fashion", workspace, str(PROFILE), [f"example_gen.dsn={dsn}", "example_gen.source=catalogue"])
    assert SECRET not in str(caught.value) and not workspace.root.exists()
