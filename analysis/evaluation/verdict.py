"""The rules that a model must pass to be blessed, and the verdict: each rule with its value, bound and outcome.

The default rules name no group, so they apply to every taxonomy. Rules that name groups, or whose bounds hold for one
data set, are `[[rules]]` in the taxonomy's file. `python -m scripts.verdict_bounds` computes the bounds.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.taxonomy import DEFAULT_PATH
from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest

OVERALL = "overall"
EVERY_GROUP = "every group"
CORRUPTION = "corruption"
"""The feature that corrupted examples are sliced by."""

GROUP, GARMENT = "group:", "garment:"
"""The beginnings of slices that the taxonomy names."""

NO_BASELINE = "no earlier model to compare with"


class VerdictError(UserError):
    """A rule names a metric or a slice that the evaluation does not have, or cannot be read, or there is no rule."""


class Rule(BaseModel):
    """One rule: a metric of the evaluation and its bound."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
    change_at_most: float | None = Field(
        default=None,
        description="The largest difference from the last blessed model that passes, where less is better.",
    )
    change_from_best_at_least: float | None = Field(
        default=None,
        description="The least difference from the best of the last ten blessed models that passes.",
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        if len(self._bounds()) != 1:
            raise ValueError(
                f"the rule on {self.metric} needs exactly one of {', '.join(KINDS)}, "
                f"and has {', '.join(self._bounds()) or 'none'}"
            )
        return self

    @property
    def kind(self) -> str:
        """Which bound it is: one of `KINDS`."""
        return next(iter(self._bounds()))

    @property
    def bound(self) -> float:
        """The bound's value."""
        return next(iter(self._bounds().values()))

    def text(self) -> str:
        """Returns the rule in words, such as "f1 of One piece at least 0.88"."""
        where = "" if self.slice == OVERALL else f" of {self.slice.removeprefix(GROUP).removeprefix(GARMENT)}"
        if self.kind == "change_at_least":
            return f"{self.metric}{where} changes by at least {self.bound:+g}"
        if self.kind == "change_at_most":
            return f"{self.metric}{where} changes by at most {self.bound:+g}"
        if self.kind == "change_from_best_at_least":
            return f"{self.metric}{where} differs from the best of the last ten by at least {self.bound:+g}"
        return f"{self.metric}{where} {self.kind.replace('_', ' ')} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value passes; NaN never does."""
        return value <= self.bound if self.kind.endswith("at_most") else value >= self.bound

    def _bounds(self) -> dict[str, float]:
        bounds = {kind: getattr(self, kind) for kind in KINDS}
        return {kind: bound for kind, bound in bounds.items() if bound is not None}


CHANGES = {
    "change_at_least": "baseline",
    "change_at_most": "baseline",
    "change_from_best_at_least": "best_blessed",
}
"""The kinds of rules that compare with earlier models, and the block of `metrics.json` with the differences."""
KINDS = ("at_least", "at_most", *CHANGES)


DEFAULT_RULES = (
    Rule(metric="accuracy_over_nearest_neighbour", at_least=0.0),
    Rule(metric="f1_over_nearest_neighbour", slice=EVERY_GROUP, at_least=-0.0125),
    Rule(metric="calibration_error", at_most=0.02),
    Rule(metric="abstention", at_most=0.5),
    Rule(metric="coverage", slice=EVERY_GROUP, at_least=0.9),
    Rule(metric="accuracy", change_at_least=-0.0037),
    Rule(metric="accuracy_without_near_duplicates", change_at_least=-0.0042),
    Rule(metric="macro_f1", change_at_least=-0.0051),
    Rule(metric="abstention", change_at_most=0.0263),
    Rule(metric="precision", slice=EVERY_GROUP, change_at_least=-0.0221),
    Rule(metric="recall", slice=EVERY_GROUP, change_at_least=-0.0241),
    Rule(metric="accuracy", change_from_best_at_least=-0.005),
    Rule(metric="macro_f1", change_from_best_at_least=-0.0068),
    Rule(metric="recall", slice=EVERY_GROUP, change_from_best_at_least=-0.0323),
)
"""The default for every taxonomy and data set. A model must be more accurate than 1-nearest neighbour, overall and in
every group; be calibrated; answer more often than it abstains; and have the true group in nine of ten prediction sets.
The bounds of group F1 and of changes come from the spread over seeds."""


MACRO = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
OVERALL_FROM_BEST = (*MACRO, "accuracy_without_near_duplicates")
OVERALL_CHANGES = (*OVERALL_FROM_BEST, "abstention")
OVERALL_FIGURES = (
    *OVERALL_CHANGES,
    *("macro_auc", "log_loss", "calibration_error", "coverage", "accuracy_over_nearest_neighbour"),
)
GROUP_CHANGES = ("precision", "recall", "f1")
GROUP_FIGURES = (*GROUP_CHANGES, "auc", "average_precision", "coverage", "f1_over_nearest_neighbour")
GARMENT_FIGURES = ("accuracy", "group_accuracy", *GROUP_CHANGES)
SLICE_FIGURES = ("accuracy", "log_loss")


def load_rules(path: Path | None = None) -> tuple[Rule, ...]:
    """Reads the `[[rules]]` of a taxonomy's file; there may be none.

    They are no part of the `Taxonomy`: a changed bound concerns the Evaluator alone, and no model has to be trained
    again for it.

    Args:
        path: The file, which `Taxonomy.load` can read. Defaults to `models/fashion.toml`.

    Raises:
        VerdictError: A rule is no table, or has an unknown key or a bound that is no number.
    """
    path = path or DEFAULT_PATH
    tables = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("rules", [])
    try:
        return tuple(Rule.model_validate(table) for table in tables)
    except (ValidationError, TypeError) as error:
        where, message = "", str(error)
        if isinstance(error, ValidationError):
            fault = error.errors()[0]
            where, message = ".".join(map(str, fault["loc"])), fault["msg"]
        raise VerdictError(
            f"The rules of the taxonomy {path} cannot be read.",
            expected="[[rules]] tables with a metric, a slice and one bound",
            received=f"{where}: {message}" if where else message,
            next_step=f"correct [[rules]] in {path}",
        ) from None


def check_rules(
    rules: Sequence[Rule],
    groups: Sequence[str],
    garments: Sequence[str],
    slices: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Checks the names in the rules: before the first stage against the taxonomy, and later against the data as well.

    Args:
        rules: The rules.
        groups: The groups of the taxonomy.
        garments: Its garments.
        slices: Feature and value of every further slice. Defaults to unknown: any feature and value will do.

    Raises:
        VerdictError: A rule names an unknown metric or slice, or a change that is not computed for its metric.
    """
    of_groups: dict[str, tuple[str, ...]] = {GROUP + name: GROUP_CHANGES for name in groups}
    overall = {"baseline": OVERALL_CHANGES, "best_blessed": OVERALL_FROM_BEST}
    values: dict[str, tuple[str, ...]] = {OVERALL: OVERALL_FIGURES}
    values |= {GROUP + name: GROUP_FIGURES for name in groups}
    values |= {GARMENT + name: GARMENT_FIGURES for name in garments}
    values |= {f"{feature}:{value}": SLICE_FIGURES for feature, value in slices or ()}
    for rule in (line for one in rules for line in _expand(one, values)):
        known = values
        if rule.kind in CHANGES:
            known = {OVERALL: overall[CHANGES[rule.kind]]} | of_groups
        elif slices is None and _names_a_feature(rule.slice):
            known = {rule.slice: SLICE_FIGURES}
        _named(rule.metric, dict.fromkeys(_named(rule.slice, known, "slice", rule)), "metric", rule)


def _names_a_feature(name: str) -> bool:
    return ":" in name and not name.startswith((GROUP, GARMENT))


def judge(metrics: Mapping[str, Any], rules: Sequence[Rule]) -> dict[str, Any]:
    """Applies the rules to `metrics.json`.

    Args:
        metrics: The content of `metrics.json`; its `baseline` is null when there is no earlier model to compare with.
        rules: At least one; a rule on every group counts as one rule a group, and of two rules that differ in nothing
            but the bound only the stricter one counts.

    Returns:
        `{"blessed", "reason", "compared", "comparison", "rules": [line]}`. `reason` is empty when blessed. `compared`
        is whether there was an earlier model, and `comparison` says which, or why there was none. A line has `rule`,
        `slice`, `metric`, `value`, `bound`, `passed`, `applied` and `note`. A rule that compares with earlier models
        passes without being applied where there is none. A value that is not defined is null and fails.

    Raises:
        VerdictError: A rule names an unknown metric or slice, or there are no rules.
    """
    if not rules:
        raise VerdictError("There are no rules to judge by.", expected="one or more", received="none")
    current = figures(metrics)
    changes = {kind: _changes(metrics[block]) for kind, block in CHANGES.items()}
    lines = [_judge(rule, current, changes) for rule in strictest(rules, current)]
    failed = [line for line in lines if not line["passed"]]
    return {
        "blessed": not failed,
        "reason": "; ".join(_failure(line) for line in failed),
        "compared": metrics["baseline"] is not None,
        "comparison": metrics["comparison"],
        "rules": lines,
    }


def figures(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns every figure that a rule can name, by slice and metric, from the content of `metrics.json`."""
    table = {OVERALL: _values(metrics["overall"])}
    table |= {GROUP + name: _values(block) for name, block in metrics["groups"].items()}
    table |= {GARMENT + name: _values(block) for name, block in metrics["garments"]["per_garment"].items()}
    for line in metrics["slices"]:
        table.setdefault(f"{line['feature']}:{line['value']}", {}).update(_values(line))
    return table | {f"{CORRUPTION}:{line['name']}": _values(line) for line in metrics["corruptions"]}


def _changes(block: Mapping[str, Any] | None) -> dict[str, dict[str, float]] | None:
    """Returns the differences from earlier models, by slice and metric; None where there is no such model."""
    if block is None:
        return None
    return {OVERALL: _values(block["change"])} | {GROUP + name: _values(one) for name, one in block["groups"].items()}


def _values(block: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures among a block's entries: those with a value; null stands for not defined."""
    entries = {name: entry["value"] for name, entry in block.items() if isinstance(entry, Mapping) and "value" in entry}
    return {name: math.nan if value is None else float(value) for name, value in entries.items()}


def strictest(rules: Sequence[Rule], slices: Iterable[str]) -> list[Rule]:
    """Returns the rules slice by slice, without those that a stricter rule on the same figure implies.

    Args:
        rules: The rules.
        slices: The names of the slices, such as "group:Bags": a rule on every group applies to each of these.
    """
    found: dict[tuple[str, str, str], Rule] = {}
    for rule in (line for one in rules for line in _expand(one, slices)):
        key = (rule.metric, rule.slice, rule.kind)
        if key not in found or found[key].holds(rule.bound):
            found[key] = rule
    return list(found.values())


def _expand(rule: Rule, slices: Iterable[str]) -> list[Rule]:
    if rule.slice != EVERY_GROUP:
        return [rule]
    return [rule.model_copy(update={"slice": name}) for name in slices if name.startswith(GROUP)]


def _judge(rule: Rule, current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    # The name is checked against the candidate's figures also where there is no baseline: a typing mistake must fail
    # the first run, not the second.
    value = _look_up(rule, current)
    if rule.kind in CHANGES:
        if changes[rule.kind] is None:
            return _line(rule, None, True, NO_BASELINE, applied=False)
        value = _look_up(rule, changes[rule.kind])
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


def _line(rule: Rule, value: float | None, passed: bool, note: str, applied: bool = True) -> dict[str, Any]:
    return {
        "rule": rule.text(),
        "slice": rule.slice,
        "metric": rule.metric,
        "value": value,
        "bound": rule.bound,
        "passed": passed,
        "applied": applied,
        "note": note,
    }


def _failure(line: Mapping[str, Any]) -> str:
    value = line["note"] if line["value"] is None else f"{line['value']:.4f}"
    return f"{line['rule']}: {value}"
