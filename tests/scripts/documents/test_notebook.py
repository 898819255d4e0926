"""The committed notebook can be read without being run, and shows the run that the documents describe."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from scripts.documents.notebook import METADATA, NOTEBOOK
from scripts.documents.values import DOCS

MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    """The committed notebook."""
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Its code cells."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_every_cell_ran_in_order_and_has_outputs(code: list[dict[str, Any]]) -> None:
    """All but the first, which imports, show something; none shows an error."""
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code[1:])
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_figures_are_pictures_that_any_viewer_shows(code: list[dict[str, Any]]) -> None:
    """A Git host runs no script, so an interactive figure would be empty there."""
    kinds = {kind for cell in code for output in cell["outputs"] for kind in output.get("data", {})}
    assert kinds == {"image/png", "text/html", "text/plain"}


def test_it_is_small_and_names_no_path_of_a_machine(code: list[dict[str, Any]]) -> None:
    """The size is that of the file with its outputs."""
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    texts = [
        "".join(text)
        for cell in code
        for output in cell["outputs"]
        for text in (output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/")))
    ]
    assert [found for text in texts for found in re.findall(r"(?<!\w)/(?:home|root|tmp|work|usr|mnt)/\S*", text)] == []


def test_prose_states_no_results(notebook: dict[str, Any]) -> None:
    """A result in a text cell would not change with the model; the cells compute all of them."""
    prose = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    stated = re.findall(r"\d+\.\d+\b%?|\d[\d.,]*%", prose)
    assert set(stated) <= {"95%", "99.5%"}, "95% is the level of the intervals, 99.5% the target of an exercise"


def test_it_shows_the_run_that_the_documents_describe(notebook: dict[str, Any]) -> None:
    """Its digest is that of the committed metrics."""
    run = json.loads((DOCS / "evaluation" / "run.json").read_text(encoding="utf-8"))
    assert notebook["metadata"][METADATA] == {"metrics_digest": run["metrics_digest"]}, (
        'run: make documents ARGS="--only notebook"'
    )
