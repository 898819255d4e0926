"""Whether the test images come from the distribution of the training images: tests, power and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.exploration.data import Data
from analysis.exploration.image_features import ImageColumns
from analysis.exploration.two_sample_tests import (
    DISCREPANCY_ROWS,
    DRAWS,
    LEVEL,
    TESTS,
    Outcome,
    classifier_test,
    discrepancy_test,
    holm,
    kolmogorov_smirnov,
    measure_power,
    smallest_detected,
)
from analysis.pages import figure_style as style
from analysis.pages.section import Listing, Picture

Flags = npt.NDArray[np.bool_]

EVERYTHING = "all garments"
PERMUTATIONS = 199
MARGIN = 0.05
"""The largest difference of a feature's means, in standard deviations, that counts as equivalent.

Such a difference separates the two splits with an area under the ROC curve of 0.514.
"""


@dataclass(frozen=True)
class Shift:
    """Differences between the test images and the training images.

    Attributes:
        by_feature: Columns garments ("all garments" or one), feature, distance (Kolmogorov and Smirnov's), p, and
            adjusted (Holm, over all rows); the smallest p first.
        differences: Columns feature, difference, low, high: the test images' mean less the training images', in
            standard deviations, with its 95% interval.
        classifier: The area under the ROC curve of a classifier of the split.
        discrepancy: The squared maximum mean discrepancy of the principal components.
        power: As `two_sample_tests.measure_power` returns it.
    """

    by_feature: pd.DataFrame
    differences: pd.DataFrame
    classifier: Outcome
    discrepancy: Outcome
    power: pd.DataFrame

    @property
    def found(self) -> tuple[str, ...]:
        """The tests that find a difference between the splits at the level 0.05: none if there is no shift."""
        outcomes = {
            "single features": float(self.by_feature["adjusted"].min()),
            "classifier": self.classifier.p,
            "mean discrepancy": self.discrepancy.p,
        }
        return tuple(name for name, p in outcomes.items() if p <= LEVEL)

    @property
    def largest_bound(self) -> float:
        """The largest absolute bound of the 95% intervals of all features' differences.

        Below `MARGIN` all means are equivalent, by two one-sided tests of each feature at the level 0.025.
        """
        return float(self.differences[["low", "high"]].abs().to_numpy().max())


def measure(data: Data, features: pd.DataFrame) -> Shift:
    """Tests the test split against the training split, and measures the power of the tests by planted shifts."""
    columns = ImageColumns.fit(data.images)
    rows = columns.transform(data.images, features)
    train = len(data.train_rows)
    return Shift(
        by_feature=compare_features(features, data),
        differences=differences(features, data.test),
        classifier=classifier_test(rows, data.test, PERMUTATIONS, seed=0),
        discrepancy=discrepancy_test(columns.components(rows), data.test, DISCREPANCY_ROWS, PERMUTATIONS, seed=0),
        power=measure_power(data.images[:train], rows[:train], columns, min(len(data.test_rows), train // 2)),
    )


def compare_features(features: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Compares each feature's distribution in the two splits, over all images and within each garment."""
    parts = {EVERYTHING: np.ones(len(data), bool)}
    parts |= {name: data.garments == index for index, name in enumerate(data.taxonomy.garments)}
    rows = [
        (name, *line) for name, members in parts.items() for line in _compare(features[members], data.test[members])
    ]
    table = pd.DataFrame(rows, columns=["garments", "feature", "distance", "p"])
    table["adjusted"] = holm(table["p"].to_numpy())
    return table.sort_values("p", ignore_index=True, kind="stable")


def differences(features: pd.DataFrame, test: Flags) -> pd.DataFrame:
    """Returns each feature's mean on the test images less that on the training images, in standard deviations."""
    values = features.to_numpy()
    spread = values.std(axis=0)
    gap = (values[test].mean(axis=0) - values[~test].mean(axis=0)) / np.where(spread > 0, spread, 1)
    reach = 1.96 * np.sqrt(1 / test.sum() + 1 / (~test).sum())
    return pd.DataFrame({"feature": features.columns, "difference": gap, "low": gap - reach, "high": gap + reach})


def _compare(features: pd.DataFrame, test: Flags) -> Iterator[tuple[str, float, float]]:
    for name, column in features.items():
        values = column.to_numpy()
        yield (str(name), *kolmogorov_smirnov(np.sort(values[~test]), values[test]))


def shift_text(shift: Shift) -> str:
    """Returns the paragraph on the tests for a shift, as Markdown."""
    first, tests = shift.by_feature.iloc[0], len(shift.by_feature)
    verdict = f"{len(shift.found)} detect a shift ({', '.join(shift.found)})" if shift.found else "none detects a shift"
    return (
        f"**Training against test images.** Of three tests {verdict}. Of {tests} comparisons of one feature, over all "
        f"images and within each garment, the strongest is {first['feature']} of {first['garments']}, with p "
        f"{_p(first['p'])}, or {_p(first['adjusted'])} after Holm's correction. A classifier of the split "
        f"from features and principal components has an area under the ROC curve of {shift.classifier.statistic:.4f} "
        f"(p {_p(shift.classifier.p)}; 95% quantile of chance {shift.classifier.threshold:.4f}). "
        f"The kernel mean discrepancy has p {_p(shift.discrepancy.p)}. {_equivalence_text(shift)}"
    )


def _equivalence_text(shift: Shift) -> str:
    """Returns the sentence on the equivalence of the features' means."""
    verdict = "all are" if shift.largest_bound < MARGIN else "not all are"
    return (
        f"Are the means of the {len(shift.differences)} features equivalent? With a margin of {MARGIN:g} standard "
        f"deviations {verdict}: the 95% intervals of the differences reach {shift.largest_bound:.3f} at most."
    )


def power_text(shift: Shift) -> str:
    """Returns the paragraph on the shifts that the tests detect, as Markdown."""
    least = smallest_detected(shift.power)
    best = least.min(axis=1)
    detected = [f"{name} from {share:.0%} of the images on" for name, share in best.items() if not np.isnan(share)]
    missed = [str(name) for name, share in best.items() if np.isnan(share)]
    missing = f"; not even in all images: {', '.join(missed)}" if missed else ""
    # A shift that is never detected counts as worse than one detected when all images have it.
    weakest = least.fillna(2.0).mean().idxmax()
    return (
        f"Shifts that they detect: {'; '.join(detected) or 'none of those planted'}{missing}. (The shifts are planted "
        f"in a random part of the training images, in {DRAWS} draws, and each draw has to detect them.) The {weakest} "
        "is the weakest of the three tests. Smaller shifts, and shifts that no feature or component measures, are "
        "not ruled out."
    )


def outcome_table(shift: Shift) -> Listing:
    """Returns the table of the three tests."""
    first = shift.by_feature.iloc[0]
    table = pd.DataFrame(
        {
            "test": list(TESTS),
            "statistic": [
                "distance of distribution functions, largest",
                "area under the ROC curve",
                "squared discrepancy",
            ],
            "value": [
                float(shift.by_feature["distance"].max()),
                shift.classifier.statistic,
                shift.discrepancy.statistic,
            ],
            "p": [float(first["adjusted"]), shift.classifier.p, shift.discrepancy.p],
        }
    )
    return Listing("shift-tests", table, "Three tests for a difference between the splits.")


def power_table(shift: Shift) -> Listing:
    """Returns the table of the smallest share of changed images that each test detected."""
    table = smallest_detected(shift.power).map(lambda share: "never" if np.isnan(share) else f"{share:.0%}")
    caption = (
        "The smallest share of changed images that each test detected in every draw. The discrepancy compares "
        f"{DISCREPANCY_ROWS:,} images of each split, the others all."
    )
    return Listing("shift-power", table.reset_index().rename_axis(columns=None), caption)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def difference_figure(shift: Shift) -> Picture:
    """Returns each feature's difference of means between the splits with its interval."""
    table = shift.differences
    figure = style.figure("test minus train (SDs)", height=110 + 28 * len(table))
    figure.add_scatter(
        x=table["difference"].round(4), y=table["feature"], mode="markers", showlegend=False,
        marker={"size": 9, "color": style.TEST},
        error_x={"array": ((table["high"] - table["low"]) / 2).round(4), "color": style.TEST},
    )  # fmt: skip
    figure.add_vline(x=0, line_dash="dot", line_color=style.NEUTRAL)
    figure.add_vrect(x0=-MARGIN, x1=MARGIN, fillcolor=style.NEUTRAL, opacity=0.12, line_width=0)
    figure.update_yaxes(autorange="reversed")
    caption = (
        f"Mean of the test images minus mean of the training images, with 95% intervals that are not corrected for "
        f"multiple comparisons. Grey area: the margin of equivalence, {MARGIN:g} standard deviations."
    )
    return Picture("split-differences", figure, caption)
