"""Other taxonomies, end to end: from the file with the groups to report, pages, served model and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image
from pyarrow import parquet

from analysis.data.examples import read_arrays
from models.taxonomy import Taxonomy
from pipeline.commands.explore import newest_artifacts
from pipeline.commands.options import assemble
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace
from scripts.documents.notebook import execute_notebook
from serving.client import Client
from serving.engines.engine import MONITORING, Embedded, Flags, free_port
from serving.engines.server_process import ServerProcess
from sql.server import running_server
from tests.analysis.exploration.browser import opened
from tests.catalogue.catalogues import demonstrate
from tests.conftest import PROFILE, Fashion
from tests.synthetic import images_and_garments, write_idx

DEFAULT = Taxonomy.load()
TSHIRT, TROUSER, PULLOVER, DRESS, COAT, SANDAL, SHIRT, SNEAKER, BAG, BOOT = DEFAULT.garments
SHOES = [SANDAL, SNEAKER, BOOT]
COLOURS = ["#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#000000", "#7F3C8D", "#A5AA99"]
GROUPINGS: dict[str, dict[str, list[str]]] = {
    "two": {"Shoes & bags": [*SHOES, BAG], 'The "rest"': [TSHIRT, TROUSER, PULLOVER, DRESS, COAT, SHIRT]},
    "three": {
        "Shoes & bags": [*SHOES, BAG],
        "Röcke, 50%": [TROUSER, DRESS],
        "Tops: all": [TSHIRT, PULLOVER, COAT, SHIRT],
    },
    "five renamed": {
        "Tops": [TSHIRT, PULLOVER, COAT, SHIRT],
        "Trousers": [TROUSER],
        "Dresses": [DRESS],
        "Shoes": SHOES,
        "Luggage": [BAG],
    },
    "ten": {garment: [garment] for garment in DEFAULT.garments},
}
CHEAP = ["tuner.max_trials=1", "trainer.epochs=1", "evaluator.corrupted_examples=10", "infra_validator.requests=1"]


def write(path: Path, groups: dict[str, list[str]], garments: tuple[str, ...] = DEFAULT.garments) -> Path:
    """Writes a taxonomy as TOML; JSON's strings and lists of strings are TOML's, too."""
    tables = [
        f"[[group]]\nname = {json.dumps(name)}\ncolour = {json.dumps(colour)}\ngarments = {json.dumps(members)}\n"
        for (name, members), colour in zip(groups.items(), COLOURS, strict=False)
    ]
    path.write_text("\n".join([f"garments = {json.dumps(garments)}", *tables]), encoding="utf-8")
    return path


@dataclass(frozen=True)
class TaxonomyRun:
    """A finished run with a taxonomy.

    Attributes:
        taxonomy: The taxonomy.
        workspace: The workspace of the run.
        options: The options of its command.
        output: Its standard output.
    """

    taxonomy: Taxonomy
    workspace: Path
    options: tuple[str, ...]
    output: str

    def artifact(self, stage: str, name: str) -> Path:
        """The newest output of a stage."""
        return max((self.workspace / "artifacts" / stage).iterdir(), key=lambda path: int(path.name)) / name

    @property
    def group_names(self) -> dict[str, str]:
        """The group of each garment, by name."""
        groups = [self.taxonomy.groups[group] for group in self.taxonomy.group_of]
        return dict(zip(self.taxonomy.garments, groups, strict=True))

    def foreign(self, text: str) -> list[str]:
        """The default groups that a text mentions."""
        return [name for name in DEFAULT.groups if name not in self.taxonomy.groups and re.search(rf"\b{name}\b", text)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic images in Fashion-MNIST's format."""
    return write_idx(tmp_path_factory.mktemp("idx"), train=400, test=200)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n == "three" else pytest.mark.long) for n in GROUPINGS],
)
def run(request: Any, data: Path, fashion: Fashion, tmp_path_factory: pytest.TempPathFactory) -> TaxonomyRun:
    """The whole pipeline on synthetic data with a taxonomy of two, three, five or ten groups."""
    folder = tmp_path_factory.mktemp("run")
    file = write(folder / "taxonomy.toml", GROUPINGS[request.param])
    settings = [*CHEAP, f"example_gen.idx_dir={data}", f"taxonomy={file}"]
    options = ("--profile", str(PROFILE), *(word for each in settings for word in ("--set", each)))
    done = fashion("run", "--workspace", str(folder / "workspace"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return TaxonomyRun(Taxonomy.load(file), folder / "workspace", options, done.stdout)


@pytest.fixture(scope="module")
def server(run: TaxonomyRun) -> Iterator[ServerProcess]:
    """A server of the pushed model."""
    flags = Flags(run.workspace / "serving_models" / "fashion", "fashion", free_port(), free_port(), None, MONITORING)
    with Embedded().start(flags, run.workspace / "server.log") as running:
        running.wait_until_ready(120)
        yield running


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "order",
            "the order of Fashion-MNIST's labels.\nExpected: label 0 is T-shirt/top; .*\nReceived: label 0 is Trouser",
        ),
        ("renamed", "not those of Fashion-MNIST.\nExpected: label 1 is Trouser; .*\nReceived: label 1 is Hose"),
        ("fewer", "not those of Fashion-MNIST.\nExpected: label 9 is Ankle boot; .*\nReceived: label 9 is missing"),
        ("more", "not those of Fashion-MNIST.\nExpected: 10 garments: .*\nReceived: label 10 is Hat"),
        ("one group", "one group, so there is nothing to classify"),
    ],
)
@pytest.mark.parametrize("pipeline", ["fashion", "exploration"])
def test_a_taxonomy_that_does_not_fit_is_refused_before_anything_runs(
    pipeline: str, change: str, message: str, tmp_path: Path
) -> None:
    """Another order of the garments would exchange Fashion-MNIST's labels, and one group leaves nothing to predict."""
    names = list(DEFAULT.garments)
    changed = {
        "order": [names[1], names[0], *names[2:]],
        "renamed": [names[0], "Hose", *names[2:]],
        "fewer": names[:-1],
        "more": [*names, "Hat"],
        "one group": names,
    }[change]
    groups = {"all": changed} if change == "one group" else {"first": changed[:5], "others": changed[5:]}
    file = write(tmp_path / "taxonomy.toml", groups, tuple(changed))
    with pytest.raises(UserError, match=message):
        assemble(pipeline, Workspace(tmp_path / "workspace"), "default", [f"taxonomy={file}"])
    assert not (tmp_path / "workspace").exists()


def test_other_images_may_have_other_garments_in_any_order(tmp_path: Path) -> None:
    """A catalogue names its garments, and unverified IDX files may hold others; Fashion-MNIST's keep their order."""
    other = write(tmp_path / "other.toml", {"a": ["Hat"], "b": ["Scarf"]}, ("Hat", "Scarf"))
    turned = write(
        tmp_path / "turned.toml",
        {"a": list(DEFAULT.garments[:5]), "b": list(DEFAULT.garments[5:])},
        DEFAULT.garments[::-1],
    )
    for file, *settings in (
        (other, "example_gen.verify_checksums=false"),
        (other, "example_gen.source=catalogue", "example_gen.dsn=dbname=shop"),
        (turned, "example_gen.source=catalogue", "example_gen.dsn=dbname=shop"),
    ):
        pipeline, _ = assemble("fashion", Workspace(tmp_path), "default", [f"taxonomy={file}", *settings])
        assert pipeline.node("example_gen").parameters["garments"] == Taxonomy.load(file).garments
    with pytest.raises(UserError, match="not in the order"):
        assemble(
            "fashion", Workspace(tmp_path), "default", [f"taxonomy={turned}", "example_gen.verify_checksums=false"]
        )


def test_panel_report_and_tables_name_the_groups(run: TaxonomyRun) -> None:
    """Each group has a line with its figures, garments their groups, and no group of the default taxonomy appears."""
    groups, evaluation = run.taxonomy.groups, run.artifact("evaluator", "evaluation")
    metrics = json.loads((evaluation / "metrics.json").read_text("utf-8"))
    assert list(metrics["groups"]) == list(groups)
    assert [len(row) for row in metrics["confusion_matrix"]] == [len(groups)] * len(groups)
    assert {line["value"] for line in metrics["slices"] if line["feature"] == "group_name"} == set(groups)
    for group in groups:
        assert re.search(rf"^{re.escape(group)}( +\d+\.\d\d \[\d+\.\d, \d+\.\d\]){{3}}", run.output, re.MULTILINE), (
            run.output
        )

    page = (evaluation / "report.html").read_text("utf-8")
    for group, colour in zip(groups, run.taxonomy.colours, strict=True):
        escaped = group.replace("&", "&amp;").replace('"', "&#34;")
        assert f'style="background:{colour}"></span>{escaped}<' in page
    for text in (run.output, page, json.dumps(metrics, ensure_ascii=False)):
        assert run.foreign(text) == []

    predictions = parquet.read_table(evaluation / "predictions.parquet")
    pairs = zip(*(predictions[name].to_pylist() for name in ("garment", "group")), strict=True)
    assert dict(pairs) == run.group_names
    assert set(predictions["predicted_group"].to_pylist()) <= set(groups)


def test_a_report_opens_in_a_browser(run: TaxonomyRun) -> None:
    """The page has no error, and its confusion matrix names the groups in their order."""
    with opened(run.artifact("evaluator", "evaluation") / "report.html") as browser_page:
        assert browser_page.errors == []
        matrix = browser_page.page.locator("table.matrix").first
        assert matrix.locator("tbody th").all_inner_texts() == list(run.taxonomy.groups)


def test_explain_names_what_changed_in_the_taxonomy(run: TaxonomyRun, fashion: Fashion, tmp_path: Path) -> None:
    """The reason lists groups and garments that changed, not both taxonomies."""
    members = {group["name"]: group["garments"] for group in run.taxonomy.to_table()["group"]}
    last = run.taxonomy.groups[-1]
    members[f"New {last}"] = members.pop(last)
    file = write(tmp_path / "taxonomy.toml", members)
    options = ["-w", str(run.workspace), *run.options, "--set", f"taxonomy={file}", "--json"]
    decisions = {each["stage"]: each for each in json.loads(fashion("explain", *options).stdout)}
    changed = f"parameter taxonomy changed: group: {last} removed; group: New {last} added"
    assert changed in decisions["label_grouping"]["reasons"]


def test_the_client_names_the_groups_of_the_served_model(
    run: TaxonomyRun, server: ServerProcess, fashion: Fashion, tmp_path: Path
) -> None:
    """Over REST and gRPC and on the command line, every probability has the model's name, in the model's order."""
    images, _ = images_and_garments(4, 3)
    for url in (server.rest_url, f"grpc://{server.grpc_address}"):
        with Client(url) as client:
            for answer in client.predict(images):
                assert tuple(answer.group_probabilities) == run.taxonomy.groups
                assert tuple(answer.garment_probabilities) == run.taxonomy.garments
                assert answer.group == max(answer.group_probabilities, key=answer.group_probabilities.__getitem__)
                garments = zip(answer.garment_probabilities.values(), run.taxonomy.group_of, strict=True)
                best = run.taxonomy.groups.index(answer.group)
                assert answer.confidence == pytest.approx(sum(p for p, group in garments if group == best), abs=1e-5)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    done = fashion("predict", str(tmp_path / "a.png"), "--url", server.rest_url, "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    (found,) = json.loads(done.stdout)
    assert tuple(found["group_probabilities"]) == run.taxonomy.groups and run.foreign(done.stdout) == []


def test_bulk_inference_names_the_groups(run: TaxonomyRun) -> None:
    """The rows name the model's groups, and the summary the order of the probabilities."""
    scores = run.artifact("bulk_inferrer", "inference")
    summary = json.loads((scores / "summary.json").read_text("utf-8"))
    assert summary["group_names"] == list(run.taxonomy.groups)
    assert summary["garment_names"] == list(run.taxonomy.garments)
    assert set(summary["groups"]) <= set(run.taxonomy.groups)
    for file in scores.glob("*.parquet"):
        table = parquet.read_table(file)
        rows = zip(table["group"].to_pylist(), table["group_probabilities"].to_pylist(), strict=True)
        assert all(run.taxonomy.groups.index(group) == values.index(max(values)) for group, values in rows)


def test_a_catalogue_is_trained_on_and_classified_with_the_groups(
    run: TaxonomyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """Products get the taxonomy's groups, as examples and as answers in the database."""
    with running_server() as dsn:
        demonstrate(dsn, tmp_path / "shop", products=200)
        settings = ["example_gen.source=catalogue", f"example_gen.dsn={dsn}", "example_gen.test_share=0.2",
                    f"example_gen.files_below={tmp_path / 'shop'}"]  # fmt: skip
        more = [word for each in settings for word in ("--set", each)]
        workspace = str(tmp_path / "workspace")
        done = fashion("run", "-w", workspace, *run.options, *more, "--until", "label_grouping")
        assert done.returncode == 0, done.stderr
        shards = list((tmp_path / "workspace" / "artifacts" / "label_grouping").rglob("Split-train/*"))
        names = read_arrays(shards, ["garment_name", "group_name"])
        assert dict(zip(names["garment_name"], names["group_name"], strict=True)) == run.group_names

        done = fashion(
            "catalogue", "classify", "--dsn", dsn, "-w", str(run.workspace), "--files-below", str(tmp_path / "shop")
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(dsn) as connection:
            found = connection.execute("SELECT DISTINCT product_group FROM product_classification").fetchall()
        assert {group for (group,) in found} - {None} <= set(run.taxonomy.groups) and len(found) > 1


@pytest.mark.long
def test_page_and_notebook_of_the_exploration_show_the_groups(
    run: TaxonomyRun, fashion: Fashion, tmp_path: Path
) -> None:
    """The page opens without an error, names every group and no other, and the notebook runs from top to bottom."""
    done = fashion("explore", "-w", str(run.workspace), *run.options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.foreign(done.stdout) == []
    with opened(run.workspace / "reports" / "exploration.html") as browser_page:
        browser_page.draw_everything()
        assert browser_page.errors == []
        text = browser_page.page.inner_text("main")
    assert all(group in text for group in run.taxonomy.groups) and run.foreign(text) == []

    workspace = Workspace(run.workspace)
    assert newest_artifacts(workspace).taxonomy == run.taxonomy
    execute_notebook(workspace, tmp_path / "executed.ipynb")
    cells = json.loads((tmp_path / "executed.ipynb").read_text("utf-8"))["cells"]
    shown = "".join(
        "".join(o["data"].get("text/plain", "")) for c in cells for o in c.get("outputs", []) if "data" in o
    )
    assert all(group in shown for group in run.taxonomy.groups)
