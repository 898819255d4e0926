"""The code keeps the promises of docs/architecture.md that import-linter cannot express."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

BELOW_COMPONENTS = ("catalogue", "analysis", "serving", "models", "sql")
ABOVE = {"pipeline.contract.component", "pipeline.contract.artifacts", "pipeline.contract.progress"}


def imported(file: Path) -> set[str]:
    """Returns the modules that a file imports, those inside functions included."""
    nodes = list(ast.walk(ast.parse(file.read_bytes())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("folder", BELOW_COMPONENTS)
def test_code_below_components_knows_no_artifacts_and_no_progress(folder: str) -> None:
    """It gets paths, callables and values, so that a notebook can call it without a pipeline."""
    sources = sorted((ROOT / folder).rglob("*.py"))
    assert sources and [str(file.relative_to(ROOT)) for file in sources if imported(file) & ABOVE] == []


def test_the_table_of_folders_is_complete() -> None:
    """The table in docs/architecture.md names every folder of a top-level package, and all that it names exist."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Folders") : text.index("## A component")]
    assert [name for name in re.findall(r"^\| `([a-z_/]+)/`", table, re.MULTILINE) if not (ROOT / name).is_dir()] == []
    folders = [init.parent for top in (*BELOW_COMPONENTS, "pipeline") for init in ROOT.glob(f"{top}/*/__init__.py")]
    assert folders and [str(f.relative_to(ROOT)) for f in folders if f"{f.name}/`" not in table] == []
