"""Writes the figures and pictures of `docs/exploration.md` from the results of `fashion explore`: `make documents`.

The figures go to `docs/exploration/exploration.json`, which the templates of the documents read. The pictures are those
that the template of `docs/exploration.md` links: screenshots of the blocks of the same name of the interactive page.
`scripts.documents.rendering` then writes the document.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.explore import run_exploration
from pipeline.runner.display import display_for, terminal_console
from pipeline.runner.workspace import Workspace
from scripts.documents.rendering import TEMPLATES
from scripts.documents.screenshots import remove_others, save_screenshots
from scripts.documents.values import metrics_digest

if TYPE_CHECKING:
    from analysis.exploration.data import Data
    from analysis.exploration.report import ExplorationInputs
    from analysis.pages.section import Row, Section
    from pipeline.runner.local_runner import RunResult

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = TEMPLATES / "exploration.md"
PICTURES = ROOT / "docs" / "exploration"
FIGURES = PICTURES / "exploration.json"
EXAMPLES = PICTURES / "examples.json"
"""Images that were found by eye, by source id: the rows of the first picture, and a sample of Trouser."""
IN_A_ROW = 8
STATIC = f"""
.cells {{ gap: 6px; flex-wrap: nowrap }} .cell.noted {{ width: 100px; font-size: .8rem }} .thumb {{ zoom: 1.5 }}
.strip b {{ font-size: 1rem }}
.cell:nth-child(n+{IN_A_ROW + 1}) {{ display: none }}
"""
"""Larger images and fewer of them than on the interactive page."""


def main() -> None:
    """Runs the exploration, or reuses its results, and writes the figures and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    options = parser.parse_args()
    workspace = Workspace(options.workspace.resolve())
    result, _ = run_exploration(workspace, "default", None, False, display_for(terminal_console()))
    inputs, seed = read_inputs(result, workspace)
    from analysis.exploration.report import build_sections, explore
    from analysis.exploration.summary import summarize
    from pipeline.commands.explore import newest_artifacts

    explored = explore(inputs, seed)
    figures = {
        "run": {"metrics_digest": metrics_digest(newest_artifacts(workspace).evaluation.metrics_file)},
        **summarize(inputs, explored),
    }
    figures["by_eye"] = figures_by_eye(inputs)
    write_figures(figures)
    save_pictures([*build_sections(inputs, explored), examples_section(inputs.data)])


def read_inputs(
    result: RunResult, workspace: Workspace, profile: str = "default", overrides: list[str] | None = None
) -> tuple[ExplorationInputs, int]:
    """Returns the inputs of the stage Explorer and its seed."""
    from components import explorer
    from pipeline.commands.options import assemble
    from pipeline.runner.graph import Channel

    node = assemble("exploration", workspace, profile, overrides)[0].node(explorer.explorer.spec.name)
    inputs: dict[str, Any] = {
        name: result.artifact(source) for name, source in node.sources.items() if isinstance(source, Channel)
    }
    return explorer.read_inputs(**inputs, taxonomy=node.parameters["taxonomy"]), node.parameters["seed"]


def figures_by_eye(inputs: ExplorationInputs) -> dict[str, Any]:
    """Returns how many images of the sample of Trouser show something else, with Wilson's intervals.

    `predicted_as_labelled` of them have the labelled group as the out-of-fold prediction of the small networks.
    """
    import numpy as np

    from analysis.evaluation.metrics import wilson_interval
    from models.probabilities import softmax

    data = inputs.data
    predicted = (softmax(inputs.out_of_fold.logits[-1]) @ np.array(data.taxonomy.membership())).argmax(axis=1)
    as_labelled = predicted == data.groups[data.train_rows]

    sample = json.loads(EXAMPLES.read_text(encoding="utf-8"))["trouser_sample"]
    figures: dict[str, Any] = {"images": sample["images"]}
    for name in ("one_piece", "several_articles"):
        count = len(sample[name])
        low, high = wilson_interval(count, sample["images"])
        figures[name] = {
            "images": count,
            "value": count / sample["images"],
            "interval": [round(float(low), 5), round(float(high), 5)],
            "predicted_as_labelled": int(as_labelled[np.isin(data.names[data.train_rows], sample[name])].sum()),
        }
    return figures


def write_figures(figures: dict[str, Any]) -> None:
    """Writes the figures as JSON; a figure that is not finite raises ValueError."""
    text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
    FIGURES.write_text(f"{text}\n", encoding="utf-8")


def examples_section(data: Data) -> Section:
    """Returns the images that were found by eye as a section."""
    from analysis.pages.section import Gallery, Section

    return Section("examples", "Examples", "", "", [Gallery("images-in-words", list(_example_rows(data)), "")])


def _example_rows(data: Data) -> Iterator[Row]:
    from analysis.pages.section import Row

    row_of = {name: row for row, name in enumerate(data.names.tolist())}
    for example in json.loads(EXAMPLES.read_text(encoding="utf-8"))["rows"]:
        rows = [row_of[name] for name in example["images"]]
        yield Row(example["title"], data.images[rows], [data.garment_name(row) for row in rows])


def save_pictures(sections: Sequence[Section]) -> None:
    """Writes the pictures that the template links, and removes those that it does not link."""
    from analysis.pages.page import write_page

    names = linked_pictures()
    chosen = [
        dataclasses.replace(section, blocks=[block for block in section.blocks if block.name in names])
        for section in sections
    ]
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.html"
        page.write_text(write_page(chosen, [], ""), encoding="utf-8")
        save_screenshots(page, {name: PICTURES / f"{name}.png" for name in names}, STATIC)
    remove_others(PICTURES, {f"{name}.png" for name in names})


def linked_pictures() -> list[str]:
    """Returns the names of the pictures that the template links, in their order."""
    return re.findall(r"\(exploration/([\w-]+)\.png\)", TEMPLATE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
