"""The metrics that experiments report: heading, unit, number format and direction of each."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.evaluation.metrics import Metric, accuracy, f1, macro_f1, of_class
from models.taxonomy import Taxonomy

_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Scale:
    """The format of a metric's values.

    Attributes:
        heading: The metric in words.
        unit: The unit of a difference between two values; empty for none.
        factor: The factor that a value is multiplied by before formatting.
        digits: Number of decimal places.
        more_is_better: Whether larger values are better.
    """

    heading: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 3
    more_is_better: bool = True

    def value(self, value: float) -> str:
        """Returns a formatted value; a dash for NaN."""
        return "–" if value != value else _minus(f"{self._rounded(value):,.{self.digits}f}")

    def change(self, value: float) -> str:
        """Returns a formatted difference with its sign; one that rounds to zero has none."""
        rounded = self._rounded(value)
        return self.value(value) if rounded == 0 or value != value else _minus(f"{rounded:+,.{self.digits}f}")

    def spread(self, mean: float, deviation: float) -> str:
        """Returns a mean ± the standard deviation between seeds, which is NaN for a single seed."""
        shown = self.value(mean)
        return shown if deviation != deviation else f"{shown}{_NO_BREAK}±{_NO_BREAK}{self.value(deviation)}"

    def interval(self, low: float, high: float) -> str:
        """Returns the interval of a difference in brackets; nothing for NaN."""
        return "" if low != low else f"[{self.change(low)},{_NO_BREAK}{self.change(high)}]"

    def _rounded(self, value: float) -> float:
        # The sum turns a negative zero into zero.
        return round(self.factor * value, self.digits) + 0.0


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _share(heading: str, more_is_better: bool = True) -> Scale:
    return Scale(heading, "points", 100.0, 2, more_is_better)


SCALES = {
    "group_accuracy": _share("group accuracy"),
    "macro_f1": _share("macro F1"),
    "one_piece_f1": _share("One piece F1"),
    "garment_accuracy": _share("garment accuracy"),
    "f1": _share("F1"),
    "recall": _share("recall"),
    "coverage": _share("coverage"),
    "auroc": _share("AUROC"),
    "fpr95": _share("false positives at 95% recall", False),
    "single": _share("sets of one group"),
    "single_by_group": _share("sets of one group, a threshold a group"),
    "true_neighbours": _share("nearest training images of the true group"),
    "no_true_neighbour": _share("without a near training image of the true group", False),
    "smallest_edit": Scale("smallest edit that changes the prediction", "pixels", 1.0, 1),
    "risk": _share("error among the predictions made", False),
    "calibration_error": _share("calibration error", False),
    "debiased_calibration_error": _share("calibration error, debiased", False),
    "reference_calibration_error": _share("calibration error of a perfectly calibrated model", False),
    "coverage_by_group": _share("coverage, a threshold a group"),
    "set_size": Scale("groups in a set", "", 1.0, 3, False),
    "set_size_by_group": Scale("groups in a set, a threshold a group", "", 1.0, 3, False),
    "image_accuracy": _share("group accuracy by the image"),
    "corrected": _share("corrected by the text"),
    "harmed": _share("harmed by the text", False),
    "aurc": Scale("area under risk and coverage", "", 1.0, 5, False),
    "log_loss": Scale("log loss", "nats", 1.0, 4, False),
    "train_seconds": Scale("training seconds", "s", 1.0, 0, False),
    "images_per_second": Scale("images per second", "", 1.0, 0),
    "parameters": Scale("parameters", "", 1.0, 0, False),
    "multiply_adds": Scale("million multiply-adds", "", 1e-6, 2, False),
    "bytes": Scale("bytes", "", 1.0, 0, False),
    "latency_ms": Scale("latency, ms", "ms", 1.0, 2, False),
}
"""Scales by metric. Shares are shown in percent, their differences in points."""

MAIN_COLUMNS = ("group_accuracy", "macro_f1", "one_piece_f1", "garment_accuracy")
"""Columns of an experiment's table. Seconds are only in the CSV, since other work on the machine affects them."""

COLUMNS_OF_MEASURE = {
    "calibration": (
        "log_loss",
        "calibration_error",
        "debiased_calibration_error",
        "aurc",
        "set_size",
        "group_accuracy",
    ),
    "deployment": (
        *("group_accuracy", "macro_f1", "one_piece_f1"),
        *("multiply_adds", "parameters", "bytes", "latency_ms", "train_seconds"),
    ),
    "ladder": (*MAIN_COLUMNS, "train_seconds"),
    "out_of_distribution": ("auroc", "fpr95"),
    "text": (
        *("group_accuracy", "one_piece_f1", "garment_accuracy", "log_loss"),
        *("corrected", "harmed", "coverage_by_group", "single_by_group"),
    ),
}
"""Columns of the tables of measures with other main metrics."""

GROUP_METRICS = ("macro_f1", "one_piece_f1")
"""Metrics whose differences are also reported group by group."""


def scale_of(metric: str) -> Scale:
    """Returns the scale of a metric; that of an unknown one has its name as heading, and more of it is better."""
    return SCALES.get(metric, Scale(metric.replace("_", " ")))


def format_p_value(p_value: float, name: str = "") -> str:
    """Returns a formatted p-value: "0.043" or "< 0.001", with a name "p = 0.043" or "p < 0.001"."""
    if p_value < 0.001:
        return f"{name} < 0.001".lstrip()
    return f"{name} = {p_value:.3f}" if name else f"{p_value:.3f}"


def confusion_metric(name: str, taxonomy: Taxonomy) -> Metric | None:
    """Returns the function of confusion counts for a metric, or for a group's name the function of its F1.

    Returns None for a metric that does not follow from the predicted groups.
    """
    if name in taxonomy.groups:
        return of_class(f1, taxonomy.groups.index(name))
    one_piece = "One piece" in taxonomy.groups and of_class(f1, taxonomy.groups.index("One piece"))
    return {"group_accuracy": accuracy, "macro_f1": macro_f1, "one_piece_f1": one_piece or None}.get(name)
