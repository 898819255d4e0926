"""The whole exploration on synthetic data: the command, the page in a browser, the notebook, and the document."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.commands.explore import newest_artifacts
from pipeline.contract.errors import UserError
from pipeline.runner.workspace import Workspace
from scripts.documents.exploration import DOCUMENT, PICTURES, write_document
from scripts.documents.notebook import METADATA, execute_notebook
from tests.analysis.exploration.browser import opened
from tests.conftest import Fashion, TinyRun

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


def test_five_findings_are_printed_and_the_page_is_named(explored: Explored) -> None:
    """The terminal shows the five main findings, numbered, and the path of the page."""
    output = explored.output
    assert re.findall(r"^(\d)\. ", output, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    assert str(explored.page) in output and explored.page.stat().st_size < 12e6


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
    assert executed.metadata[METADATA] == {"metrics_sha256": hashlib.sha256(metrics.read_bytes()).hexdigest()}


def test_a_missing_run_is_named(explored: Explored, tiny_run: TinyRun, tmp_path: Path) -> None:
    """Without a run or an exploration, the error says which command is missing; no store is created."""
    with pytest.raises(UserError, match="evaluator") as error:
        newest_artifacts(Workspace(tmp_path / "workspace"))
    assert error.value.next_step.startswith("fashion run") and not (tmp_path / "workspace").exists()
    with pytest.raises(UserError, match="explorer") as error:
        newest_artifacts(Workspace(tiny_run.workspace))
    assert error.value.next_step.startswith("fashion explore")
    assert newest_artifacts(Workspace(explored.workspace)).model.saved_model.exists()


def test_the_document_says_what_is_known_of_the_real_data() -> None:
    """Facts that other tests find in the real data stand in it, and every section ends in a decision."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for fact in ("A garment has 6,000 training and 1,000 test images", "no exact duplicate among the 70,000 images"):
        assert fact in text
    assert "978 of 10,000 test images" in text and "within RMSE 0.08, and of these pairs 5 disagree" in text
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[2:]
    assert len(parts) == len(SECTIONS) and all("\n> So we" in part for part in parts)


def test_the_documents_pictures_are_those_it_shows() -> None:
    """No picture is missing, none is left over, none is over 1 MB."""
    linked = set(re.findall(r"\(exploration/([\w-]+\.png)\)", DOCUMENT.read_text(encoding="utf-8")))
    assert linked == {path.name for path in PICTURES.iterdir()}
    assert all(path.stat().st_size < 1e6 for path in PICTURES.iterdir())


def test_the_document_follows_from_the_sections(explored: Explored) -> None:
    """What is written is the sections' prose, the captions of what is documented, and the findings."""
    artifact = explored.artifact("explorer", "exploration")
    sections = json.loads((artifact / "sections.json").read_text())
    text = write_document(sections, json.loads((artifact / "findings.json").read_text()))
    for section in sections:
        assert section["title"] in text and section["finding"].strip() in text
        for block in section["blocks"]:
            assert (f"*{block['caption']}*" in text) == block["documented"]
