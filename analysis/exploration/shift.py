"""Whether the test images come from the distribution of the training images, and what shift would have been seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.image_columns import ImageColumns
from analysis.exploration.planted_shift import DISCREPANCY_ROWS, LEVEL, measure_power
from analysis.exploration.two_sample import Outcome, classifier_test, discrepancy_test, holm, kolmogorov_smirnov

if TYPE_CHECKING:
    import pandas as pd

    from analysis.exploration.data import Data

Flags = npt.NDArray[np.bool_]

EVERYTHING = "all garments"
PERMUTATIONS = 199


@dataclass(frozen=True)
class Shift:
    """What tells the test images from the training images.

    Attributes:
        by_feature: Columns garments ("all garments" or one), feature, distance (Kolmogorov and Smirnov's), p, and
            adjusted (Holm, over all rows); the smallest p first.
        differences: Columns feature, difference, low, high: the test images' mean less the training images', in
            standard deviations, with its 95% interval.
        classifier: The area under the ROC curve of a classifier that guesses the split.
        discrepancy: The squared maximum mean discrepancy of the principal components.
        power: As `planted_shift.measure_power` returns it.
    """

    by_feature: pd.DataFrame
    differences: pd.DataFrame
    classifier: Outcome
    discrepancy: Outcome
    power: pd.DataFrame

    @property
    def found(self) -> tuple[str, ...]:
        """The tests that tell the splits apart at the level 0.05: none if there is no shift."""
        outcomes = {
            "single features": float(self.by_feature["adjusted"].min()),
            "classifier": self.classifier.p,
            "mean discrepancy": self.discrepancy.p,
        }
        return tuple(name for name, p in outcomes.items() if p <= LEVEL)


def measure(data: Data, features: pd.DataFrame) -> Shift:
    """Tests the test split against the training split, and the tests against shifts planted in the training split."""
    columns = ImageColumns.fit(data.images)
    rows = columns.place(data.images, features)
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
    import pandas as pd

    parts = {EVERYTHING: np.ones(len(data), bool)}
    parts |= {name: data.garments == index for index, name in enumerate(data.taxonomy.garments)}
    rows = [
        (name, *line) for name, members in parts.items() for line in _compare(features[members], data.test[members])
    ]
    made = pd.DataFrame(rows, columns=["garments", "feature", "distance", "p"])
    made["adjusted"] = holm(made["p"].to_numpy())
    return made.sort_values("p", ignore_index=True, kind="stable")


def differences(features: pd.DataFrame, test: Flags) -> pd.DataFrame:
    """Returns each feature's mean on the test images less that on the training images, in standard deviations."""
    import pandas as pd

    values = features.to_numpy()
    spread = values.std(axis=0)
    gap = (values[test].mean(axis=0) - values[~test].mean(axis=0)) / np.where(spread > 0, spread, 1)
    reach = 1.96 * np.sqrt(1 / test.sum() + 1 / (~test).sum())
    return pd.DataFrame({"feature": features.columns, "difference": gap, "low": gap - reach, "high": gap + reach})


def _compare(features: pd.DataFrame, test: Flags) -> Iterator[tuple[str, float, float]]:
    for name, column in features.items():
        values = column.to_numpy()
        yield (str(name), *kolmogorov_smirnov(np.sort(values[~test]), values[test]))
