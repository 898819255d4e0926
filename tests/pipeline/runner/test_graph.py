"""Tests of pipeline.runner.graph: the checks while a graph is built, and the selection of stages."""

from __future__ import annotations

import pytest

from pipeline.contract.artifacts import Examples, Exploration, Model
from pipeline.contract.component import Input, Output, component
from pipeline.contract.errors import UserError
from pipeline.runner.graph import Latest, LatestBlessed, Pipeline, Previous
from tests.pipeline.runner.toy import configured, describe, judge, learn, source


@component
def count(examples: Input[Examples], exploration: Output[Exploration]) -> None:
    """Stands beside the other stages."""


@component
def compare(examples: Input[Examples], model: Input[Model], exploration: Output[Exploration]) -> None:
    """Depends on two stages, of which one depends on the other."""


def test_misspelt_argument_is_named_with_the_nearest() -> None:
    """An argument that the component does not have is refused, with a suggestion."""
    with pytest.raises(UserError, match="no argument 'sead'. Did you mean 'seed'"):
        Pipeline("p").add(source, sead=1)


def test_missing_parameter_is_refused() -> None:
    """The definition has to set a parameter without a default."""
    with pytest.raises(UserError, match="has no value for its parameter 'seed'"):
        Pipeline("p").add(source)


def test_wrong_artifact_type_is_refused() -> None:
    """A channel of another type than the input declares is refused, both types named."""
    pipeline = Pipeline("p")
    examples = pipeline.add(source, seed=1)["examples"]
    with pytest.raises(UserError, match="wrong artifact") as caught:
        pipeline.add(judge, model=examples)
    assert caught.value.expected == "Model" and caught.value.received.startswith("Examples")


def test_channel_of_another_pipeline_is_refused() -> None:
    """An input must come from a node that was added before."""
    elsewhere = Pipeline("q").add(source, seed=1)["examples"]
    with pytest.raises(UserError, match="has no source for its input 'examples'"):
        Pipeline("p").add(learn, examples=elsewhere)


def test_required_input_cannot_take_the_latest_blessed() -> None:
    """Before the first blessing there is no baseline, and perhaps no newest artifact: the input must be optional."""
    pipeline = Pipeline("p")
    model = pipeline.add(learn, examples=pipeline.add(source, seed=1)["examples"])["model"]
    with pytest.raises(UserError, match="there may be none yet"):
        pipeline.add(judge, model=LatestBlessed(model))
    with pytest.raises(UserError, match="there may be none yet"):
        pipeline.add(judge, model=Latest(Model))
    with pytest.raises(UserError, match="there may be none yet"):
        pipeline.add(judge, model=Previous(model))
    with pytest.raises(UserError, match="judge has no source for its input 'model'"):
        pipeline.add(judge)


def test_newest_artifact_must_have_the_type() -> None:
    """The type of an artifact from the workspace is checked like that of a channel."""
    pipeline = Pipeline("p")
    model = pipeline.add(learn, examples=pipeline.add(source, seed=1)["examples"])["model"]
    with pytest.raises(UserError, match="wrong artifact for its input 'baseline'"):
        pipeline.add(judge, model=model, baseline=Latest(Examples))


def test_component_stands_once() -> None:
    """The same component twice would share a name, and is refused."""
    pipeline = Pipeline("p")
    pipeline.add(source, seed=1)
    with pytest.raises(UserError, match="two nodes 'source'"):
        pipeline.add(source, seed=2)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ((None, None, None), ["source", "learn", "judge"]),
        (("learn", None, None), ["learn", "judge"]),
        ((None, "learn", None), ["source", "learn"]),
        ((None, "judge", None), ["source", "learn", "judge"]),
        (("learn", "learn", None), ["learn"]),
        ((None, None, "judge"), ["judge"]),
    ],
)
def test_selection(selection: tuple[str | None, str | None, str | None], expected: list[str]) -> None:
    """--from, --until and --only select stages in running order."""
    assert configured().select(*selection) == expected


def test_selection_follows_the_branches() -> None:
    """`--from` takes what depends on a stage, `--until` what it depends on, and neither takes what stands beside it."""
    pipeline = configured()
    pipeline.add(describe, trained=Latest(Model))
    examples, model = pipeline.nodes["source"]["examples"], pipeline.nodes["learn"]["model"]
    pipeline.add(count, examples=examples)
    pipeline.add(compare, examples=examples, model=model)
    assert pipeline.downstream("learn") == ["learn", "judge", "compare"]
    assert pipeline.ancestors("compare") == ["source", "learn", "compare"]
    assert pipeline.select("learn", "compare", None) == ["learn", "compare"]
    assert pipeline.select("count", None, None) == ["count"] == pipeline.select("count", "count", None)
    assert [node.name for node in pipeline.needed(["compare", "describe"])] == [
        "source",
        "learn",
        "describe",
        "compare",
    ]
    assert [node.name for node in pipeline.needed(["judge"])] == ["learn", "judge"]
    assert pipeline.nodes["compare"].upstream() == {"source", "learn"} and not pipeline.nodes["describe"].upstream()


def test_unknown_stage_gets_a_suggestion() -> None:
    """A misspelt stage is answered with the nearest name."""
    with pytest.raises(UserError, match="Did you mean 'learn'"):
        configured().select(None, "lern", None)


@pytest.mark.parametrize(
    ("selection", "received", "next_step"),
    [
        ((None, "lern", None), "lern", "fashion show"),
        (("judge", "source", None), "--from judge --until source", "fashion show"),
        (("learn", "judge", "source"), "--only source with --from and --until", "fashion run --only source"),
        (("learn", None, "source"), "--only source with --from", "fashion run --only source"),
    ],
)
def test_error_of_a_selection_says_what_was_received_and_what_to_do(
    selection: tuple[str | None, str | None, str | None], received: str, next_step: str
) -> None:
    """Every error of --from, --until and --only has all its lines."""
    with pytest.raises(UserError) as caught:
        configured().select(*selection)
    assert (caught.value.received, caught.value.next_step) == (received, next_step)
