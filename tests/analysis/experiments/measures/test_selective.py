"""What is said about confidence: the error left when abstaining, and the distance from honesty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.experiments.measures.selective import (
    Measure,
    adaptive_calibration_error,
    debiased_calibration_error,
    errors_left,
    honest_draws,
    judge_honesty,
    risk_coverage,
)
from models.probabilities import expected_calibration_error

TINY = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.9]), st.booleans()), min_size=1, max_size=12)


def confident(count: int, seed: int) -> np.ndarray:
    """Confidences as a good network has them: 98.5% in the mean, nearly all of them close to 1."""
    return 1 - 0.5 * np.random.default_rng(seed).beta(0.1, 3.2, count)


@settings(max_examples=60, deadline=None)
@given(TINY)
def test_risk_is_the_mean_over_the_orders_of_ties(examples: list[tuple[float, bool]]) -> None:
    """The risk of k answered is the expected share of errors when ties are broken by chance."""
    confidence = np.array([c for c, _ in examples])
    correct = np.array([r for _, r in examples])
    curve = risk_coverage(confidence, correct)
    for answered in range(1, len(examples) + 1):
        border = np.sort(confidence)[::-1][answered - 1]
        sure, tied = confidence > border, confidence == border
        errors = (~correct[sure]).sum() + (~correct[tied]).mean() * (answered - sure.sum())
        assert curve.risk[answered - 1] == pytest.approx(errors / answered)
    assert curve.area == pytest.approx(curve.risk.mean()) and curve.excess_area > -1e-12


def test_the_best_order_has_no_excess_area_and_abstains_from_errors() -> None:
    """Errors last: setting aside as many examples as there are errors leaves none."""
    correct = np.arange(1000) >= 20
    confidence = np.linspace(0.5, 1, 1000)
    curve = risk_coverage(confidence, correct)
    assert curve.excess_area == pytest.approx(0) and curve.area > 0
    assert errors_left(confidence, correct) == pytest.approx([0.02, 10 / 990, 0, 0])
    assert risk_coverage(-confidence, correct).excess_area > 0.02


def test_equal_mass_bins_see_the_gap_that_equal_width_bins_average_away() -> None:
    """Confidence of 0.97 and 0.99 with their accuracies swapped lies in one bin of 15, but in two of equal size."""
    confidence = np.repeat([0.97, 0.99], 1000)
    correct = np.concatenate([np.arange(1000) >= 10, np.arange(1000) >= 30])
    assert expected_calibration_error(confidence, correct) == pytest.approx(0, abs=1e-9)
    assert adaptive_calibration_error(confidence, correct) == pytest.approx(0.02)


def test_debiasing_takes_some_of_the_error_off_that_chance_adds() -> None:
    """Over honest models the plain error is far from 0 and the debiased one nearer."""
    confidence = confident(6000, 0)
    plain, debiased = (
        honest_draws(confidence, measure, draws=300)
        for measure in (adaptive_calibration_error, debiased_calibration_error)
    )
    assert plain.mean() > 0.001 and abs(debiased.mean()) < 0.75 * plain.mean()


@pytest.mark.parametrize("measure", [adaptive_calibration_error, debiased_calibration_error])
def test_a_gap_that_is_there_is_told_with_its_size(measure: Measure) -> None:
    """A model that is 5 points too sure everywhere is said to be."""
    confidence = np.random.default_rng(1).uniform(0.6, 0.95, 50_000)
    correct = np.random.default_rng(2).random(50_000) < confidence - 0.05
    assert measure(confidence, correct) == pytest.approx(0.05, abs=0.007)


def test_honest_models_are_judged_honest_and_boasts_are_not() -> None:
    """The share of honest models below p is p; a boast of a point is found."""
    confidence, random = confident(3000, 3), np.random.default_rng(4)
    chances = [
        judge_honesty(confidence, random.random(3000) < confidence, draws=60, seed=seed).p_value for seed in range(100)
    ]
    assert np.mean(np.array(chances) <= 0.1) < 0.22 and np.mean(np.array(chances) <= 0.5) == pytest.approx(0.5, abs=0.2)
    boast = judge_honesty(confidence, random.random(3000) < confidence - 0.01, draws=200)
    assert boast.p_value < 0.01 and boast.error > boast.honest_limit > boast.honest_error
