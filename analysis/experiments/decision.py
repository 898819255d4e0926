"""The decision of a study: its rule, declared before it is run, applied to the differences that came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import Rule
from analysis.experiments.scales import probability
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

    "adopt" takes the arm with the largest difference if it is `beyond_chance`, above zero and at least `least_gain`; a
    runner-up is never taken in its place. Otherwise, and under "report", the baseline stays.

    Args:
        rule: The study's rule.
        differences: Of every arm but the baseline, in a metric of which more is better.
        baseline: The baseline's name.
    """
    defined = [name for name, found in differences.items() if found.value == found.value]
    if not defined:
        return Decision(baseline, f"there is no arm to compare: {baseline} stays")
    best = max(defined, key=lambda name: differences[name].value)
    found, chance = differences[best], probability(adjusted(differences)[best], "p")
    figures = f"{best} is {_standing(found)}, {chance}{_correction(len(differences))}"
    if rule.kind == "report":
        return Decision(baseline, f"{figures}: reported, nothing to decide")
    if found.value > 0 and found.value >= rule.least_gain and best in beyond_chance(differences):
        return Decision(best, f"{figures}: adopted")
    return Decision(baseline, f"no arm is ahead {_bar(rule)} ({figures}): {baseline} stays")


def adjusted(differences: Mapping[str, Difference]) -> dict[str, float]:
    """Returns the p-values of arms' differences after Holm's correction for their number."""
    p_values = holm([found.p_value for found in differences.values()])
    return dict(zip(differences, map(float, p_values), strict=True))


def beyond_chance(differences: Mapping[str, Difference]) -> list[str]:
    """Returns the arms that differ from the baseline beyond chance: by the corrected p-value, and by the interval.

    The p-value asks about other examples for these seeds; one seed that failed can make it small. The interval is
    over other seeds as well.
    """
    found = differences
    return [a for a, p_value in adjusted(found).items() if p_value < ALPHA and not found[a].low <= 0 <= found[a].high]


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


def _correction(comparisons: int) -> str:
    return f" after Holm over {comparisons} comparisons" if comparisons > 1 else ""
