"""Writes `docs/experiments.md` with its pictures from the declarations and their CSVs: `make experiments`.

The text needs no browser, so that a test can compare it. A picture's name carries a digest of what is drawn: the text
tells a picture that no longer fits, and only what changed is photographed anew.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.declaration import STUDIES
from analysis.experiments.results import digest
from analysis.experiments.story import TITLE, heading, judgements, reading, section, verdict, write_page
from analysis.pages.page import as_text
from analysis.pages.section import Block, Gallery, Listing, Picture, Section
from scripts.photographs import photograph, remove_others

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "experiments.md"
PICTURES = ROOT / "docs" / "experiments"
DIGITS = 6
COLOURS = 96
"""Of a picture's palette; a forest plot is a third of the size with it, and looks the same."""

HEADER = f"""# {TITLE}

What was asked about the network, its recipe and what stands around it: a question, what was expected of it, and a rule
for the decision, written before it was run. All figures and most sentences below are
computed from the declarations and results in `analysis/experiments/studies`. What failed stays.

```sh
fashion experiment list          # all experiments, and how far they are
fashion experiment run taxonomy  # makes the runs that are missing; it can be interrupted
fashion experiment report        # this as one page, on which every figure can be touched
make experiments                 # this document
```
"""


def main() -> None:
    """Writes the document, and the pictures that are not there yet."""
    text, files = write_document()
    DOCUMENT.write_text(text, encoding="utf-8")
    new = {name: PICTURES / file for name, file in files.items() if not (PICTURES / file).exists()}
    if new:
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "experiments.html"
            write_page(page)
            photograph(page, new)
        for file in new.values():
            shrink(file)
    remove_others(PICTURES, set(files.values()))


def write_document(directory: Path = STUDIES) -> tuple[str, dict[str, str]]:
    """Returns the document as Markdown, and the file name of each picture that it shows by the name of its block."""
    judged = judgements(directory)
    told = [section(judgement, directory) for judgement in judged]
    short = pd.DataFrame(
        {
            "no.": [str(judgement.experiment.number) for judgement in judged],
            "experiment": [f"[{j.experiment.title}](#{anchor(heading(j.experiment))})" for j in judged],
            "answer": [verdict(judgement) for judgement in judged],
        }
    )
    files = {
        block.name: file_name(block)
        for part in told
        for block in part.blocks
        if block.documented and not isinstance(block, Listing)
    }
    body = [_section(part, files) for part in (reading(), *told)]
    return "\n".join([HEADER, "## In short", "", markdown_table(short), "", *body]), files


def file_name(block: Picture | Gallery) -> str:
    """Returns the name of a picture's file, with six digits of a digest of all that is drawn."""
    if isinstance(block, Picture):
        drawn = _plain(json.loads(block.figure.to_json()))
    else:
        drawn = [[row.title, row.images.tolist(), list(row.notes), row.colour] for row in block.rows]
    return f"{block.name}.{digest(drawn)[:6]}.png"


def anchor(title: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def markdown_table(table: pd.DataFrame) -> str:
    """Returns a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *as_text(table)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shrink(file: Path) -> None:
    """Writes a picture anew with few colours."""
    from PIL import Image

    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def _section(told: Section, files: dict[str, str]) -> str:
    blocks = "\n".join(_block(block, files) for block in told.blocks if block.documented)
    decision = "\n".join(f"> {line}".rstrip() for line in told.decision.strip().splitlines())
    return f"## {told.title}\n\n{told.finding.strip()}\n\n{blocks}{chr(10) if blocks else ''}{decision}\n"


def _block(block: Block, files: dict[str, str]) -> str:
    if isinstance(block, Listing):
        return f"{markdown_table(block.table)}\n\n*{block.caption}*\n"
    return f"![{block.name.replace('-', ' ')}](experiments/{files[block.name]})\n\n*{block.caption}*\n"


def _plain(drawn: Any) -> Any:
    """Returns what is drawn without the template, and with few digits: another machine may round the last otherwise."""
    if isinstance(drawn, dict):
        return {name: _plain(value) for name, value in drawn.items() if name != "template"}
    if isinstance(drawn, list):
        return [_plain(value) for value in drawn]
    return f"{drawn:.{DIGITS}g}" if isinstance(drawn, float) else drawn


if __name__ == "__main__":
    main()
