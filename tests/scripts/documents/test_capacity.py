"""The capacity tables follow from the measured throughput by the formulas of docs/capacity.md."""

from __future__ import annotations

import pytest

from scripts.documents.capacity import Assumptions, Capacity


def measured(throughput: float, bare: float = 2000.0) -> dict[str, object]:
    """A result of `make bench-serving` with these images a second."""
    rows = {"64 clients over REST": throughput, "bare, best batch size (64)": bare}
    return {
        "machine": {},
        "figures": [{"figure": name, "value": value, "spread": None} for name, value in rows.items()],
    }


def test_a_plan_worked_by_hand() -> None:
    """A peak of 10,000 images a second at 1,516 images a second and 0.04 USD a vCPU-hour."""
    capacity = Capacity(measured(1516.0), Assumptions(vcpu_hour=0.04, gib_hour=0.005))
    plan = capacity.plans[10_000]
    assert (plan.at_peak.carrying, plan.at_peak.servers, plan.at_peak.intakes) == (11, 17, 63)
    assert (plan.at_mean.servers, plan.at_mean.intakes) == (8, 26)
    assert (plan.vcpus, plan.gib) == (101.0, 69.5)
    assert plan.month == pytest.approx(3294, abs=1)
    assert plan.month_autoscaled == pytest.approx(1555, abs=1)
    assert plan.million == pytest.approx(0.148, abs=0.001)


def test_small_loads_pay_for_availability() -> None:
    """The minimum number of pods does not depend on the throughput."""
    slow, fast = Capacity(measured(500.0)), Capacity(measured(5000.0))
    assert slow.plans[1] == fast.plans[1]
    assert slow.plans[10_000].at_peak.servers > fast.plans[10_000].at_peak.servers


def test_one_zone_less_still_carries_the_peak() -> None:
    """Two thirds of the servers have the planned rate for the whole peak."""
    for throughput in (300.0, 1516.0, 3388.0):
        capacity = Capacity(measured(throughput))
        assert capacity.plans[10_000].at_peak.servers * 2 // 3 * capacity.planned_rate >= 10_000
