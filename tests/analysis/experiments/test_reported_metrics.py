"""Formats of the reported metrics."""

from __future__ import annotations

from analysis.experiments.reported_metrics import scale_of


def test_values_are_shown_in_the_units_of_the_metric() -> None:
    """Shares are in percent, differences but zero have a sign, minus signs are typographic, and NaN is a dash."""
    share, loss = scale_of("macro_f1"), scale_of("log_loss")
    assert (share.value(0.98765), share.change(-0.00123), share.change(0.0000001)) == ("98.77", "−0.12", "0.00")
    assert (loss.change(0.00123), loss.value(float("nan"))) == ("+0.0012", "–")
    assert scale_of("zeal_of_arms").heading == "zeal of arms"
