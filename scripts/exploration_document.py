"""Writes `docs/exploration.md` with its pictures, and executes the notebook: `make exploration`.

The document says what the page says, and its pictures are photographs of the page's blocks in a headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.display import display_for, terminal_console
from pipeline.explore import artifact_path, publish, run_exploration
from pipeline.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "exploration.md"
PICTURES = ROOT / "docs" / "exploration"
NOTEBOOK = ROOT / "analysis" / "exploration.ipynb"
WIDTH = 900
BARE = "figcaption, nav { display: none !important } .columns { display: block !important }"
DRAWN = "name => [...document.querySelectorAll(`#${name} .plot`)].every(plot => plot.dataset.drawn)"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

HEADER = """# What is in the data

What the images of Fashion-MNIST are like, what regrouping ten garments into five groups does to them, and what the
pipeline does about it. `fashion explore` measures all of this in about four minutes and writes it as one page on which
every figure can be touched; this is the same text with some of the figures, written by `make exploration`.
"""


def main() -> None:
    """Explores, or takes what is there, and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--only", choices=["document", "notebook"])
    options = parser.parse_args()
    place = Workspace(options.workspace.resolve())
    result = run_exploration(place, "default", None, False, display_for(terminal_console()))
    if options.only != "notebook":
        artifact = artifact_path(result, place)
        sections = json.loads((artifact / "sections.json").read_text(encoding="utf-8"))
        findings = json.loads((artifact / "findings.json").read_text(encoding="utf-8"))
        DOCUMENT.write_text(write_document(sections, findings), encoding="utf-8")
        photograph(publish(result, place), [block["name"] for block in _documented(sections)], PICTURES)
    if options.only != "document":
        execute_notebook(place)


def write_document(sections: list[dict[str, Any]], findings: list[str]) -> str:
    """Returns the document as Markdown.

    Args:
        sections: The content of `sections.json`.
        findings: The content of `findings.json`.
    """
    short = "\n".join(f"{number}. {finding}" for number, finding in enumerate(findings, start=1))
    return "\n".join([HEADER, "## In short", "", short, "", *(_section(section) for section in sections)])


def _section(section: dict[str, Any]) -> str:
    pictures = "\n".join(
        f"![{block['name'].replace('-', ' ')}](exploration/{block['name']}.png)\n\n*{block['caption']}*\n"
        for block in _documented([section])
    )
    decision = "\n".join(f"> {line}".rstrip() for line in section["decision"].strip().splitlines())
    return f"## {section['title']}\n\n{section['finding'].strip()}\n\n{pictures}\n{decision}\n"


def _documented(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for section in sections for block in section["blocks"] if block["documented"]]


def photograph(page: Path, names: list[str], target: Path) -> None:
    """Writes a PNG of each named block of the page, as it looks by day and without its caption."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with opened(page, WIDTH) as shown:
        shown.add_style_tag(content=BARE)
        for name in names:
            shown.locator(f"#{name}").scroll_into_view_if_needed()
            shown.wait_for_function(DRAWN, arg=name)
            shown.locator(f"#{name}").screenshot(path=target / f"{name}.png", animations="disabled")


@contextmanager
def opened(page: Path, width: int, dark: bool = False) -> Iterator[Any]:
    """Opens the page in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        shown.goto(page.resolve().as_uri())
        try:
            yield shown
        finally:
            browser.close()


def execute_notebook(workspace: Workspace, target: Path = NOTEBOOK) -> None:
    """Executes the notebook from top to bottom on a workspace, and writes it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import os

    import nbformat
    from nbclient import NotebookClient

    os.environ["FASHION_WORKSPACE"] = str(workspace.root)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=place).execute()
    for cell in notebook.cells:
        # What libraries say of themselves while they are imported.
        cell["outputs"] = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
        if cell.cell_type != "code":
            del cell["outputs"]
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
