"""Equivalence of two arms: two one-sided tests against a margin, the smallest difference that would change a choice.

Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence
of average bioavailability": both tests reject at 5% exactly if the 90% interval lies within the margin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.experiments.comparison import Difference
from analysis.experiments.reported_metrics import Scale, scale_of


@dataclass(frozen=True)
class Margin:
    """The margin of a metric, and why a smaller difference would not change a choice."""

    value: float
    reason: str


_GROUP_REASON = "Three of the 600 validation images of One piece, the group with the lowest F1."
MARGINS = {
    "group_accuracy": Margin(
        0.002,
        "Two images in a thousand. The profile `full` gains about as much over the default for several times the "
        "training time (experiment 19); a smaller gain does not pay for that.",
    ),
    "macro_f1": Margin(0.002, "One point of F1 in one of the five groups."),
    "garment_accuracy": Margin(0.003, "The garment is only shown; no stage decides by it."),
    "one_piece_f1": Margin(0.005, _GROUP_REASON),
    "f1": Margin(0.005, _GROUP_REASON),
    "log_loss": Margin(0.0005, "The rule of experiments 7 and 16 takes the simpler scaling within this difference."),
    "calibration_error": Margin(0.001, "A fifth of the limit of 0.5% in the rule of experiments 7 and 16."),
    "auroc": Margin(0.005, "No detector of experiments 9 and 21 was chosen by less."),
    "fpr95": Margin(0.02, "Two more of 100 out-of-distribution images pass. No alert would fire for that."),
}
"""Default margins by metric, as fractions where the metric is one; other metrics have none."""


def is_equivalent(found: Difference, margin: float) -> bool:
    """Returns whether the 90% interval of a difference lies within the margin."""
    low, high = found.interval_90
    return -margin < low and high < margin


def describe_equivalence(found: Difference, margin: float, scale: Scale) -> str:
    """Returns "equivalent within ±0.20 points (90% CI [...])", or "cannot tell: ..." with the reason."""
    limit = format_margin(margin, scale)
    interval = scale.interval(*found.interval_90)
    if not interval:
        return f"cannot tell: there is no interval to compare with the margin of {limit}"
    if is_equivalent(found, margin):
        return f"equivalent within {limit} (90% CI {interval})"
    return f"cannot tell: the 90% interval {interval} includes differences beyond the margin of {limit}"


def format_margin(margin: float, scale: Scale) -> str:
    """Returns a margin with its unit: "±0.20 points"."""
    return f"±{scale.value(margin)} {scale.unit}".strip()


def margin_table(metrics: Iterable[str] = MARGINS) -> str:
    """Returns the default margins as a table in Markdown."""
    rows = [(scale_of(metric), MARGINS[metric]) for metric in metrics]
    lines = [f"| {scale.heading} | {format_margin(each.value, scale)} | {each.reason} |" for scale, each in rows]
    return "\n".join(["| metric | margin | reason |", "| --- | --- | --- |", *lines])
