"""Judgements: the best arm, the minimum detectable difference, and the decision by the declared rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.experiments.comparison import Difference
from analysis.experiments.declaration import DeclarationError, Rule
from analysis.experiments.judgement import decide, judge, machines, over_seeds, significant
from analysis.experiments.results import Results
from tests.analysis.experiments.synthetic_experiment import ERRORS, MACHINE, declare, of_figures, run

ADOPT = Rule(kind="adopt", text="if it is ahead")
AHEAD = Difference(0.0021, 0.0008, 0.0033, 0.002)
LEVEL = Difference(0.0003, -0.001, 0.0016, 0.6)


def test_significantly_better_arm_is_adopted():
    """The reason gives the points, the interval, the corrected p-value and the number of comparisons."""
    found = decide(ADOPT, {"flip": LEVEL, "shift": AHEAD}, "plain")
    assert found.chosen == "shift"
    assert found.reason == ("shift is ahead by 0.21 points [0.08, 0.33], p = 0.004 after Holm over 2 comparisons")


def test_without_a_significantly_better_arm_the_baseline_stays():
    """The reason has the best arm's figures."""
    found = decide(ADOPT, {"flip": LEVEL}, "plain")
    assert found.chosen == "plain"
    assert found.reason == ("no arm is significantly ahead (flip is ahead by 0.03 points [−0.10, 0.16], p = 0.600)")


def test_gain_below_the_least_gain_is_not_adopted():
    """A significant gain below the rule's least gain is not adopted; one of exactly that size is."""
    small = decide(Rule(kind="adopt", least_gain=0.003, text="if it is worth it"), {"shift": AHEAD}, "plain")
    assert small.chosen == "plain" and "at least 0.30 points" in small.reason
    assert (
        decide(Rule(kind="adopt", least_gain=0.0021, text="if it is worth it"), {"shift": AHEAD}, "plain").chosen
        == "shift"
    )


def test_number_of_comparisons_counts():
    """An arm that is significant in one comparison is not among thirty."""
    others = {f"arm {number}": LEVEL for number in range(29)}
    assert decide(ADOPT, {"shift": AHEAD}, "plain").chosen == "shift"
    assert decide(ADOPT, {"shift": AHEAD, **others}, "plain").chosen == "plain"


def test_significantly_worse_arm_is_never_adopted():
    """A small p-value means a difference in either direction, and the interval has the sign of the words."""
    found = decide(ADOPT, {"flip": Difference(-0.004, -0.006, -0.002, 0.0001)}, "plain")
    assert found.chosen == "plain"
    assert "flip is behind by 0.40 points [0.20, 0.60], p < 0.001" in found.reason


def test_report_decides_nothing():
    """The baseline stays even behind a better arm, whose figures are the reason."""
    found = decide(Rule(kind="report", text="no decision"), {"shift": AHEAD}, "plain")
    assert found.chosen == "plain"
    assert found.reason == "shift is ahead by 0.21 points [0.08, 0.33], p = 0.002"


@pytest.mark.parametrize("kind", ["adopt", "report"])
def test_nothing_to_compare_keeps_the_baseline(kind):
    """No other arm, or one whose figure is not defined, is no reason to change."""
    rule = Rule(kind=kind, text="whatever comes")
    undefined = Difference(float("nan"), float("nan"), float("nan"), 1.0)
    assert decide(rule, {}, "plain").chosen == "plain"
    assert decide(rule, {"shift": undefined}, "plain").chosen == "plain"


def test_minimum_detectable_difference_shrinks_with_more_seeds(tmp_path: Path) -> None:
    """That of three seeds is smaller than that of one."""
    three = run(declare(tmp_path, "three", metric="group_accuracy"), tmp_path, ERRORS)
    one = run(declare(tmp_path, "one", metric="group_accuracy"), tmp_path, ERRORS, seeds=1)
    sizes = [judge(results.experiment, results).minimum_detectable_difference for results in (three, one)]
    assert 0 < sizes[0] < sizes[1] < 0.1


def test_smaller_errors_are_better(tmp_path: Path) -> None:
    """The arm with the smallest calibration error is best and chosen, by a test over the seeds."""
    experiment = declare(tmp_path, "scaling", ("none", "scaled"), "calibration_error")
    results = Results(experiment, tmp_path)
    for arm, error in (("none", 0.03), ("scaled", 0.01)):
        for seed in experiment.seeds:
            results.add(arm, seed, of_figures([("validation", "calibration_error", error + 0.0001 * seed**2)]), MACHINE)
    results.add("scaled", 1, of_figures([("validation", "calibration_error", 0.0102)]), MACHINE)
    judgement = judge(experiment, results)
    assert judgement.best == "scaled" and judgement.decision is not None and judgement.decision.chosen == "scaled"


def test_an_interval_keeps_its_order_where_less_is_better(tmp_path: Path) -> None:
    """The gain of a smaller error is positive, and its interval is the mirrored one, with the lower end first."""
    experiment = declare(tmp_path, "scaling", ("none", "scaled"), "calibration_error")
    results = Results(experiment, tmp_path)
    for arm, errors in (("none", (0.03, 0.034, 0.038)), ("scaled", (0.01, 0.011, 0.012))):
        for seed, error in zip(experiment.seeds, errors, strict=False):
            results.add(arm, seed, of_figures([("validation", "calibration_error", error)]), MACHINE)
    judgement = judge(experiment, results)
    found, oriented = judgement.differences["scaled"], judgement._oriented["scaled"]
    assert found.low < found.value < found.high < 0
    assert (oriented.low, oriented.value, oriented.high) == (-found.high, -found.value, -found.low)
    decision = judgement.decision
    assert decision is not None and decision.chosen == "scaled"
    assert f"[{100 * oriented.low:.2f}, {100 * oriented.high:.2f}]" in decision.reason


def test_the_best_difference_decides_and_not_the_second_best():
    """An arm that is ahead by more, but not significantly, keeps a smaller significant gain from being adopted."""
    noisy = Difference(0.005, -0.001, 0.011, 0.3)
    assert decide(ADOPT, {"shift": AHEAD, "noisy": noisy}, "plain").chosen == "plain"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Difference(0.002, 0.001, 0.003, 0.049), ["arm"]),
        (Difference(-0.002, -0.003, -0.001, 0.049), ["arm"]),
        (Difference(0.002, 0.001, 0.003, 0.05), []),
        (Difference(0.002, 0.0, 0.004, 0.001), []),
        (Difference(-0.002, -0.004, 0.0, 0.001), []),
        (Difference(0.002, float("nan"), float("nan"), 0.001), []),
    ],
)
def test_significance_needs_a_small_p_value_and_an_interval_without_zero(found: Difference, expected: list[str]):
    """In either direction; p = 0.05 and a bound of zero are not enough."""
    assert significant({"arm": found}) == expected


def test_verdicts_follow_the_direction_of_the_metric(tmp_path: Path) -> None:
    """Of errors fewer are better; a metric without a margin is not significant instead of cannot tell."""
    up, down = Difference(0.01, 0.008, 0.012, 0.001, (0.0085, 0.0115)), Difference(0.0, -0.02, 0.02, 0.9, (-0.01, 0.01))
    fewer = Difference(-0.01, -0.012, -0.008, 0.001, (-0.0115, -0.0085))
    for metric, expected in (
        ("macro_f1", ["significantly better", "cannot tell", "significantly worse"]),
        ("calibration_error", ["significantly worse", "cannot tell", "significantly better"]),
        ("coverage", ["significantly better", "not significant", "significantly worse"]),
    ):
        experiment = declare(tmp_path, metric, ("plain", "more", "same", "less"), metric)
        judgement = judge(experiment, Results(experiment, tmp_path))
        judgement.__dict__["differences"] = {"more": up, "same": down, "less": fewer}
        assert list(judgement.verdicts.values()) == expected
        assert judgement.arms_with("significantly better") == ["more" if metric != "calibration_error" else "less"]
        assert judgement.adjusted == pytest.approx({"more": 0.003, "same": 0.9, "less": 0.003})


def test_students_interval_is_scipys() -> None:
    """Of the seeds' paired differences, at 95% and 90%, with the two-sided p-value."""
    values = [0.4, 0.1, 0.3, 0.6]
    found, expected = over_seeds(values), stats.ttest_1samp(values, 0)
    wide, narrow = expected.confidence_interval(0.95), expected.confidence_interval(0.9)
    assert (found.value, found.p_value) == pytest.approx((0.35, expected.pvalue))
    assert (found.low, found.high) == pytest.approx((wide.low, wide.high))
    assert found.interval_90 == pytest.approx((narrow.low, narrow.high))
    assert np.isnan(over_seeds([0.3]).low) and np.isnan(over_seeds([]).value)


def test_arms_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    """A seed that one arm lacks does not count; the order of the difference is arm minus other."""
    experiment = declare(tmp_path, "partial", ("none", "scaled"), "coverage")
    results = Results(experiment, tmp_path)
    for arm, seed, value in (
        ("none", 1, 0.90), ("none", 2, 0.92), ("scaled", 2, 0.95), ("scaled", 3, 0.10), ("none", 3, 0.11),
    ):  # fmt: skip
        results.add(arm, seed, of_figures([("validation", "coverage", value), ("Bags", "coverage", 0.5)]), MACHINE)
    judgement = judge(experiment, results)
    assert judgement.seeds("scaled", "none") == [2, 3] and judgement.decision is None
    assert judgement.difference("scaled", "none", "coverage").value == pytest.approx((0.03 - 0.01) / 2)
    assert judgement.difference("none", "scaled", "coverage").value == pytest.approx(-0.01)
    assert judgement.values("none", "coverage") == [0.9, 0.92, 0.11] and judgement.values("missing", "coverage") == []
    assert judgement.values("scaled", "coverage", "Bags") == [0.5, 0.5]
    assert judgement.arms == ["none", "scaled"] and judgement.best == "none"


def test_the_detectable_difference_of_other_metrics_follows_from_the_intervals(tmp_path: Path) -> None:
    """The median half-width over 1.96, times 1.96 + 0.84; unknown without an interval."""
    experiment = declare(tmp_path, "power", ("plain", "a", "b", "c"), "macro_f1")
    judgement = judge(experiment, Results(experiment, tmp_path))
    judgement.__dict__["differences"] = {
        name: Difference(0.0, -half, half, 1.0) for name, half in (("a", 0.01), ("b", 0.02), ("c", 0.09))
    }
    assert judgement.minimum_detectable_difference == pytest.approx(0.02 * 2.8016 / 1.96, rel=1e-3)
    empty = judge(experiment, Results(experiment, tmp_path))
    assert np.isnan(empty.minimum_detectable_difference)


def test_machines_come_by_the_number_of_their_runs() -> None:
    """Backend and hardware together, the most frequent first."""
    figures = pd.DataFrame({"backend": ["jax 1", "tf 2", "tf 2"], "hardware": ["h", "h", "h"]})
    assert machines(figures) == ["tf 2, h", "jax 1, h"]


def test_seeds_without_a_spread_allow_no_test() -> None:
    """A size that is equal in all seeds has no interval and a p-value of 1."""
    found = over_seeds([5.0, 5.0, 5.0])
    assert found.value == 5 and np.isnan(found.low) and found.p_value == 1
    assert over_seeds([1.0, 1.1, 0.9]).p_value < 0.01


def test_a_metric_that_was_not_measured_is_an_error(tmp_path: Path) -> None:
    """The error names the metrics that the measure reports."""
    experiment = declare(tmp_path, metric="auroc")
    with pytest.raises(DeclarationError, match="one of group_accuracy, macro_f1"):
        judge(experiment, run(experiment, tmp_path, {"plain": 0.05}))
