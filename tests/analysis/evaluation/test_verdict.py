"""Rules and verdicts: every rule is listed, the boundary passes, and a misspelt name is answered with the nearest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from analysis.evaluation.verdict import (
    DEFAULT_RULES,
    EVERY_GROUP,
    NO_BASELINE,
    Rule,
    VerdictError,
    check_rules,
    judge,
    load_rules,
)

GROUPS = ("Upper part", "One piece")
ONE_PIECE = "group:One piece"


def estimate(value: float | None) -> dict[str, Any]:
    """Returns a figure as `metrics.json` holds it."""
    return {"value": value, "interval": [value, value]}


def metrics(change: float | None = None, from_best: float | None = None, **overall: float | None) -> dict[str, Any]:
    """Returns the content of a `metrics.json` that passes every default rule, but for what is given."""
    names = ("accuracy", "macro_f1", "accuracy_over_nearest_neighbour", "accuracy_without_near_duplicates")
    figures = {**dict.fromkeys(names, 0.99), "calibration_error": 0.01, "abstention": 0.03, **overall}
    group = {name: estimate(0.95) for name in ("precision", "recall", "f1", "coverage", "f1_over_nearest_neighbour")}
    return {
        "overall": {name: estimate(value) for name, value in figures.items()},
        "groups": {g: {**group, "support": 100} for g in GROUPS},
        "garments": {"accuracy": estimate(0.9), "per_garment": {"Coat": {"accuracy": estimate(0.8), "support": 10}}},
        "slices": [{"feature": "has_near_duplicate", "value": "yes", "count": 5, "accuracy": estimate(0.7)}],
        "corruptions": [{"name": "shear", "count": 5, "accuracy": estimate(0.6), "log_loss": {"value": 0.9}}],
        "baseline": differences(change),
        "best_blessed": differences(change if from_best is None else from_best),
        "comparison": "Compared with nothing.",
    }


def differences(value: float | None) -> dict[str, Any] | None:
    """Returns the block of `metrics.json` with the differences from an earlier model: losses where negative."""
    if value is None:
        return None
    names = ("accuracy", "macro_f1", "accuracy_without_near_duplicates")
    return {
        "change": {**{name: estimate(value) for name in names}, "abstention": estimate(-value)},
        "groups": {group: {"precision": estimate(value), "recall": estimate(value)} for group in GROUPS},
    }


def test_a_good_model_is_blessed_and_every_rule_is_listed():
    """The rule on every group is one line a group; each line holds all that a reader asks."""
    verdict = judge(metrics(), DEFAULT_RULES)
    assert verdict["blessed"] and verdict["reason"] == ""
    on_groups = sum(rule.slice == EVERY_GROUP for rule in DEFAULT_RULES)
    assert len(verdict["rules"]) == len(DEFAULT_RULES) + on_groups * (len(GROUPS) - 1)
    keys = {"rule", "slice", "metric", "value", "bound", "passed", "applied", "note"}
    assert all(set(line) == keys for line in verdict["rules"])


def test_without_a_baseline_no_rule_on_changes_applies():
    """The first model has nothing to be compared with, and the verdict says so."""
    verdict = judge(metrics(), DEFAULT_RULES)
    unused = [line for line in verdict["rules"] if not line["applied"]]
    assert [(line["value"], line["passed"], line["note"]) for line in unused] == [(None, True, NO_BASELINE)] * 12
    assert (verdict["compared"], verdict["comparison"]) == (False, "Compared with nothing.")
    assert all(line["applied"] for line in judge(metrics(change=0.0), DEFAULT_RULES)["rules"])


def test_small_losses_do_not_add_up():
    """A model that loses little against the last one and too much against the best of the last ten is refused."""
    assert judge(metrics(change=-0.003), DEFAULT_RULES)["blessed"]
    verdict = judge(metrics(change=-0.003, from_best=-0.006), DEFAULT_RULES)
    assert not verdict["blessed"]
    assert verdict["reason"] == "accuracy differs from the best of the last ten by at least -0.005: -0.0060"


@pytest.mark.parametrize(
    ("block", "metric"), [("baseline", "precision"), ("baseline", "recall"), ("best_blessed", "recall")]
)
def test_a_loss_in_one_group_is_refused(block, metric):
    """The default rules bound the precision and recall that any group may lose, whatever the means do."""
    found = metrics(change=0.0)
    found[block]["groups"]["One piece"][metric] = estimate(-0.05)
    failed = [line for line in judge(found, DEFAULT_RULES)["rules"] if not line["passed"]]
    assert [(line["metric"], line["slice"]) for line in failed] == [(metric, "group:One piece")]


@pytest.mark.parametrize(("change", "blessed"), [(-0.5, True), (0.0263, True), (0.0264, False)])
def test_a_model_may_abstain_less_but_not_much_more(change, blessed):
    """Less abstention is better, so its rule bounds the increase."""
    found = metrics(change=0.0)
    found["baseline"]["change"]["abstention"] = estimate(change)
    verdict = judge(found, DEFAULT_RULES)
    assert verdict["reason"] == ("" if blessed else "abstention changes by at most +0.0263: 0.0264")


@pytest.mark.parametrize(("name", "value"), [("abstention", 1.0), ("coverage", 0.0), ("coverage", 0.5)])
def test_a_model_that_abstains_is_refused(name, value):
    """Sets of all groups abstain always, and empty sets cover nothing."""
    found = metrics()
    block = found["overall"] if name == "abstention" else found["groups"]["One piece"]
    block[name] = estimate(value)
    verdict = judge(found, DEFAULT_RULES)
    assert not verdict["blessed"] and verdict["reason"].startswith(name)


@pytest.mark.parametrize("order", [1, -1])
def test_the_stricter_of_two_rules_on_a_figure_counts(order):
    """A taxonomy's rule on a group replaces the looser one on every group, in whichever order they come."""
    rules = [
        Rule(metric="recall", slice=EVERY_GROUP, at_least=0.5),
        Rule(metric="recall", slice=ONE_PIECE, at_least=0.96),
    ]
    lines = judge(metrics(), rules[::order])["rules"]
    assert {(line["slice"], line["bound"], line["passed"]) for line in lines} == {
        ("group:Upper part", 0.5, True),
        ("group:One piece", 0.96, False),
    }
    assert len(lines) == 2
    upper = [Rule(metric="accuracy", at_most=bound) for bound in (0.5, 0.7)]
    assert [line["bound"] for line in judge(metrics(), upper[::order])["rules"]] == [0.5]


def test_a_step_back_from_the_baseline_fails():
    """More than the allowance worse than the last blessed model: not blessed, and the reason says by how much."""
    assert judge(metrics(change=-0.003), DEFAULT_RULES)["blessed"]
    verdict = judge(metrics(change=-0.004, from_best=0.0), DEFAULT_RULES)
    assert not verdict["blessed"]
    assert verdict["reason"] == "accuracy changes by at least -0.0037: -0.0040"


def test_the_reason_names_every_rule_that_failed():
    """The second failure is reported at once, not only after the first is fixed."""
    reason = judge(metrics(abstention=0.6, calibration_error=0.3), DEFAULT_RULES)["reason"]
    assert reason == "calibration_error at most 0.02: 0.3000; abstention at most 0.5: 0.6000"


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


@pytest.mark.parametrize(
    ("rule", "nearest"),
    [
        (Rule(metric="f1", slice="group:One pice", at_least=0.9), "'group:One piece'"),
        (Rule(metric="recal", slice=EVERY_GROUP, at_least=0.9), "'recall'"),
        (Rule(metric="accuracy", slice="garment:Coad", at_least=0.9), "'garment:Coat'"),
        (Rule(metric="acuracy", slice="brightness_decile:3", at_least=0.9), "'accuracy'"),
        (Rule(metric="accuracy", slice="brightness_decile:3", change_at_least=0.0), None),
    ],
)
def test_names_of_the_taxonomy_are_checked_without_the_data(rule, nearest):
    """Before the first stage a feature may be any, and its metric, groups and garments may not."""
    check_rules([Rule(metric="accuracy", slice="brightness_decile:3", at_least=0.9)], GROUPS, ["Coat"])
    with pytest.raises(VerdictError, match=f"Did you mean {nearest}" if nearest else "unknown slice"):
        check_rules([rule], GROUPS, ["Coat"])


def test_rules_of_a_taxonomy_are_read_from_its_file(tmp_path):
    """They may be an array or tables, and a file without rules has none."""
    path = tmp_path / "taxonomy.toml"
    path.write_text('[[rules]]\nmetric = "f1"\nslice = "group:Tops"\nat_least = 0.9\n', encoding="utf-8-sig")
    assert load_rules(path) == (Rule(metric="f1", slice="group:Tops", at_least=0.9),)
    path.write_text("garments = []\n")
    assert load_rules(path) == ()


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ('rules = [{ metric = "f1", at_leest = 0.9 }]', "at_leest: Extra inputs"),
        ('rules = [{ metric = "f1" }]', "exactly one of"),
        ("rules = [3]", "valid dictionary"),
        ("rules = 3", "not iterable"),
        ('rules = [{ metric = "f1", at_least = true }]', "valid number"),
        ('rules = [{ metric = "f1", at_least = nan }]', "finite number"),
    ],
)
def test_rules_that_cannot_be_read_name_the_file(text, received, tmp_path):
    """The error says what is wrong and which file to correct."""
    path = tmp_path / "taxonomy.toml"
    path.write_text(text)
    with pytest.raises(VerdictError, match="rules of the taxonomy") as error:
        load_rules(path)
    assert received in error.value.received and str(path) in error.value.next_step


def test_no_rules_bless_nothing():
    """An empty list is a mistake, not a blessing."""
    with pytest.raises(VerdictError, match="no rules"):
        judge(metrics(), [])
