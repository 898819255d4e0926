"""Writes `docs/experiments.md` with its pictures from the declarations and their CSVs: `make experiments`.

The text needs no browser, so a test can compare it. A picture's file name contains a digest of its content: a changed
picture changes the text, and only changed pictures are rendered again.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.declaration import STUDIES
from analysis.experiments.report import TITLE, answer, heading, judgements, reading_guide, section, write_page
from analysis.experiments.results import digest
from analysis.pages.page import as_text
from analysis.pages.section import Block, Gallery, Listing, Picture, Section
from pipeline.contract.files import write_text
from scripts.documents.screenshots import remove_others, save_screenshots

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "experiments.md"
PICTURES = ROOT / "docs" / "experiments"
DIGITS = 6
COLOURS = 96
"""Colours in a picture's palette; it shrinks a forest plot to a third of its bytes without a visible change."""

HEADER = f"""# {TITLE}

Experiments on the network, its recipe and its use: each has a question, an expected answer and a rule for the decision,
written before it was run. All figures and most sentences below are computed from the declarations and results in
`analysis/experiments/studies`. Failed ideas stay listed.

```sh
fashion experiment list          # all experiments with their answers and finished runs
fashion experiment run taxonomy  # makes the missing runs; it can be interrupted
fashion experiment report        # this as one interactive page
make experiments                 # this document
```
"""


def main() -> None:
    """Writes the document, renders the pictures that are missing, and removes those that it does not show."""
    text, files = write_document()
    write_text(DOCUMENT, text)
    new = {name: PICTURES / file for name, file in files.items() if not (PICTURES / file).exists()}
    if new:
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "experiments.html"
            write_page(page)
            save_screenshots(page, new)
        for file in new.values():
            shrink(file)
    remove_others(PICTURES, set(files.values()))


def write_document(directory: Path = STUDIES) -> tuple[str, dict[str, str]]:
    """Returns the document as Markdown, and the file names of its pictures by the names of their blocks."""
    judged = judgements(directory)
    parts = [section(judgement, directory) for judgement in judged]
    short = pd.DataFrame(
        {
            "no.": [str(judgement.experiment.number) for judgement in judged],
            "experiment": [f"[{j.experiment.title}](#{anchor(heading(j.experiment))})" for j in judged],
            "answer": [answer(judgement) for judgement in judged],
        }
    )
    files = {
        block.name: file_name(block)
        for part in parts
        for block in part.blocks
        if block.documented and not isinstance(block, Listing)
    }
    body = [_section(part, files) for part in (reading_guide(), *parts)]
    return "\n".join([HEADER, "## In short", "", markdown_table(short), "", *body]), files


def file_name(block: Picture | Gallery) -> str:
    """Returns the name of a picture's file, with six digits of a digest of its content."""
    if isinstance(block, Picture):
        content = _normalise(json.loads(block.figure.to_json()))
    else:
        content = [[row.title, row.images.tolist(), list(row.notes), row.colour] for row in block.rows]
    return f"{block.name}.{digest(content)[:6]}.png"


def anchor(title: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def markdown_table(table: pd.DataFrame) -> str:
    """Returns a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *as_text(table)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shrink(file: Path) -> None:
    """Rewrites a picture with a palette of few colours."""
    from PIL import Image

    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def _section(part: Section, files: dict[str, str]) -> str:
    blocks = "\n".join(_block(block, files) for block in part.blocks if block.documented)
    decision = "\n".join(f"> {line}".rstrip() for line in part.decision.strip().splitlines())
    return f"## {part.title}\n\n{part.finding.strip()}\n\n{blocks}{chr(10) if blocks else ''}{decision}\n"


def _block(block: Block, files: dict[str, str]) -> str:
    if isinstance(block, Listing):
        return f"{markdown_table(block.table)}\n\n*{block.caption}*\n"
    return f"![{block.name.replace('-', ' ')}](experiments/{files[block.name]})\n\n*{block.caption}*\n"


def _normalise(content: Any) -> Any:
    """Drops the template and rounds numbers, since the last digits may differ between machines."""
    if isinstance(content, dict):
        return {name: _normalise(value) for name, value in content.items() if name != "template"}
    if isinstance(content, list):
        return [_normalise(value) for value in content]
    return f"{content:.{DIGITS}g}" if isinstance(content, float) else content


if __name__ == "__main__":
    main()
