"""Writes `docs/exploration.md` with its pictures: `make exploration`.

The document has the text of the page, and its pictures are screenshots of the page's blocks in a headless Chromium.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.commands.explore import publish, run_exploration
from pipeline.runner.display import display_for, terminal_console
from pipeline.runner.workspace import Workspace
from scripts.documents.screenshots import remove_others, save_screenshots

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "exploration.md"
PICTURES = ROOT / "docs" / "exploration"

HEADER = """# What is in the data

What the images of Fashion-MNIST are like, what regrouping ten garments into five groups does to them, and what the
pipeline does about it. `fashion explore` measures all of this in about four minutes and writes it as one interactive
page. This document has the same text with some of the figures; `make exploration` writes it.
"""


def main() -> None:
    """Runs the exploration, or reuses its results, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    options = parser.parse_args()
    workspace = Workspace(options.workspace.resolve())
    _, exploration = run_exploration(workspace, "default", None, False, display_for(terminal_console()))
    sections = exploration.sections()
    DOCUMENT.write_text(write_document(sections, exploration.findings()), encoding="utf-8")
    files = {block["name"]: PICTURES / f"{block['name']}.png" for block in _documented(sections)}
    save_screenshots(publish(exploration, workspace), files)
    remove_others(PICTURES, {file.name for file in files.values()})


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


if __name__ == "__main__":
    main()
