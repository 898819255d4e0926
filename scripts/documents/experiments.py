"""Writes `docs/experiments/`, one page per experiment, from the declarations and results.

make documents ARGS="--only experiments"

The text needs no browser, so a test can compare it. A picture's file name contains a digest of its content: a changed
picture changes the text, and only changed pictures are rendered again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.experiments.declaration import STUDIES, Experiment
from analysis.experiments.links import mentioned, page_name
from analysis.experiments.report import Report, reading_guide, reports, write_page
from analysis.experiments.results import digest
from analysis.pages.page import as_text
from analysis.pages.section import Block, Gallery, Listing, Picture
from pipeline.contract.files import write_text
from scripts.documents.screenshots import remove_others, save_screenshots

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "experiments"
PICTURES = PAGES / "figures"
SOURCES = "../../analysis/experiments/studies"
INDEX, METHOD = "README.md", "method.md"
LARGE_IMAGES = ".cells { zoom: 1.55 }"
"""Six images a row, which are two of an image, its attributions and its edit."""
DIGITS = 6
COLOURS = 96
"""Colours in a picture's palette; it shrinks a forest plot to a third of its bytes without a visible change."""

INTRODUCTION = """\
# All experiments

Each experiment declares a question, an expected answer and a decision rule before its runs. An expectation that was
written after a first look at results says so. The page of an experiment shows the results, the decision and all
figures, computed from the files in [`analysis/experiments/studies`](../../analysis/experiments/studies). Experiments
without a gain stay listed.

- [The findings that matter](../experiments.md), in fifteen minutes
- [How to read the figures](method.md): intervals, significance, power
"""
COMMANDS = """\
## Commands

```sh
fashion experiment list          # all experiments with their answers and finished runs
fashion experiment run taxonomy  # makes the missing runs of one; it can be interrupted
fashion experiment report        # all experiments as one interactive page
make documents ARGS="--only experiments"    # writes these pages
```
"""


def main() -> None:
    """Writes the pages, renders the pictures that are missing, and removes pages and pictures that are obsolete."""
    found = reports()
    pages, files = write_pages(found)
    for name, text in pages.items():
        write_text(PAGES / name, text)
    for page in PAGES.glob("*.md"):
        if page.name not in pages:
            page.unlink()
    new = {name: PICTURES / file for name, file in files.items() if not (PICTURES / file).exists()}
    if new:
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "experiments.html"
            write_page(page, found)
            save_screenshots(page, new, LARGE_IMAGES)
        for file in new.values():
            shrink(file)
    remove_others(PICTURES, set(files.values()))


def write_pages(found: Sequence[Report], directory: Path = STUDIES) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the pages by their file names, and the file names of their pictures by the names of their blocks."""
    files = {
        block.name: file_name(block)
        for each in found
        for block in each.blocks
        if block.documented and not isinstance(block, Listing)
    }
    pages = {page_name(each.experiment): _page(each, found, files, directory) for each in found}
    guide = f"# How to read the figures\n\n[All experiments]({INDEX})\n\n{reading_guide(found)}"
    return {INDEX: _index(found), METHOD: guide} | pages, files


def file_name(block: Picture | Gallery) -> str:
    """Returns the name of a picture's file, with six digits of a digest of its content."""
    if isinstance(block, Picture):
        content = _normalise(json.loads(block.figure.to_json()))
    else:
        content = [[row.title, row.images.tolist(), list(row.notes), row.colour] for row in block.rows]
    return f"{block.name}.{digest(content)[:6]}.png"


def markdown_table(table: pd.DataFrame) -> str:
    """Returns a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *as_text(table)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shrink(file: Path) -> None:
    """Rewrites a picture with a palette of few colours."""
    from PIL import Image

    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def source_digest(experiment: Experiment, directory: Path) -> str:
    """Returns a digest of what an experiment's figures follow from: its declared settings and its results."""
    settings = {"measure", "metric", "seeds", "baseline", "settings", "arms"}
    found = hashlib.sha256(experiment.model_dump_json(include=settings).encode())
    for suffix in (".csv", ".errors.csv"):
        file = directory / f"{experiment.name}{suffix}"
        found.update(file.read_bytes() if file.exists() else b"")
    return found.hexdigest()[:12]


def _index(found: Sequence[Report]) -> str:
    table = pd.DataFrame(
        {
            "no.": [str(each.experiment.number) for each in found],
            "experiment": [f"[{each.experiment.title}]({page_name(each.experiment)})" for each in found],
            "question": [each.question for each in found],
            "answer": [f"{each.answer} *{each.uncertainty}*".removesuffix(" **") for each in found],
            "decided": [each.decided for each in found],
        }
    )
    return f"{INTRODUCTION}\n{markdown_table(table)}\n\n{COMMANDS}"


def _page(report: Report, found: Sequence[Report], files: dict[str, str], directory: Path) -> str:
    shown = [block for block in report.blocks if block.documented]
    results = [report.results, *(_block(block, files) for block in shown if not block.detail)]
    parts = {
        "Question": report.question,
        "Expectation before the runs": report.expectation,
        "Method": report.method,
        "Results": "\n\n".join(results),
        "Remarks": report.remarks,
        "Decision": report.decision,
        "All figures": "\n\n".join(_block(block, files) for block in shown if block.detail),
        "Sources": _sources(report, found, directory),
    }
    origin = f"analysis/experiments/studies/{report.experiment.name}.toml"
    head = [
        f"<!-- Generated by `make documents` from {origin} and its results, digest "
        f"{source_digest(report.experiment, directory)}. -->",
        f"# {report.title}",
        f"**{report.answer}**",
        *([report.uncertainty] if report.uncertainty else []),
        f"[All experiments]({INDEX}) · [How to read the figures]({METHOD})",
    ]
    body = [f"## {title}\n\n{text.strip()}" for title, text in parts.items() if text]
    return "\n\n".join([*head, *body, _neighbours(report, found)]) + "\n"


def _sources(report: Report, found: Sequence[Report], directory: Path) -> str:
    experiment = report.experiment
    files = {"Declaration": f"{experiment.name}.toml", "Results": f"{experiment.name}.csv"}
    if (directory / f"{experiment.name}.errors.csv").exists():
        files["Misclassified images of each run"] = f"{experiment.name}.errors.csv"
    lines = [f"- {title}: [`{file}`]({SOURCES}/{file})" for title, file in files.items()]
    if related := [other for other in found if _are_related(report, other)]:
        links = (f"[{other.title}]({page_name(other.experiment)})" for other in related)
        lines.append(f"- Related experiments: {'; '.join(links)}")
    return "\n".join(lines)


def _are_related(report: Report, other: Report) -> bool:
    number, other_number = report.experiment.number, other.experiment.number
    return number != other_number and (number in mentioned(other.prose) or other_number in mentioned(report.prose))


def _neighbours(report: Report, found: Sequence[Report]) -> str:
    position = found.index(report)
    links = []
    if position:
        before = found[position - 1]
        links.append(f"Previous: [{before.title}]({page_name(before.experiment)})")
    if position + 1 < len(found):
        after = found[position + 1]
        links.append(f"Next: [{after.title}]({page_name(after.experiment)})")
    return " · ".join(links)


def _block(block: Block, files: dict[str, str]) -> str:
    if isinstance(block, Listing):
        return f"{markdown_table(block.table)}\n\n*{block.caption}*"
    alt = block.alt.replace("[", "(").replace("]", ")")
    return f"![{alt}](figures/{files[block.name]})\n\n*{block.caption}*"


def _normalise(content: Any) -> Any:
    """Drops the template and rounds numbers, since the last digits may differ between machines."""
    if isinstance(content, dict):
        return {name: _normalise(value) for name, value in content.items() if name != "template"}
    if isinstance(content, list):
        return [_normalise(value) for value in content]
    return f"{content:.{DIGITS}g}" if isinstance(content, float) else content


if __name__ == "__main__":
    main()
