"""In what unit a metric is shown, which way is better, and which metrics follow from the answers to single examples."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.evaluation.metrics import Metric, accuracy, f1, macro_f1, of_class
from models.taxonomy import Taxonomy

_TOGETHER = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Scale:
    """How a metric's values are shown.

    Attributes:
        heading: The metric in words.
        unit: Of a difference between two values, as shown; empty for none.
        factor: What a value is multiplied by to be shown.
        digits: Behind the point.
        more_is_better: Whether a larger value is a better one.
    """

    heading: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 3
    more_is_better: bool = True

    def value(self, value: float) -> str:
        """Returns a value as it is shown; a dash for one that is not defined."""
        return "–" if value != value else _minus(f"{self._rounded(value):,.{self.digits}f}")

    def change(self, value: float) -> str:
        """Returns a difference with its sign; one that rounds to zero has none."""
        rounded = self._rounded(value)
        return self.value(value) if rounded == 0 or value != value else _minus(f"{rounded:+,.{self.digits}f}")

    def spread(self, mean: float, deviation: float) -> str:
        """Returns a mean with the standard deviation between seeds, which a single seed does not have."""
        shown = self.value(mean)
        return shown if deviation != deviation else f"{shown}{_TOGETHER}±{_TOGETHER}{self.value(deviation)}"

    def interval(self, low: float, high: float) -> str:
        """Returns the interval of a difference in brackets; nothing where there is none."""
        return "" if low != low else f"[{self.change(low)},{_TOGETHER}{self.change(high)}]"

    def _rounded(self, value: float) -> float:
        # Without the sum, what rounds to zero from below would have a minus sign.
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
    "smallest_edit": Scale("smallest edit that turns the answer", "pixels", 1.0, 1),
    "risk": _share("error among those answered", False),
    "calibration_error": _share("calibration error", False),
    "debiased_calibration_error": _share("calibration error, debiased", False),
    "honest_calibration_error": _share("calibration error of an honest one", False),
    "coverage_by_group": _share("coverage, a threshold a group"),
    "set_size": Scale("groups in a set", "", 1.0, 3, False),
    "set_size_by_group": Scale("groups in a set, a threshold a group", "", 1.0, 3, False),
    "image_accuracy": _share("group accuracy by the image"),
    "mended": _share("mended by the text"),
    "harmed": _share("harmed by the text", False),
    "aurc": Scale("area under risk and coverage", "", 1.0, 5, False),
    "log_loss": Scale("log loss", "nats", 1.0, 4, False),
    "train_seconds": Scale("seconds", "s", 1.0, 0, False),
    "images_per_second": Scale("images per second", "", 1.0, 0),
    "parameters": Scale("parameters", "", 1.0, 0, False),
    "multiply_adds": Scale("million multiply-adds", "", 1e-6, 2, False),
    "bytes": Scale("bytes", "", 1.0, 0, False),
    "latency_ms": Scale("latency, ms", "ms", 1.0, 2, False),
}
"""Shares are shown in percent, their differences in points."""

MAIN = ("group_accuracy", "macro_f1", "one_piece_f1", "garment_accuracy")
"""The columns of a study's table, where it has them. Seconds are in the CSV: other work on the machine is in them."""

OF_MEASURE = {
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
    "ladder": (*MAIN, "train_seconds"),
    "strangers": ("auroc", "fpr95"),
    "text": (
        *("group_accuracy", "one_piece_f1", "garment_accuracy", "log_loss"),
        *("mended", "harmed", "coverage_by_group", "single_by_group"),
    ),
}
"""The columns of the tables of measures that look at something else."""

OF_GROUPS = ("macro_f1", "one_piece_f1")
"""Metrics that are to be understood group by group."""


def scale_of(metric: str) -> Scale:
    """Returns how a metric is shown; one that is not known is shown as it is, and more of it is better."""
    return SCALES.get(metric, Scale(metric.replace("_", " ")))


def probability(p_value: float, name: str = "") -> str:
    """Returns a p-value as it is shown: "0.043" or "< 0.001", with a name "p = 0.043" or "p < 0.001"."""
    if p_value < 0.001:
        return f"{name} < 0.001".lstrip()
    return f"{name} = {p_value:.3f}" if name else f"{p_value:.3f}"


def metric_of(name: str, taxonomy: Taxonomy) -> Metric | None:
    """Returns a metric of confusion counts by its name in the CSV, or a group's name for that group's F1.

    Returns None for one that does not follow from the groups given to the examples.
    """
    if name in taxonomy.groups:
        return of_class(f1, taxonomy.groups.index(name))
    one_piece = "One piece" in taxonomy.groups and of_class(f1, taxonomy.groups.index("One piece"))
    return {"group_accuracy": accuracy, "macro_f1": macro_f1, "one_piece_f1": one_piece or None}.get(name)
