"""Rules and verdicts: every rule is listed, the boundary passes, and a misspelt name is answered with the nearest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from analysis.evaluation.verdict import DEFAULT_RULES, EVERY_GROUP, NO_BASELINE, Rule, VerdictError, check_rules, judge

GROUPS = ("Upper part", "One piece")


def estimate(value: float | None) -> dict[str, Any]:
    """Returns a figure as `metrics.json` holds it."""
    return {"value": value, "interval": [value, value]}


def metrics(change: float | None = None, **overall: float | None) -> dict[str, Any]:
    """Returns the content of a `metrics.json` that passes every rule, but for what is given."""
    names = ("accuracy", "macro_f1", "accuracy_over_nearest_neighbour")
    figures = {**dict.fromkeys(names, 0.99), "calibration_error": 0.01, **overall}
    return {
        "overall": {name: estimate(value) for name, value in figures.items()},
        "groups": {g: {"recall": estimate(0.9), "f1": estimate(0.95), "support": 100} for g in GROUPS},
        "garments": {"accuracy": estimate(0.9), "per_garment": {"Coat": {"accuracy": estimate(0.8), "support": 10}}},
        "slices": [{"feature": "has_near_duplicate", "value": "yes", "count": 5, "accuracy": estimate(0.7)}],
        "corruptions": [{"name": "shear", "count": 5, "accuracy": estimate(0.6), "log_loss": {"value": 0.9}}],
        "baseline": None
        if change is None
        else {"change": {"accuracy": estimate(change), "macro_f1": estimate(change)}, "groups": {}},
    }


def test_a_good_model_is_blessed_and_every_rule_is_listed():
    """The rule on every group is one line a group; each line holds all that a reader asks."""
    verdict = judge(metrics(), DEFAULT_RULES)
    assert verdict["blessed"] and verdict["reason"] == ""
    assert len(verdict["rules"]) == len(DEFAULT_RULES) + len(GROUPS) - 1
    assert all(set(r) == {"rule", "slice", "metric", "value", "bound", "passed", "note"} for r in verdict["rules"])


def test_without_a_baseline_changes_pass_with_a_note():
    """The first model has nothing to be compared with, and the verdict says so."""
    lines = [line for line in judge(metrics(), DEFAULT_RULES)["rules"] if "changes" in line["rule"]]
    assert [(line["value"], line["passed"], line["note"]) for line in lines] == [(None, True, NO_BASELINE)] * 2


def test_a_step_back_from_the_baseline_fails():
    """More than the allowance worse than the last blessed model: not blessed, and the reason says by how much."""
    assert judge(metrics(change=-0.001), DEFAULT_RULES)["blessed"]
    verdict = judge(metrics(change=-0.003), DEFAULT_RULES)
    assert not verdict["blessed"]
    assert verdict["reason"] == "accuracy changes by at least -0.002: -0.0030"


def test_the_reason_names_every_rule_that_failed():
    """The second failure is reported at once, not only after the first is fixed."""
    reason = judge(metrics(accuracy=0.5, calibration_error=0.3), DEFAULT_RULES)["reason"]
    assert reason == "accuracy at least 0.96: 0.5000; calibration_error at most 0.02: 0.3000"


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_bounds_are_inclusive_and_one_sided(value, bound):
    """at_least and at_most are what their names say, for every pair of numbers."""
    found = metrics(accuracy=value)
    assert judge(found, [Rule(metric="accuracy", at_least=bound)])["blessed"] == (value >= bound)
    assert judge(found, [Rule(metric="accuracy", at_most=bound)])["blessed"] == (value <= bound)


def test_what_is_not_defined_fails():
    """A figure that the examples do not define has kept no bound."""
    verdict = judge(metrics(accuracy=None), [Rule(metric="accuracy", at_most=1)])
    assert not verdict["blessed"]
    assert verdict["rules"][0]["value"] is None and "not defined" in verdict["reason"]


@pytest.mark.parametrize(
    ("where", "metric", "value"),
    [
        ("has_near_duplicate:yes", "accuracy", 0.7),
        ("garment:Coat", "accuracy", 0.8),
        ("corruption:shear", "accuracy", 0.6),
        ("corruption:shear", "log_loss", 0.9),
    ],
)
def test_rules_reach_slices_garments_and_corruptions(where, metric, value):
    """Any slice of the evaluation can be given a bound."""
    assert judge(metrics(), [Rule(metric=metric, slice=where, at_least=0)])["rules"][0]["value"] == value


@pytest.mark.parametrize(
    ("rule", "nearest"),
    [
        (Rule(metric="acuracy", at_least=0.9), "'accuracy'"),
        (Rule(metric="f1", slice="group:One pice", at_least=0.9), "'group:One piece'"),
        (Rule(metric="macro_f2", change_at_least=0), "'macro_f1'"),
    ],
)
def test_the_error_for_a_misspelt_name_offers_the_nearest(rule, nearest):
    """Also in a rule on changes while there is no baseline yet."""
    with pytest.raises(VerdictError, match=f"Did you mean {nearest}"):
        judge(metrics(), [rule])


@pytest.mark.parametrize("bounds", [{}, {"at_least": 0.1, "at_most": 0.2}], ids=["none", "two"])
def test_a_rule_has_exactly_one_bound(bounds):
    """Two bounds are two rules, and a rule without one says nothing."""
    with pytest.raises(ValidationError, match="exactly one of"):
        Rule(metric="accuracy", **bounds)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(metric="acuracy", at_least=0.9),
        Rule(metric="f1", slice="has_near_duplicate:yes", at_least=0.9),
        Rule(metric="log_loss", change_at_least=0),
        Rule(metric="accuracy", slice="has_near_duplicate:yes", change_at_least=0),
        Rule(metric="abstention", slice=EVERY_GROUP, at_most=0.1),
    ],
    ids=lambda rule: rule.text(),
)
def test_names_can_be_checked_beforehand(rule):
    """A rule on a figure that no evaluation has fails beforehand, a change that is not computed included."""
    check_rules(DEFAULT_RULES, GROUPS, ["Coat"], [("has_near_duplicate", "yes")])
    with pytest.raises(VerdictError, match="unknown"):
        check_rules([rule], GROUPS, ["Coat"], [("has_near_duplicate", "yes")])


def test_no_rules_bless_nothing():
    """An empty list is a mistake, not a blessing."""
    with pytest.raises(VerdictError, match="no rules"):
        judge(metrics(), [])
