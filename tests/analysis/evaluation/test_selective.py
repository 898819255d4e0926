"""The risk of a classifier that abstains, and what a rule for abstaining answers and avoids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.evaluation.selective import (
    OperatingPoint,
    operating_point,
    operating_points,
    risk_coverage,
    thinned_risk_coverage,
)

TINY = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.9]), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(TINY)
def test_risk_is_the_mean_over_the_orders_of_ties(examples: list[tuple[float, bool]]) -> None:
    """The risk of the k most confident is the expected share of errors when ties are broken at random."""
    confidence = np.array([c for c, _ in examples])
    correct = np.array([r for _, r in examples])
    curve = risk_coverage(confidence, correct)
    for answered in range(1, len(examples) + 1):
        border = np.sort(confidence)[::-1][answered - 1]
        sure, tied = confidence > border, confidence == border
        errors = (~correct[sure]).sum() + (~correct[tied]).mean() * (answered - sure.sum())
        assert curve.risk[answered - 1] == pytest.approx(errors / answered)
    assert curve.area == pytest.approx(curve.risk.mean())


def test_with_errors_least_confident_abstaining_removes_them() -> None:
    """Abstaining on as many examples as there are errors leaves none; the reversed order has a larger area."""
    correct = np.arange(1000) >= 20
    confidence = np.linspace(0.5, 1, 1000)
    curve = risk_coverage(confidence, correct)
    risks = [curve.risk_after_abstaining(share) for share in (0.0, 0.01, 0.02, 0.05)]
    assert risks == pytest.approx([0.02, 10 / 990, 0, 0])
    assert risk_coverage(-confidence, correct).area > 0.02 + curve.area > 0.02


def test_an_operating_point_counts_answers_and_errors() -> None:
    """Answered and abstained examples are counted, and the errors in both."""
    answered = np.array([True, True, True, False, False])
    correct = np.array([True, False, True, False, True])
    assert operating_point(answered, correct) == OperatingPoint(answered=3, errors=1, abstained=2, avoided=1)


def test_a_threshold_includes_its_own_confidence() -> None:
    """The rule answers from the threshold on."""
    confidence, correct = np.array([0.5, 0.8, 0.9]), np.array([False, True, True])
    points = dict(operating_points(confidence, correct, (0.0, 0.8, 0.95)))
    assert [points[t].answered for t in (0.0, 0.8, 0.95)] == [3, 2, 0]
    assert [points[t].errors for t in (0.0, 0.8, 0.95)] == [1, 0, 0]


def test_abstaining_leaves_at_least_one_answer() -> None:
    """Shares are rounded to whole examples, and the most confident example always has an answer."""
    correct = np.array([True, False, False, False])
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), correct)
    shares = [0.0, 0.12, 0.13, 0.25, 0.5, 0.99]
    assert [curve.risk_after_abstaining(s) for s in shares] == pytest.approx([0.75, 0.75, 2 / 3, 2 / 3, 0.5, 0])


def test_operating_points_are_at_the_published_thresholds() -> None:
    """`metrics.json` lists nine confidences, beginning with an answer to everything."""
    points = operating_points(np.array([0.55, 0.985, 1.0]), np.array([False, True, True]))
    assert [threshold for threshold, _ in points] == [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]
    assert [point.answered for _, point in points] == [3, 3, 2, 2, 2, 2, 2, 2, 1]
    assert [point.avoided for _, point in points] == [0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_points_of_the_curve_answer_ties_together() -> None:
    """Each point is a confidence that occurs, with the share of examples from it on and the error among these."""
    confidence = np.array([0.9, 0.9, 0.7, 0.6])
    correct = np.array([True, False, True, False])
    assert thinned_risk_coverage(confidence, correct) == {
        "answered": [0.5, 0.75, 1.0],
        "error": [0.5, 0.333333, 0.5],
        "threshold": [0.9, 0.7, 0.6],
    }


def test_a_long_curve_keeps_few_points_and_its_ends() -> None:
    """At most 200 points remain, the last of which answers everything with the overall error."""
    generator = np.random.default_rng(0)
    confidence, correct = generator.uniform(0.5, 1, 5000), generator.random(5000) < 0.97
    curve = thinned_risk_coverage(confidence, correct)
    assert len(curve["answered"]) <= 200
    assert curve["answered"][-1] == 1 and curve["error"][-1] == pytest.approx(1 - correct.mean(), abs=1e-6)
    assert curve["threshold"] == sorted(curve["threshold"], reverse=True)
