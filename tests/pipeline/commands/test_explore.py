"""The whole exploration on synthetic data: the command, the page in a browser, the notebook, and the document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from analysis.exploration.report import explore
from analysis.exploration.summary import summarize
from pipeline.commands.explore import newest_artifacts, run_exploration
from pipeline.contract.errors import UserError
from pipeline.runner.display import PlainDisplay
from pipeline.runner.workspace import Workspace
from scripts.documents.exploration import FIGURES, PICTURES, linked_pictures, read_inputs
from scripts.documents.notebook import METADATA, execute_notebook
from scripts.documents.values import DOCS, metrics_digest
from tests.analysis.exploration.browser import opened
from tests.conftest import PROFILE, Fashion, TinyRun

DOCUMENT = DOCS / "exploration.md"
RUN = DOCS / "evaluation" / "run.json"
SECTIONS = ["classes", "distributions", "geometry", "near-duplicates", "label-quality", "difficulty", "data-needed"]
STAGES = ["example_gen", "neighbour_finder", "cross_validator", "learning_curve_gen", "embedder", "explorer"]


@dataclass(frozen=True)
class Explored:
    """A workspace in which a model was trained and the data were explored, and what that printed."""

    workspace: Path
    options: tuple[str, ...]
    output: str

    @property
    def page(self) -> Path:
        """The page."""
        return self.workspace / "reports" / "exploration.html"

    def artifact(self, stage: str, output: str) -> Path:
        """The newest output of a stage."""
        found: Path = max((self.workspace / "artifacts" / stage).iterdir(), key=lambda path: int(path.name)) / output
        return found


@pytest.fixture(scope="module")
def explored(tiny_run: TinyRun, fashion: Fashion, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    """The exploration, once, in a copy of the workspace of the tiny run."""
    workspace = tmp_path_factory.mktemp("explored") / "workspace"
    shutil.copytree(tiny_run.workspace, workspace)
    done = fashion("explore", "--workspace", str(workspace), *tiny_run.options)
    assert done.returncode == 0, done.stdout + done.stderr
    return Explored(workspace, tiny_run.options, done.stdout)


def explore_again(explored: Explored, fashion: Fashion, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs the command once more."""
    return fashion("explore", "--workspace", str(explored.workspace), *explored.options, *more)


def test_findings_are_printed_and_the_page_is_named(explored: Explored) -> None:
    """The terminal shows the numbered findings, of so few examples that nothing follows, and the path of the page."""
    output = explored.output
    assert re.findall(r"^(\d)\. (.*)", output, re.MULTILINE)[0][0] == "1"
    assert "Too few examples for conclusions" in output
    assert str(explored.page) in output and explored.page.stat().st_size < 12e6


def test_sections_of_few_examples_conclude_nothing(explored: Explored) -> None:
    """Each section says how many examples there are and how many are needed."""
    sections = json.loads((explored.artifact("explorer", "exploration") / "sections.json").read_text())
    assert [section["name"] for section in sections] == SECTIONS
    for section in sections:
        assert "There are 600 training and 200 test images, and at least 1,000 and 500 are needed" in section["finding"]
        assert section["decision"] == "So we conclude nothing from them."


def test_undefined_figures_are_not_printed(explored: Explored) -> None:
    """Small data leave figures undefined; neither the findings nor a sentence, caption or table prints "nan"."""
    sections = json.loads((explored.artifact("explorer", "exploration") / "sections.json").read_text())
    texts = [explored.output, *(section[name] for section in sections for name in ("finding", "decision"))]
    texts += [block["caption"] + str(block.get("table", "")) for section in sections for block in section["blocks"]]
    assert not [text for text in texts if re.search(r"\bnan\b|\bNone\b|\binf\b", text)]


def test_the_examples_of_the_pipeline_are_reused(explored: Explored) -> None:
    """An exploration after a run reuses ExampleGen."""
    assert "example_gen: reused" in explored.output


def test_nothing_is_computed_twice(explored: Explored, fashion: Fashion) -> None:
    """A second exploration reuses every stage and publishes the same page."""
    before = explored.page.read_bytes()
    again = explore_again(explored, fashion)
    assert again.returncode == 0 and [f"{stage}: reused" in again.stdout for stage in STAGES] == [True] * len(STAGES)
    assert explored.page.read_bytes() == before


def test_the_trained_model_of_the_workspace_is_examined(explored: Explored) -> None:
    """The map is of its features, and its errors stand among those of the other models."""
    sections = json.loads((explored.artifact("explorer", "exploration") / "sections.json").read_text())
    text = json.dumps(sections)
    assert "features of the trained model" in text and "trained model" in json.dumps(
        next(section for section in sections if section["name"] == "geometry")
    )


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_opens_without_an_error(explored: Explored, width: int, scheme: str) -> None:
    """Every section is there, every figure is drawn, nothing is fetched, nothing is wider than the window."""
    with opened(explored.page, width, "dark" if scheme == "dark" else "light") as browser_page:
        browser_page.draw_everything()
        assert browser_page.errors == []
        assert [a for a in browser_page.addresses if not a.startswith(("data:", "blob:"))] == [explored.page.as_uri()]
        assert browser_page.page.eval_on_selector_all("main > section", "all => all.map(s => s.id)") == [
            "short",
            *SECTIONS,
        ]
        assert browser_page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_missing_taxonomy_is_one_paragraph(explored: Explored, fashion: Fashion) -> None:
    """The error names the file, without a stack trace."""
    done = explore_again(explored, fashion, "--set", "taxonomy=nowhere.toml")
    assert done.returncode == 1 and "nowhere.toml" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom(explored: Explored, tmp_path: Path) -> None:
    """Every cell runs on other data, and the metadata name the evaluation that the notebook shows."""
    import nbformat

    execute_notebook(Workspace(explored.workspace), tmp_path / "executed.ipynb")
    executed = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells) and all(cell.outputs for cell in cells[1:])
    metrics = explored.artifact("evaluator", "evaluation") / "metrics.json"
    assert executed.metadata[METADATA] == {"metrics_digest": metrics_digest(metrics)}


def test_a_missing_run_is_named(explored: Explored, tiny_run: TinyRun, tmp_path: Path) -> None:
    """Without a run or an exploration, the error says which command is missing; no store is created."""
    with pytest.raises(UserError, match="evaluator") as error:
        newest_artifacts(Workspace(tmp_path / "workspace"))
    assert error.value.next_step.startswith("fashion run") and not (tmp_path / "workspace").exists()
    with pytest.raises(UserError, match="explorer") as error:
        newest_artifacts(Workspace(tiny_run.workspace))
    assert error.value.next_step.startswith("fashion explore")
    assert newest_artifacts(Workspace(explored.workspace)).model.saved_model.exists()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # no power law fits the one size of the learning curve
def test_the_figures_of_the_document_are_those_of_the_run(explored: Explored) -> None:
    """Every figure but the fitted ones is finite, and the model has the accuracy that the Evaluator measured."""
    workspace, overrides = Workspace(explored.workspace), [o for o in explored.options if "=" in o]
    result, _ = run_exploration(workspace, str(PROFILE), overrides, False, PlainDisplay(Console()))
    inputs, seed = read_inputs(result, workspace, str(PROFILE), overrides)
    figures = summarize(inputs, explore(inputs, seed))
    assert figures.pop("data_needed")
    json.dumps(figures, allow_nan=False)
    metrics = json.loads((explored.artifact("evaluator", "evaluation") / "metrics.json").read_text())
    accuracy = figures["geometry"]["models"]["trained model"]["accuracy"]["value"]
    assert accuracy == pytest.approx(metrics["overall"]["accuracy"]["value"], rel=1e-5)
    assert figures["classes"]["test_images"] == metrics["examples"]


def test_the_committed_figures_are_of_the_run_that_the_documents_describe() -> None:
    """The exploration examined the model whose metrics are committed."""
    figures, run = (json.loads(file.read_text(encoding="utf-8")) for file in (FIGURES, RUN))
    assert figures["run"]["metrics_digest"] == run["metrics_digest"], "run: make documents"


def test_the_committed_figures_agree_with_facts_about_the_data() -> None:
    """Facts that other tests find in the real data."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert {(row["train"], row["test"]) for row in figures["classes"]["garments"].values()} == {(6000, 1000)}
    near = figures["near_duplicates"]
    assert near["exact"] == 0
    assert (near["counts"]["0.08"]["test_images"], near["counts"]["0.08"]["group_conflicts"]) == (978, 5)


def test_the_document_shows_its_pictures_with_alternative_texts() -> None:
    """No picture is missing, none is left over, none is over 200 kB, and each is described in words."""
    pictures = dict(re.findall(r"!\[(.+?)\]\(exploration/([\w-]+)\.png\)", DOCUMENT.read_text(encoding="utf-8")))
    assert (
        sorted(pictures.values()) == sorted(linked_pictures()) == sorted(path.stem for path in PICTURES.glob("*.png"))
    )
    assert all(path.stat().st_size < 200e3 for path in PICTURES.glob("*.png"))
    assert all(len(text.split()) >= 10 for text in pictures)


def test_every_section_of_the_document_ends_in_what_the_pipeline_does() -> None:
    """The last paragraph of every section names the consequence."""
    parts = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(parts) == 8
    assert all(part.rstrip().rsplit("\n\n", 1)[-1].startswith("> **What the pipeline does.**") for part in parts)
