"""Tests of pipeline.commands.graph_rendering: what `fashion show` says about a pipeline."""

from __future__ import annotations

from pathlib import Path

from pipeline.commands.graph_rendering import as_json, as_mermaid, as_parameters, as_text
from pipeline.runner.configuration import load_configuration
from pipeline.runner.fingerprint import SourceReader
from tests.pipeline.runner.toy import COMPONENTS, configured, describing

TOY = str(Path(__file__).parents[1] / "runner" / "toy.toml")


def test_a_flowchart_has_an_arrow_from_the_writer_to_the_reader() -> None:
    """The artifact stands on the arrow; dotted arrows come from earlier runs."""
    lines = [line.strip() for line in as_mermaid(configured()).splitlines()]
    assert lines[0] == "flowchart TD"
    assert {"source[source]", "learn[learn]", "judge[judge]"} <= set(lines)
    assert {"source -- Examples --> learn", "learn -- Model --> judge", "learn -. latest blessed .-> judge"} <= set(
        lines
    )
    assert "earlier[(an earlier run)] -. newest Model .-> describe" in as_mermaid(describing())


def test_a_paragraph_says_what_a_stage_reads_and_writes() -> None:
    """Every input has its origin, and every output its type."""
    paragraphs = as_text(configured()).split("\n\n")
    assert [paragraph.splitlines()[0] for paragraph in paragraphs] == ["source", "learn", "judge"]
    assert paragraphs[1].splitlines()[1:] == [
        "    Adds the numbers up in steps that survive a kill, and prints to both streams.",
        "    reads   examples <- source[examples]",
        "    writes  model (Model)",
    ]
    assert "baseline <- the latest blessed Model other than learn[model]" in paragraphs[2]
    assert "trained <- the newest Model of the workspace, if there is one" in as_text(describing())


def test_json_has_the_same_graph_and_the_values() -> None:
    """A program gets the inputs, the outputs and the libraries of every stage, and the configuration."""
    configuration = load_configuration(COMPONENTS, TOY, ["learn.steps=9"])
    table = as_json(configured(), configuration, SourceReader())
    learn = next(stage for stage in table["stages"] if stage["name"] == "learn")
    assert learn["inputs"] == {"examples": "source[examples]"} and learn["outputs"] == {"model": "Model"}
    assert "numpy" in learn["libraries"] and table["configuration"]["learn"]["steps"] == 9


def test_parameters_have_their_values_and_descriptions() -> None:
    """One line a parameter, under the header of its section."""
    text = as_parameters(load_configuration(COMPONENTS, TOY, ["learn.steps=9", "seed=4"]))
    assert text.splitlines()[0].split(" = ") == [f"{'seed':<28}", "4"]
    section = text[text.index("[learn]") :].partition("\n\n")[0]
    assert f"{'steps':<28} = 9" in section
    assert f"{'count':<28} = 3\n    How many numbers." in text
