"""The figures of earlier blessed models, which every evaluation passes on to the next.

A model may lose a little against the last blessed one. Without a memory such losses add up from run to run. So
`metrics.json` keeps the figures of the last ten blessed models, and rules may compare with the best of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from analysis.evaluation.verdict import GROUP_CHANGES, OVERALL_FROM_BEST

Block = dict[str, Any]

MODELS = 10
"""The number of blessed models that are remembered."""


def digest_of_examples(columns: Mapping[str, npt.NDArray[Any]]) -> str:
    """Returns the SHA-256 of the test examples' sources and classes; figures of other examples are not comparable.

    Args:
        columns: Columns [N], with source_id, garment_name and group_name.
    """
    rows = zip(*(columns[name].tolist() for name in ("source_id", "garment_name", "group_name")), strict=True)
    return hashlib.sha256("\n".join("\t".join(map(_text, row)) for row in rows).encode()).hexdigest()


def earlier_models(earlier: Mapping[str, Any] | None) -> list[Block]:
    """Returns the figures of the last blessed models, the oldest first.

    Args:
        earlier: The `metrics.json` of the last blessed model; None where there is none. One of an earlier version of
            this project has no digest of the test examples, so its figures are not comparable and not among them.

    Returns:
        At most ten blocks `{"test_examples", "overall": {metric: value}, "groups": {group: {metric: value}}}`.
    """
    if earlier is None or "test_examples" not in earlier:
        return []
    own = {
        "test_examples": earlier["test_examples"],
        "overall": _values(earlier["overall"], OVERALL_FROM_BEST),
        "groups": {group: _values(block, GROUP_CHANGES) for group, block in earlier["groups"].items()},
    }
    return [*earlier["earlier_models"], own][-MODELS:]


def best_blessed(metrics: Mapping[str, Any]) -> Block | None:
    """Returns how a candidate differs from the best of the earlier models, metric by metric.

    Args:
        metrics: The candidate's figures, with `test_examples`, `earlier_models` and `baseline`. The baseline is one of
            the earlier models: it has predicted these test examples anew.

    Returns:
        `{"models": count, "change": {metric: {"value"}}, "groups": {group: {metric: {"value"}}}}`, or None where no
        earlier model is comparable. Candidate minus best; null where no model has that figure.
    """
    baseline, earlier = metrics["baseline"], metrics["earlier_models"]
    if baseline is not None:
        earlier = earlier[:-1]  # the last one is the baseline, whose figures are added below
    models = [one for one in earlier if one["test_examples"] == metrics["test_examples"]]
    if baseline is not None:
        models.append(
            {
                "overall": _before(metrics["overall"], baseline["change"]),
                "groups": {g: _before(metrics["groups"][g], change) for g, change in baseline["groups"].items()},
            }
        )
    if not models:
        return None
    return {
        "models": len(models),
        "change": _from_best(metrics["overall"], [one["overall"] for one in models], OVERALL_FROM_BEST),
        "groups": {
            group: _from_best(block, [one["groups"].get(group, {}) for one in models], GROUP_CHANGES)
            for group, block in metrics["groups"].items()
        },
    }


def _from_best(own: Mapping[str, Any], others: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> Block:
    changes: Block = {}
    for name in names:
        found = [value for other in others if (value := other.get(name)) is not None]
        value = own[name]["value"]
        changes[name] = {"value": None if value is None or not found else value - max(found)}
    return changes


def _before(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns the figures of the baseline from those of the candidate and the changes."""
    found: dict[str, float | None] = {}
    for name, change in changes.items():
        value, difference = own[name]["value"], change["value"]
        found[name] = None if value is None or difference is None else value - difference
    return found


def _values(block: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {name: block[name]["value"] for name in names}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
