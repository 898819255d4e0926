"""The decision of a study: its rule, declared before it is run, applied to the differences that came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import Rule
from analysis.experiments.significance import holm

ALPHA = 0.05
"""The chance that a study adopts any arm that is no better than the baseline."""


@dataclass(frozen=True)
class Decision:
    """The arm that is chosen, and why in one sentence with the figures in points (hundredths)."""

    chosen: str
    reason: str


def decide(rule: Rule, differences: Mapping[str, Difference], baseline: str) -> Decision:
    """Applies a study's rule.

    "adopt" takes the arm with the largest difference if its p-value, after Holm over all arms, is below `ALPHA` and the
    difference is above zero and at least `least_gain`; a runner-up is never taken in its place. Otherwise, and under
    "report", the baseline stays.

    Args:
        rule: The study's rule.
        differences: Of every arm but the baseline, in a metric of which more is better.
        baseline: The baseline's name.
    """
    defined = [name for name, found in differences.items() if found.value == found.value]
    if not defined:
        return Decision(baseline, f"there is no arm to compare: {baseline} stays")
    adjusted = dict(zip(differences, holm([found.p_value for found in differences.values()]), strict=True))
    best = max(defined, key=lambda name: differences[name].value)
    found, p_value = differences[best], float(adjusted[best])
    figures = f"{best} is {_standing(found)}, {_probability(p_value)}{_correction(len(differences))}"
    if rule.kind == "report":
        return Decision(baseline, f"{figures}: reported, nothing to decide")
    if found.value > 0 and found.value >= rule.least_gain and p_value < ALPHA and found.low > 0:
        return Decision(best, f"{figures}: adopted")
    return Decision(baseline, f"no arm is ahead {_bar(rule)} ({figures}): {baseline} stays")


def _standing(found: Difference) -> str:
    side = "behind" if found.value < 0 else "ahead"
    size, low, high = abs(found.value), found.low, found.high
    if found.value < 0:
        low, high = -high, -low
    return f"{side} by {_points(size)} points [{_points(low)}, {_points(high)}]"


def _bar(rule: Rule) -> str:
    return f"by at least {_points(rule.least_gain)} points and beyond chance" if rule.least_gain else "beyond chance"


def _points(share: float) -> str:
    return f"{100 * share:.2f}".replace("-", "−")


def _probability(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _correction(comparisons: int) -> str:
    return f" after Holm over {comparisons} comparisons" if comparisons > 1 else ""
