"""The decision of a study follows its declared rule, and its reason carries the figures."""

from __future__ import annotations

import pytest

from analysis.experiments.comparison import Difference
from analysis.experiments.decision import decide
from analysis.experiments.declaration import Rule

ADOPT = Rule(kind="adopt", text="if it is ahead")
AHEAD = Difference(0.0021, 0.0008, 0.0033, 0.002)
LEVEL = Difference(0.0003, -0.001, 0.0016, 0.6)


def test_arm_that_is_surely_ahead_is_adopted():
    """The reason gives the points, the interval, the corrected p-value and the number of comparisons."""
    found = decide(ADOPT, {"flip": LEVEL, "shift": AHEAD}, "plain")
    assert found.chosen == "shift"
    assert found.reason == (
        "shift is ahead by 0.21 points [0.08, 0.33], p = 0.004 after Holm over 2 comparisons: adopted"
    )


def test_without_an_arm_ahead_the_baseline_stays():
    """The best arm's figures stand in the reason all the same."""
    found = decide(ADOPT, {"flip": LEVEL}, "plain")
    assert found.chosen == "plain"
    assert found.reason == (
        "no arm is ahead beyond chance (flip is ahead by 0.03 points [−0.10, 0.16], p = 0.600): plain stays"
    )


def test_gain_below_the_least_is_not_worth_a_change():
    """However sure, an arm is not adopted for less than the rule asks; for exactly that it is."""
    small = decide(Rule(kind="adopt", least_gain=0.003, text="if it is worth it"), {"shift": AHEAD}, "plain")
    assert small.chosen == "plain" and "at least 0.30 points" in small.reason
    assert (
        decide(Rule(kind="adopt", least_gain=0.0021, text="if it is worth it"), {"shift": AHEAD}, "plain").chosen
        == "shift"
    )


def test_number_of_comparisons_counts():
    """What one comparison proves, the best of thirty does not."""
    others = {f"arm {number}": LEVEL for number in range(29)}
    assert decide(ADOPT, {"shift": AHEAD}, "plain").chosen == "shift"
    assert decide(ADOPT, {"shift": AHEAD, **others}, "plain").chosen == "plain"


def test_arm_that_is_surely_behind_is_never_adopted():
    """A small p-value speaks for a difference, not for the arm, and the interval turns with the words."""
    found = decide(ADOPT, {"flip": Difference(-0.004, -0.006, -0.002, 0.0001)}, "plain")
    assert found.chosen == "plain"
    assert "flip is behind by 0.40 points [0.20, 0.60], p < 0.001" in found.reason


def test_report_decides_nothing():
    """The baseline stays even behind a better arm, whose figures are told."""
    found = decide(Rule(kind="report", text="no decision"), {"shift": AHEAD}, "plain")
    assert found.chosen == "plain"
    assert found.reason == "shift is ahead by 0.21 points [0.08, 0.33], p = 0.002: reported, nothing to decide"


@pytest.mark.parametrize("kind", ["adopt", "report"])
def test_nothing_to_compare_keeps_the_baseline(kind):
    """No other arm, or one whose figure is not defined, is no reason to change."""
    rule = Rule(kind=kind, text="whatever comes")
    undefined = Difference(float("nan"), float("nan"), float("nan"), 1.0)
    assert decide(rule, {}, "plain").chosen == "plain"
    assert decide(rule, {"shift": undefined}, "plain").chosen == "plain"
