"""The rules that a model must pass to be blessed, and the verdict: each rule with its value, bound and outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest

OVERALL = "overall"
EVERY_GROUP = "every group"
CORRUPTION = "corruption"
"""The feature that corrupted examples are sliced by."""

NO_BASELINE = "no blessed model yet"


class VerdictError(UserError):
    """A rule names a metric or a slice that the evaluation does not have, or there is no rule."""


class Rule(BaseModel):
    """One rule: a metric of the evaluation and its bound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="The metric, such as accuracy, macro_f1, f1, recall, calibration_error.")
    slice: str = Field(
        default=OVERALL,
        description='"overall", "group:One piece", "every group", "<feature>:<value>" or "corruption:jpeg".',
    )
    at_least: float | None = Field(default=None, description="The least value that passes.")
    at_most: float | None = Field(default=None, description="The largest value that passes.")
    change_at_least: float | None = Field(
        default=None,
        description="The least difference from the last blessed model that passes; -0.002 lets it lose 0.002.",
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        if len(self._bounds()) != 1:
            raise ValueError(
                f"the rule on {self.metric} needs exactly one of at_least, at_most and change_at_least, "
                f"and has {', '.join(self._bounds()) or 'none'}"
            )
        return self

    @property
    def kind(self) -> str:
        """Which bound it is: "at_least", "at_most" or "change_at_least"."""
        return next(iter(self._bounds()))

    @property
    def bound(self) -> float:
        """The bound's value."""
        return next(iter(self._bounds().values()))

    def text(self) -> str:
        """Returns the rule in words, such as "f1 of One piece at least 0.88"."""
        where = "" if self.slice == OVERALL else f" of {self.slice.removeprefix('group:').removeprefix('garment:')}"
        if self.kind == "change_at_least":
            return f"{self.metric}{where} changes by at least {self.bound:+g}"
        return f"{self.metric}{where} {self.kind.replace('_', ' ')} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value passes; NaN never does."""
        return value <= self.bound if self.kind == "at_most" else value >= self.bound

    def _bounds(self) -> dict[str, float]:
        bounds = {"at_least": self.at_least, "at_most": self.at_most, "change_at_least": self.change_at_least}
        return {name: bound for name, bound in bounds.items() if bound is not None}


DEFAULT_RULES = (
    Rule(metric="accuracy", at_least=0.96),
    Rule(metric="macro_f1", at_least=0.95),
    Rule(metric="f1", slice="group:One piece", at_least=0.88),
    Rule(metric="recall", slice=EVERY_GROUP, at_least=0.85),
    Rule(metric="calibration_error", at_most=0.02),
    Rule(metric="accuracy_over_nearest_neighbour", at_least=0.0),
    Rule(metric="accuracy", change_at_least=-0.002),
    Rule(metric="macro_f1", change_at_least=-0.004),
)
"""The default: high accuracy overall and in the hardest group, a minimum recall in every group, calibrated
probabilities, more accurate than 1-nearest neighbour, and no regression against the last blessed model."""


MACRO = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
OVERALL_FIGURES = (
    *MACRO,
    *("macro_auc", "log_loss", "calibration_error", "coverage", "abstention", "accuracy_over_nearest_neighbour"),
)
GROUP_FIGURES = ("precision", "recall", "f1")
GARMENT_FIGURES = ("accuracy", "group_accuracy", *GROUP_FIGURES)
SLICE_FIGURES = ("accuracy", "log_loss")


def check_rules(
    rules: Sequence[Rule], groups: Sequence[str], garments: Sequence[str], slices: Sequence[tuple[str, str]]
) -> None:
    """Checks the names in the rules before the evaluation, which takes a minute.

    Raises:
        VerdictError: A rule names an unknown metric or slice, or a change that is not computed for its metric.
    """
    changes: dict[str, tuple[str, ...]] = {OVERALL: MACRO} | {f"group:{name}": GROUP_FIGURES for name in groups}
    values: dict[str, tuple[str, ...]] = {OVERALL: OVERALL_FIGURES} | {
        f"group:{name}": (*GROUP_FIGURES, "auc", "average_precision", "coverage") for name in groups
    }
    values |= {f"garment:{name}": GARMENT_FIGURES for name in garments}
    values |= {f"{feature}:{value}": SLICE_FIGURES for feature, value in slices}
    for rule in (line for one in rules for line in _expand(one, values)):
        known = changes if rule.kind == "change_at_least" else values
        _named(rule.metric, dict.fromkeys(_named(rule.slice, known, "slice", rule)), "metric", rule)


def judge(metrics: Mapping[str, Any], rules: Sequence[Rule]) -> dict[str, Any]:
    """Applies the rules to `metrics.json`.

    Args:
        metrics: The content of `metrics.json`; its `baseline` is null when no model has been blessed yet.
        rules: At least one; a rule on every group counts as one rule a group.

    Returns:
        `{"blessed", "reason", "rules": [{"rule", "slice", "metric", "value", "bound", "passed", "note"}]}`; `reason` is
        empty when blessed, and a value that is not defined is null and fails.

    Raises:
        VerdictError: A rule names an unknown metric or slice, or there are no rules.
    """
    if not rules:
        raise VerdictError("There are no rules to judge by.", expected="one or more", received="none")
    current, changes = figures(metrics), _changes(metrics)
    lines = [_judge(rule, current, changes) for one in rules for rule in _expand(one, current)]
    failed = [line for line in lines if not line["passed"]]
    return {"blessed": not failed, "reason": "; ".join(_failure(line) for line in failed), "rules": lines}


def figures(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns every figure that a rule can name, by slice and metric, from the content of `metrics.json`."""
    table = {OVERALL: _values(metrics["overall"])}
    table |= {f"group:{name}": _values(block) for name, block in metrics["groups"].items()}
    table |= {f"garment:{name}": _values(block) for name, block in metrics["garments"]["per_garment"].items()}
    for line in metrics["slices"]:
        table.setdefault(f"{line['feature']}:{line['value']}", {}).update(_values(line))
    return table | {f"{CORRUPTION}:{line['name']}": _values(line) for line in metrics["corruptions"]}


def _changes(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]] | None:
    if metrics["baseline"] is None:
        return None
    table = {OVERALL: _values(metrics["baseline"]["change"])}
    return table | {f"group:{name}": _values(block) for name, block in metrics["baseline"]["groups"].items()}


def _values(block: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures among a block's entries: those with a value; null stands for not defined."""
    entries = {name: entry["value"] for name, entry in block.items() if isinstance(entry, Mapping) and "value" in entry}
    return {name: math.nan if value is None else float(value) for name, value in entries.items()}


def _expand(rule: Rule, current: Mapping[str, Any]) -> list[Rule]:
    if rule.slice != EVERY_GROUP:
        return [rule]
    return [rule.model_copy(update={"slice": name}) for name in current if name.startswith("group:")]


def _judge(rule: Rule, current: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    is_change = rule.kind == "change_at_least"
    # The name is checked against the candidate's figures also where there is no baseline: a typing mistake must fail
    # the first run, not the second.
    value = _look_up(rule, current)
    if is_change and changes is None:
        return _line(rule, None, True, NO_BASELINE)
    if is_change and changes is not None:
        value = _look_up(rule, changes)
    if math.isnan(value):
        return _line(rule, None, False, "not defined on these examples")
    return _line(rule, value, rule.holds(value), "")


def _look_up(rule: Rule, table: Mapping[str, Mapping[str, float]]) -> float:
    values = _named(rule.slice, table, "slice", rule)
    return float(_named(rule.metric, values, "metric", rule))


def _named(name: str, table: Mapping[str, Any], what: str, rule: Rule) -> Any:
    if name in table:
        return table[name]
    raise VerdictError(
        f"A rule names the unknown {what} {name!r}.{nearest(name, table)}",
        expected=f"one of {', '.join(table)}",
        received=f"the rule {rule.text()!r}",
    )


def _line(rule: Rule, value: float | None, passed: bool, note: str) -> dict[str, Any]:
    return {
        "rule": rule.text(),
        "slice": rule.slice,
        "metric": rule.metric,
        "value": value,
        "bound": rule.bound,
        "passed": passed,
        "note": note,
    }


def _failure(line: Mapping[str, Any]) -> str:
    value = line["note"] if line["value"] is None else f"{line['value']:.4f}"
    return f"{line['rule']}: {value}"
