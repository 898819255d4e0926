"""Tests of pipeline.runner.plan: which sentence explains a run, and which earlier artifacts count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.contract.artifacts import Model, ModelBlessing, PushedModel
from pipeline.contract.component import Input, Output, component
from pipeline.runner.display import PlainDisplay
from pipeline.runner.graph import LatestBlessed, Pipeline
from pipeline.runner.local_runner import LocalRunner, RunResult
from pipeline.runner.metadata_store import MetadataStore
from pipeline.runner.plan import Planner, _changed, _moved_modules, _value_changes
from pipeline.runner.workspace import Workspace
from tests.pipeline.conftest import Explain, Run
from tests.pipeline.runner.toy import judge, learn, source


class Table:
    """A parameter that is recorded as a table, as a taxonomy is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def to_table(self) -> dict[str, Any]:
        """The content."""
        return {"group": [{"name": self.name}]}


def total(model: Model | None) -> int | None:
    """The total that a toy model knows."""
    return None if model is None else int(json.loads((model.path / "model.json").read_text())["total"])


@component
def appraise(
    model: Input[Model], baseline: Input[Model] | None, blessing: Output[ModelBlessing], *, taxonomy: Any
) -> None:
    """Blesses every model, and writes the total of the baseline."""
    blessing.write_json("verdict.json", {"blessed": True, "baseline": total(baseline), "taxonomy": taxonomy.name})
    blessing.properties["blessed"] = True


@component
def review(model: Input[Model], baseline: Input[Model] | None, blessing: Output[ModelBlessing]) -> None:
    """Blesses every model, as another stage."""
    blessing.write_json("verdict.json", {"blessed": True, "baseline": total(baseline), "by": "review"})
    blessing.properties["blessed"] = True


@component
def publish(model: Input[Model], pushed: Output[PushedModel], *, destination: Path) -> None:
    """Puts a model where a server would load it."""
    destination.mkdir(parents=True, exist_ok=True)
    (destination / "saved_model.pb").write_bytes((model.path / "model.json").read_bytes())
    record = {"pushed": True, "version": 1, "path": str(destination.absolute()), "reason": "", "digest": ""}
    pushed.write_json("pushed.json", record)


def finish(pipeline: Pipeline, workspace: Workspace) -> RunResult:
    """Runs all stages."""
    return LocalRunner(pipeline, workspace, PlainDisplay(Console(quiet=True))).run(list(pipeline.nodes))


def trained(count: int) -> tuple[Pipeline, Any]:
    """A pipeline with a model that knows the sum of the first numbers, and the channel of the model."""
    pipeline = Pipeline("toy")
    examples = pipeline.add(source, seed=1, count=count)["examples"]
    return pipeline, pipeline.add(learn, examples=examples)["model"]


def baseline(count: int, taxonomy: str, workspace: Workspace) -> Any:
    """The total of the model that the stages compare with, by stage."""
    pipeline, model = trained(count)
    pipeline.add(appraise, model=model, baseline=LatestBlessed(model), taxonomy=Table(taxonomy))
    pipeline.add(review, model=model, baseline=LatestBlessed(model))
    found = finish(pipeline, workspace).find(ModelBlessing)
    return {stage: blessing.verdict()["baseline"] for stage, blessing in found.items()}


def test_a_model_that_was_judged_by_another_taxonomy_is_no_baseline(workspace: Workspace) -> None:
    """Figures of other groups cannot be compared; a stage without a taxonomy compares with what it blessed itself."""
    assert baseline(3, "five", workspace) == {"appraise": None, "review": None}
    assert baseline(4, "three", workspace) == {"appraise": None, "review": 6}
    assert baseline(5, "five", workspace) == {"appraise": 6, "review": 10}
    assert baseline(6, "three", workspace) == {"appraise": 10, "review": 15}


def test_a_stage_compares_with_what_it_blessed_itself(workspace: Workspace) -> None:
    """The blessing of another stage is about another question."""
    pipeline, model = trained(3)
    pipeline.add(review, model=model, baseline=LatestBlessed(model))
    finish(pipeline, workspace)
    pipeline, model = trained(4)
    pipeline.add(review, model=model, baseline=LatestBlessed(model))
    pipeline.add(judge, model=model, baseline=LatestBlessed(model), destination=workspace.serving)
    found = finish(pipeline, workspace).find(ModelBlessing)
    assert {stage: blessing.verdict()["baseline"] for stage, blessing in found.items()} == {"review": 6, "judge": None}


def test_a_damaged_model_is_compared_with_nothing(run: Run, workspace: Workspace) -> None:
    """Neither the baseline nor the previous model has other files than those recorded: the ones before them count."""
    run()
    damaged = run("source.count=4").artifacts["learn"]["model"]
    (workspace.root / damaged.uri / "model.json").write_text('{"total": 1000}')
    (verdict,) = run("source.count=5").find(ModelBlessing).values()
    assert (verdict.verdict()["baseline"], verdict.verdict()["previous"]) == (6, 6)


def test_a_reused_execution_has_the_inputs_of_the_one_that_ran(run: Run, workspace: Workspace) -> None:
    """What the latest result depends on is recorded for every run, so that cleaning keeps it."""
    run("source.count=4")
    run()
    run()
    with MetadataStore(workspace.store) as store:
        ran, reused = (next(e for e in store.run_executions(n) if e.type == "judge") for n in (2, 3))
        assert (ran.state, reused.state) == ("COMPLETE", "CACHED") and ran.cache_key == reused.cache_key
        for kind in ("INPUT", "OUTPUT"):
            assert store.events(ran.id, kind) == store.events(reused.id, kind) != {}
        assert set(store.events(reused.id, "INPUT")) == {"model", "baseline", "previous"}


def test_a_pushed_version_that_is_gone_is_pushed_again(workspace: Workspace, tmp_path: Path) -> None:
    """What an artifact names outside its own directory counts: `explain` says what is gone, and a run restores it."""
    pipeline, model = trained(3)
    pipeline.add(publish, model=model, destination=tmp_path / "served")
    finish(pipeline, workspace)
    assert not finish(pipeline, workspace).seconds
    (tmp_path / "served" / "saved_model.pb").unlink()
    with MetadataStore(workspace.store) as store:
        decision = Planner(pipeline, workspace, store).explain(list(pipeline.nodes))[-1]
    assert (decision.action, decision.reasons) == ("run", (f"the pushed version {tmp_path / 'served'} is gone",))
    assert set(finish(pipeline, workspace).seconds) == {"publish"} and (tmp_path / "served/saved_model.pb").exists()


def test_explain_names_each_reason(run: Run, explain: Explain, workspace: Workspace) -> None:
    """Before the first run, without a change, after changes of parameters and inputs, and with damaged files."""
    assert [d.reasons for d in explain().values()] == [
        ("it has never finished here",), ("source, which it reads from, would run",),
        ("learn, which it reads from, would run",),
    ]  # fmt: skip
    run()
    assert {d.reasons for d in explain().values()} == {("nothing that it depends on has changed",)}
    decisions = explain("learn.steps=5", "seed=2")
    assert decisions["source"].reasons == ("parameter seed changed: 1 -> 2",)
    run("seed=2", until="source")
    decisions = explain("learn.steps=5", "seed=2")
    assert decisions["learn"].reasons == ("parameter steps changed: 4 -> 5", "input examples changed")
    assert (decisions["source"].action, decisions["learn"].action) == ("reuse", "run")
    model = workspace.root / run("seed=2").artifacts["learn"]["model"].uri
    for name in "abcd":
        (model / f"{name}.json").touch()
    shown = ", ".join(f"{name}.json is new" for name in "abc")
    assert explain("seed=2")["learn"].reasons == (
        f"its artifact {model.relative_to(workspace.root)} is damaged: {shown}",
    )


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (1, 2, ["1 -> 2"]),
        ([1, 2], [2, 1], ["[1, 2] -> [2, 1]"]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ["b: 2 -> 3"]),
        ({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "d": 4}, ["a removed", "d added", "b c: 2 -> 3"]),
        ([*range(30)], [*range(1, 31)], ["0 removed", "30 added"]),
        ([*range(30)], [*range(29, -1, -1)], ["in another order"]),
        (
            [{"name": "Shoes", "colour": "a" * 30}, {"name": "Bags", "colour": "b"}],
            [{"name": "Shoes", "colour": "c"}, {"name": "Hats", "colour": "b"}],
            ["Bags removed", "Hats added", f"Shoes colour: {'a' * 30} -> c"],
        ),
        (
            [{"metric": "accuracy", "at_least": 0.9, "at_most": None}, {"metric": "macro_f1", "at_least": 0.9}],
            [{"metric": "accuracy", "at_least": 0.8, "at_most": None}, {"metric": "macro_f1", "at_least": 0.9}],
            ["{metric accuracy, at_least 0.9} removed", "{metric accuracy, at_least 0.8} added"],
        ),
        ([*range(30)], [*range(5, 30)], ["0, 1 and 3 more removed"]),
        ("x" * 50, "y" * 50, [f"{'x' * 50} -> {'y' * 50}"]),
    ],
)
def test_a_changed_value_is_shown_by_what_differs(before: Any, now: Any, expected: list[str]) -> None:
    """Short values are shown whole, and of tables and long lists only the members that differ, old before new."""
    assert _value_changes(before, now) == expected


def test_changed_parts_of_a_key() -> None:
    """Values are shown of parameters and libraries alone; a part that appears or goes was, or is, nothing."""
    assert _changed("parameters", {"a": 1, "c": 3}, {"b": 2, "c": 3}) == [
        "parameter a changed: 1 -> nothing", "parameter b changed: nothing -> 2"
    ]  # fmt: skip
    old, new = ({"a": {str(number): value for number in range(9)}} for value in (1, 2))
    shown = "; ".join(f"{number}: 1 -> 2" for number in range(4))
    assert _changed("parameters", old, new) == [f"parameter a changed: {shown} and 5 more"]
    assert _changed("libraries", {"numpy": "1"}, {"numpy": "2"}) == ["library numpy changed: 1 -> 2"]
    assert _changed("inputs", {"model": "1"}, {"model": "2"}) == ["input model changed"]
    assert _changed("modules", {"a": "1", "b": "1"}, {"a": "2", "c": "1"}) == ["module a changed"]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("ab", "abc", ["module c is used now"]),
        ("abcd", "ab", ["module c is not used any more", "module d is not used any more"]),
        ("ab", "ac", ["source modules were moved or renamed since the last execution: b is gone, c is new"]),
        ("abcde", "fgx", ["source modules were moved or renamed since the last execution: "
                          "a, b and 3 more are gone, f, g and 1 more are new"]),
    ],
)  # fmt: skip
def test_moved_modules(before: str, now: str, expected: list[str]) -> None:
    """Modules that come or go are named one by one, and counted where both happens, as after a renaming."""
    assert _moved_modules(dict.fromkeys(before, ""), dict.fromkeys(now, "")) == expected
