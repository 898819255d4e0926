"""Which shift a test would have seen: shifts of known size are planted among images that have none.

That a test finds nothing says little before it is known what it would have found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.image_columns import ImageColumns
from analysis.exploration.two_sample import classifier_test, discrepancy_test, holm, kolmogorov_smirnov

if TYPE_CHECKING:
    import pandas as pd

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Test = Callable[[Rows, Flags], float]

LEVEL = 0.05
SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
DRAWS = 3
DISCREPANCY_ROWS = 1000
PERMUTATIONS = 19
"""The least number with which p can reach 0.05: a planted shift is seen if it beats them all."""


def move(images: Images) -> Images:
    """Returns the images one pixel further right."""
    moved = np.roll(images, 1, axis=2)
    moved[:, :, 0] = 0
    return moved


def brighten(images: Images) -> Images:
    """Returns the images a tenth brighter."""
    return np.minimum(np.rint(images * np.float32(1.1)), 255).astype(np.uint8)


def blur(images: Images) -> Images:
    """Returns the images averaged over 3 x 3 pixels."""
    from scipy.ndimage import uniform_filter

    return np.rint(uniform_filter(images.astype(np.float32), size=(1, 3, 3), mode="constant")).astype(np.uint8)


PLANTS: dict[str, Callable[[Images], Images]] = {
    "moved one pixel right": move,
    "a tenth brighter": brighten,
    "blurred over 3 × 3 pixels": blur,
}


def by_features(rows: Rows, second: Flags) -> float:
    """Returns the smallest p-value of Kolmogorov and Smirnov's test over the readable features, corrected."""
    features = ImageColumns.features(rows)
    one, two = np.sort(features[~second], axis=0), features[second]
    return float(holm(np.array([kolmogorov_smirnov(o, t)[1] for o, t in zip(one.T, two.T, strict=True)])).min())


def by_classifier(rows: Rows, second: Flags) -> float:
    """Returns the p-value of the classifier."""
    return classifier_test(rows, second, PERMUTATIONS, seed=0).p


def by_discrepancy(rows: Rows, second: Flags) -> float:
    """Returns the p-value of the mean discrepancy of the principal components."""
    return discrepancy_test(ImageColumns.components(rows), second, DISCREPANCY_ROWS, PERMUTATIONS, seed=0).p


TESTS: dict[str, Test] = {
    "single features": by_features,
    "classifier": by_classifier,
    "mean discrepancy": by_discrepancy,
}


def measure_power(images: Images, rows: Rows, columns: ImageColumns, aside: int) -> pd.DataFrame:
    """Measures the smallest share of changed images that each test sees at the level 0.05, for each planted shift.

    Args:
        images: uint8 [N, 28, 28], of one distribution.
        rows: float32 [N, columns], the same as `columns.place` has them.
        columns: Places the changed images.
        aside: How many images each draw sets aside as the second sample.

    Returns:
        Columns plant, test, draw, and share: the smallest of `SHARES` that is seen; NaN if not even all are.
    """
    import pandas as pd

    found = [line for draw in range(DRAWS) for line in _draw(images, rows, columns, aside, draw)]
    return pd.DataFrame(found, columns=["plant", "test", "draw", "share"])


def least_seen(power: pd.DataFrame) -> pd.DataFrame:
    """Returns the smallest share seen in every draw, a row a plant, a column a test; NaN if a draw saw none."""
    table = power.pivot_table(
        index="plant", columns="test", values="share", aggfunc=lambda draws: draws.max(skipna=False), dropna=False
    )
    return table.reindex(index=list(PLANTS), columns=list(TESTS))


def _draw(
    images: Images, rows: Rows, columns: ImageColumns, aside: int, draw: int
) -> Iterator[tuple[str, str, int, float]]:
    chosen = np.random.default_rng(draw).permutation(len(images))[:aside]
    second = np.isin(np.arange(len(images)), chosen)
    for plant, change in PLANTS.items():
        changed = columns.place(change(images[chosen]))
        for name, test in TESTS.items():
            seen = (share for share in SHARES if test(_mix(rows, chosen, changed, share), second) <= LEVEL)
            yield plant, name, draw, next(seen, float("nan"))


def _mix(rows: Rows, chosen: Indices, changed: Rows, share: float) -> Rows:
    """Returns the rows with a share of the chosen ones changed."""
    some = max(1, round(share * len(chosen)))
    mixed = rows.copy()
    mixed[chosen[:some]] = changed[:some]
    return mixed
