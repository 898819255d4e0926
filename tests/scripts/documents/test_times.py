"""The times of a run on a machine that other programs use are those of its undisturbed epochs."""

from __future__ import annotations

from typing import Any

from scripts.documents.times import SCALED, measured_times, with_scaled


def test_disturbed_epochs_count_as_undisturbed_ones() -> None:
    """Of four epochs of 10 s, one takes 40 s: the run counts 30 s less than it took."""
    run: dict[str, Any] = {
        "date": "2026-01-01",
        "hardware": {"processor": "Example", "cores": 2},
        "total_seconds": 120.0,
        "seconds": {"trainer": 70.0, "evaluator": 50.0},
        "model": {"history": [{"seconds": seconds} for seconds in (10.0, 10.0, 40.0, 10.0)]},
    }
    times = measured_times(run)
    assert (times["minutes"], times["elapsed_minutes"], times["epoch_seconds"]) == (1.5, 2.0, 10.0)


def test_other_profiles_are_scaled_unless_measured() -> None:
    """A profile that is measured on both machines keeps its figure."""
    times: dict[str, Any] = {
        "default": {"bfloat16": {"minutes": 5.0}, "float32": {"minutes": 20.0, "kind": "measured"}},
        "quick": {"bfloat16": {"minutes": 1.5}, "float32": {"minutes": 5.0, "kind": "measured"}},
        "full": {"bfloat16": {"minutes": 10.0}},
    }
    scaled = with_scaled(times, "default")
    assert scaled["quick"]["float32"]["minutes"] == 5.0
    assert scaled["full"]["float32"]["minutes"] == 40.0
    assert scaled["full"]["float32"]["kind"] == SCALED
