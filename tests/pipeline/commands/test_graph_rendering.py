"""Tests of pipeline.commands.graph_rendering: what `fashion show` says about a pipeline."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline import definition
from pipeline.commands.graph_rendering import as_json, as_mermaid, as_parameters, as_text
from pipeline.definition import fashion
from pipeline.runner.configuration import load_configuration
from pipeline.runner.fingerprint import SourceReader
from pipeline.runner.graph import LatestBlessed
from pipeline.runner.workspace import Workspace
from tests.pipeline.runner.toy import COMPONENTS, configured, describing

TOY = str(Path(__file__).parents[1] / "runner" / "toy.toml")


def test_a_flowchart_has_an_arrow_from_the_writer_to_the_reader() -> None:
    """The artifact stands on the arrow; dotted arrows come from earlier runs."""
    assert [line.strip() for line in as_mermaid(configured()).splitlines()] == [
        "flowchart TD",
        "source[source]",
        "learn[learn]",
        "source -- Examples --> learn",
        "judge[judge]",
        "learn -- Model --> judge",
        "learn -. latest blessed .-> judge",
        "learn -. previous .-> judge",
    ]
    assert "earlier[(an earlier run)] -. newest Model .-> describe" in as_mermaid(describing())


def test_what_lies_beside_the_latest_blessed_model_comes_on_its_arrow() -> None:
    """Two inputs from one execution are one arrow, and the text names what is taken."""
    workspace = Workspace(Path("workspace"))
    pipeline = fashion(load_configuration(definition.COMPONENTS), workspace)
    assert as_mermaid(pipeline).count("latest blessed") == len(
        {
            (n.name, s.channel.node)
            for n in pipeline.nodes.values()
            for s in n.sources.values()
            if isinstance(s, LatestBlessed)
        }
    )
    beside = [
        s for n in pipeline.nodes.values() for s in n.sources.values() if isinstance(s, LatestBlessed) and s.output
    ]
    assert beside and all(
        f"the {s.output} of the latest blessed {s.channel.type.__name__}" in as_text(pipeline) for s in beside
    )


def test_a_paragraph_says_what_a_stage_reads_and_writes() -> None:
    """Every input has its origin, and every output its type."""
    paragraphs = as_text(configured()).split("\n\n")
    assert [paragraph.splitlines()[0] for paragraph in paragraphs] == ["source", "learn", "judge"]
    assert paragraphs[1].splitlines()[1:] == [
        "    Adds the numbers up in steps that survive a kill, and prints to both streams.",
        "    reads   examples <- source[examples]",
        "    writes  model (Model)",
    ]
    assert paragraphs[2].splitlines()[2:] == [
        "    reads   model <- learn[model]",
        "    reads   baseline <- the latest blessed Model other than learn[model]",
        "    reads   previous <- the previous Model other than learn[model]",
        "    writes  blessing (ModelBlessing)",
    ]
    assert "trained <- the newest Model of the workspace, if there is one" in as_text(describing())


def test_json_has_the_same_graph_and_the_values() -> None:
    """A program gets the inputs, the outputs and the libraries of every stage, and the configuration."""
    configuration = load_configuration(COMPONENTS, TOY, ["learn.steps=9"])
    table = as_json(configured(), configuration, SourceReader())
    assert table["pipeline"] == "toy" and [stage["name"] for stage in table["stages"]] == ["source", "learn", "judge"]
    learn = table["stages"][1]
    assert learn["summary"] == "Adds the numbers up in steps that survive a kill, and prints to both streams."
    assert list(table["stages"][2]["inputs"]) == ["model", "baseline", "previous"]
    assert learn["inputs"] == {"examples": "source[examples]"} and learn["outputs"] == {"model": "Model"}
    assert "numpy" in learn["libraries"] and table["configuration"]["learn"]["steps"] == 9


def test_parameters_have_their_values_and_descriptions() -> None:
    """One line a parameter, under the header of its section."""
    text = as_parameters(load_configuration(COMPONENTS, TOY, ["learn.steps=9", "seed=4"]))
    assert text.splitlines()[0].split(" = ") == [f"{'seed':<28}", "4"]
    assert text.splitlines()[1] == f"{'taxonomy':<28} = (five groups)"
    assert re.findall(r"^\[(\w+)\]$", text, re.MULTILINE) == ["source", "learn", "judge"]
    section = text[text.index("[learn]") :].partition("\n\n")[0]
    assert f"{'fail':<28} = ''\n    How to go wrong; not by default." in section
    assert f"{'steps':<28} = 9" in section
    assert f"{'count':<28} = 3\n    How many numbers." in text


def test_a_long_list_of_tables_is_counted() -> None:
    """The rules of the Evaluator would fill the screen; a short list is printed."""
    text = as_parameters(load_configuration(definition.COMPONENTS))
    count = len(load_configuration(definition.COMPONENTS).evaluator.rules)  # type: ignore[attr-defined]
    assert f"{'rules':<28} = ({count} entries; see show --json)" in text and text.count("entries; see") == 1
