"""Formats and directions of the reported metrics, and the functions of those that count predictions."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.experiments.reported_metrics import SCALES, confusion_metric, format_p_value, scale_of
from models.taxonomy import Taxonomy
from tests.serving.exports import TWO_GROUPS

SPACE = "\N{NO-BREAK SPACE}"


def test_values_are_shown_in_the_units_of_the_metric() -> None:
    """Shares are in percent, differences but zero have a sign, minus signs are typographic, and NaN is a dash."""
    share, loss = scale_of("macro_f1"), scale_of("log_loss")
    assert (share.value(0.98765), share.change(-0.00123), share.change(0.0000001)) == ("98.77", "−0.12", "0.00")
    assert (loss.change(0.00123), loss.value(float("nan"))) == ("+0.0012", "–")
    assert (share.change(-0.0000001), share.change(float("nan"))) == ("0.00", "–")
    assert (scale_of("multiply_adds").value(12_345_678), scale_of("parameters").value(12_345)) == ("12.35", "12,345")
    assert scale_of("zeal_of_arms").heading == "zeal of arms"


def test_spreads_and_intervals_have_their_signs_and_brackets() -> None:
    """A single seed has no spread, and an unknown interval is not shown."""
    share, nan = scale_of("group_accuracy"), float("nan")
    assert share.spread(0.98, 0.0012) == f"98.00{SPACE}±{SPACE}0.12" and share.spread(0.98, nan) == "98.00"
    assert share.interval(-0.001, 0.002) == f"[−0.10,{SPACE}+0.20]" and share.interval(nan, nan) == ""


@pytest.mark.parametrize(
    ("p_value", "plain", "named"),
    [(0.04321, "0.043", "p = 0.043"), (0.001, "0.001", "p = 0.001"), (0.0009, "< 0.001", "p < 0.001")],
)
def test_p_values_have_three_digits(p_value: float, plain: str, named: str) -> None:
    """Smaller ones are only said to be below 0.001."""
    assert (format_p_value(p_value), format_p_value(p_value, "p")) == (plain, named)


def test_errors_costs_and_sizes_are_better_when_smaller() -> None:
    """All other metrics are better when larger."""
    smaller = {
        "fpr95", "no_true_neighbour", "risk", "calibration_error", "debiased_calibration_error",
        "reference_calibration_error", "set_size", "set_size_by_group", "harmed", "aurc", "log_loss", "train_seconds",
        "parameters", "multiply_adds", "bytes", "latency_ms",
    }  # fmt: skip
    assert {name for name, scale in SCALES.items() if not scale.more_is_better} == smaller
    assert scale_of("anything else").more_is_better


def test_metrics_that_count_predictions_have_a_function() -> None:
    """A group's name stands for its F1; a taxonomy without One piece has no figure of it."""
    counts = np.diag([40, 30, 20, 30, 10])
    counts[2, 0], counts[0, 1] = 10, 5
    taxonomy = Taxonomy.load()
    found = {
        name: float(metric(counts))
        for name in ("group_accuracy", "macro_f1", "one_piece_f1", "One piece", "Bottom part")
        if (metric := confusion_metric(name, taxonomy)) is not None
    }
    f1 = [80 / 95, 60 / 65, 40 / 50, 1, 1]
    assert found == pytest.approx(
        {
            "group_accuracy": 130 / 145,
            "macro_f1": np.mean(f1),
            "one_piece_f1": f1[2],
            "One piece": f1[2],
            "Bottom part": f1[1],
        }
    )
    assert confusion_metric("log_loss", taxonomy) is None and confusion_metric("one_piece_f1", TWO_GROUPS) is None
