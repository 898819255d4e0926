"""The bounds of the rules are those that follow from the experiment's figures, and an honest run passes them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from analysis.evaluation.verdict import DEFAULT_RULES, judge, load_rules
from scripts.verdict_bounds import DEFAULT, Spread, default_rules, rules_in_a_verdict, taxonomy_rules
from tests.conftest import ROOT

COUNT = rules_in_a_verdict(load_rules())


def test_the_committed_bounds_follow_from_the_experiment():
    """Both lists have exactly the bounds that the script computes."""
    assert list(load_rules()) == taxonomy_rules(COUNT)
    derived = default_rules(COUNT)
    assert [rule for rule in DEFAULT_RULES if rule in derived] == derived
    assert {rule.metric for rule in DEFAULT_RULES if rule not in derived} == {
        "accuracy_over_nearest_neighbour",
        "calibration_error",
        "abstention",
        "coverage",
    }


def test_the_number_of_rules_is_the_documented_one():
    """Decision 0007 names the number by which the false refusals are divided."""
    text = (ROOT / "docs" / "decisions" / "0007-verdict.md").read_text(encoding="utf-8")
    assert f"the {COUNT} rules of a verdict" in text


def test_a_bound_is_the_end_of_a_prediction_interval():
    """The least accuracy follows from the raw figures with the published quantile of Student's distribution."""
    runs = Spread(50).runs["accuracy"]
    deviation = np.sqrt(np.mean([np.var(runs.loc[arm], ddof=1) for arm in runs.index.unique("arm")]))
    assert len(runs) == 15
    # t of 12 degrees of freedom at a tail of 0.001 is 3.930 in every table.
    bound = runs.loc[DEFAULT].mean() - 3.930 * deviation * np.sqrt(1.2)
    assert Spread(50).least("accuracy") == pytest.approx(bound, abs=1e-4)
    assert Spread(50).loss("accuracy") == pytest.approx(-3.930 * deviation * np.sqrt(2), abs=1e-4)


def test_runs_of_the_default_pass_in_every_order():
    """None of the five seeds breaks a bound, and none of the twenty ordered pairs loses too much."""
    spread = Spread(COUNT)
    runs = spread.runs.loc[DEFAULT]
    for rule in load_rules():
        name = rule.slice.removeprefix("group:")
        figure = rule.metric if rule.slice == "overall" else f"{rule.metric}: {name}"
        if figure not in runs:
            continue
        values = runs[figure].to_numpy()
        changes = [one - other for one, other in itertools.permutations(values, 2)]
        assert all(rule.holds(value) for value in (changes if "change" in rule.kind else values)), rule.text()


def test_the_recorded_default_run_is_blessed():
    """The figures in `docs/evaluation/metrics.json` pass every rule."""
    metrics = json.loads((ROOT / "docs" / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    verdict = judge(metrics, (*DEFAULT_RULES, *load_rules()))
    assert verdict["blessed"], verdict["reason"]
    assert len(verdict["rules"]) == COUNT


@pytest.mark.parametrize(
    ("slice_", "metric", "value"),
    [
        ("overall", "abstention", 0.126),
        ("group:Bottom part", "recall", 0.99 - 0.14),
        ("group:Bottom part", "recall", 0.98),
        ("group:Bags", "precision", 0.96),
        ("group:One piece", "coverage", 0.95),
    ],
)
def test_a_worse_first_model_is_refused(slice_: str, metric: str, value: float):
    """Without any earlier model the bounds alone refuse a model that abstains or misses too much."""
    rules = [rule for rule in load_rules() if (rule.slice, rule.metric) == (slice_, metric)]
    assert any(not rule.holds(value) for rule in rules if "change" not in rule.kind)
