"""The audit's objective and sample sizes follow from the risk-coverage curve and the binomial distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scripts.documents.audit import Audit, Selective

METRICS: dict[str, Any] = {
    "selective": {
        "abstain": {
            "answered": {"value": 0.96, "interval": [0.95, 0.97]},
            "error": {"value": 0.0075, "interval": [0.0060, 0.0094]},
            "count": 9600,
            "errors": 72,
            "abstained": 400,
            "avoided": 80,
        }
    }
}


def test_selective_accuracy_is_one_less_the_error() -> None:
    """The ends of the interval change places."""
    selective = Selective.of(METRICS)
    assert selective.accuracy == pytest.approx(0.9925)
    assert selective.interval == pytest.approx((0.9906, 0.9940))
    assert selective.accuracy_of_abstained == pytest.approx(0.8)


@pytest.mark.parametrize(("low", "objective"), [(0.9906, 0.990), (0.9899, 0.989), (0.991, 0.991)])
def test_objective_is_the_lower_end_rounded_down(low: float, objective: float) -> None:
    """An objective above the lower end would raise alarms for the model that was evaluated."""
    metrics = {
        "selective": {"abstain": METRICS["selective"]["abstain"] | {"error": {"value": 0, "interval": [0, 1 - low]}}}
    }
    assert Audit.of(Selective.of(metrics)).objective == pytest.approx(objective)


def test_alarms_are_as_rare_and_as_sure_as_stated() -> None:
    """Simulated audits raise an alarm in at most 5% at the objective, and in about 80% one point below it."""
    audit, generator = Audit(0.99), np.random.default_rng(0)
    critical = audit.critical_errors(audit.sample_size)
    at_objective, below = (generator.binomial(audit.sample_size, rate, 200_000) >= critical for rate in (0.01, 0.02))
    assert at_objective.mean() <= 0.052
    assert below.mean() == pytest.approx(0.8, abs=0.01)


def test_sample_size_is_the_smallest_that_suffices() -> None:
    """One image fewer has less power; the smallest detectable drop of that sample is the stated one."""
    audit = Audit(0.99)
    size = audit.sample_size
    assert audit.power(size) >= 0.8 > max(audit.power(count) for count in range(size // 2, size))
    assert audit.detectable_drop(size) == pytest.approx(0.01, abs=2e-4)
    assert audit.sample_size_for(0.005) > 3 * size
