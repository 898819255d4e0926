"""Two-sample tests (single features, a classifier, kernel means), and the smallest shift that each detects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.exploration.image_features import ImageColumns

if TYPE_CHECKING:
    import pandas as pd

Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]

FOLDS = 5
RIDGE = 10.0
OUTLIER = 5.0
MEDIAN_STEP = 7
"""The median of every seventh row of the distances is the same, in a seventh of the time."""
Test = Callable[[Rows, Flags], float]
LEVEL = 0.05
SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
DRAWS = 3
DISCREPANCY_ROWS = 1000
PERMUTATIONS = 19
"""The least number with which p can reach 0.05: a planted shift is detected if it exceeds all permutations."""


@dataclass(frozen=True)
class Outcome:
    """A test by permutation.

    Attributes:
        statistic: Of the two samples.
        chance: float64 [permutations], the statistics of shuffled samples.
    """

    statistic: float
    chance: Values

    @property
    def p(self) -> float:
        """The p-value: the share of permutations with at least this statistic, the samples themselves included."""
        return float(1 + (self.chance >= self.statistic).sum()) / (1 + len(self.chance))

    @property
    def threshold(self) -> float:
        """The 95% quantile of the statistic under permutation."""
        return float(np.quantile(self.chance, 0.95))


def kolmogorov_smirnov(ordered: Values, sample: Values) -> tuple[float, float]:
    """Returns the largest distance of two distribution functions, and its asymptotic p-value.

    The distance equals that of `scipy.stats.ks_2samp`, but the larger sample is sorted once for many comparisons. The
    p-value is that of Kolmogorov's limit; ties make it conservative.

    Args:
        ordered: float64 [N], ascending.
        sample: float64 [M].
    """
    from scipy.special import kolmogorov

    if not len(ordered) or not len(sample):
        return 0.0, 1.0
    values, counts = np.unique(sample, return_counts=True)
    above = counts.cumsum() / len(sample)
    # The sample's distribution function is flat between its values, so the supremum is on one side of a value.
    upper = np.searchsorted(ordered, values, side="right") / len(ordered) - above
    lower = np.searchsorted(ordered, values, side="left") / len(ordered) - (above - counts / len(sample))
    distance = float(np.maximum(np.abs(upper), np.abs(lower)).max())
    effective = len(ordered) * len(sample) / (len(ordered) + len(sample))
    return distance, float(kolmogorov(np.sqrt(effective) * distance))


def holm(p: npt.ArrayLike) -> Values:
    """Returns p-values adjusted for multiple comparisons by Holm's method, float64 [comparisons], in the given order.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the smallest is multiplied by the number of
    tests, the next by one less, and none is smaller than the one before it. Under any dependence between the tests, the
    probability of any false positive among those below alpha is at most alpha.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(adjusted, 1.0)


def classifier_test(values: Rows, second: Flags, permutations: int, seed: int) -> Outcome:
    """Tests whether a classifier can predict the sample of a row; without a shift its area under the ROC curve is 0.5.

    Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests" (https://arxiv.org/abs/1610.06545). The
    classifier is a linear discriminant (ridge regression) on the standardised columns and their squares: it detects
    shifts of means and of spreads, and is fitted to all permutations at once. Scores are cross-validated.

    Args:
        values: float32 [N, columns].
        second: bool [N], the rows of the second sample.
        permutations: The number of shuffled memberships.
        seed: Of the shuffles and the folds.
    """
    rng = np.random.default_rng(seed)
    targets = np.column_stack([second, *(rng.permutation(second) for _ in range(permutations))])
    folds = np.array_split(rng.permutation(len(values)), FOLDS)
    scores = _cross_fitted(_with_squares(values), targets.astype(np.float32), folds)
    statistics = _column_areas(scores, targets)
    return Outcome(float(statistics[0]), statistics[1:])


def discrepancy_test(values: Rows, second: Flags, count: int, permutations: int, seed: int) -> Outcome:
    """Compares the samples' mean embeddings under a Gaussian kernel as wide as the median distance.

    Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, lemma 6: the unbiased squared maximum mean discrepancy.

    Args:
        values: float32 [N, columns].
        second: bool [N], the rows of the second sample.
        count: The most rows of each sample to compare; the kernel has (2 count)^2 cells.
        permutations: The number of shuffled memberships.
        seed: Of the subsamples and the shuffles.
    """
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(members))[:count] for members in (second, ~second)]
    kernel = _gaussian_kernel(values[np.concatenate(chosen)])
    member = np.arange(len(kernel)) < len(chosen[0])
    memberships = np.column_stack([member, *(rng.permutation(member) for _ in range(permutations))])
    statistics = _discrepancies(kernel, memberships.astype(np.float32))
    return Outcome(float(statistics[0]), statistics[1:])


def _with_squares(values: Rows) -> Rows:
    spread = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    standard = np.clip(standard, -OUTLIER, OUTLIER)
    return np.concatenate([standard, standard**2 - 1], axis=1).astype(np.float32)


def _cross_fitted(design: Rows, targets: Rows, folds: Sequence[Indices]) -> Rows:
    """Returns each row's scores, [N, targets], by ridge regressions on the other folds.

    The normal equations of the folds add up, so the data are multiplied once instead of once for each fold.
    """
    centred = targets - targets.mean(axis=0)
    squares = [design[fold].T @ design[fold] for fold in folds]
    products = [design[fold].T @ centred[fold] for fold in folds]
    penalty = RIDGE * np.eye(design.shape[1], dtype=np.float32)
    scores = np.empty(targets.shape, np.float32)
    for fold, square, product in zip(folds, squares, products, strict=True):
        weights = np.linalg.solve(sum(squares) - square + penalty, sum(products) - product)
        scores[fold] = design[fold] @ weights
    return scores


def _column_areas(scores: Rows, members: Flags) -> Values:
    """Returns the area under the ROC curve of each column's scores for its members."""
    ordered = np.take_along_axis(members, scores.argsort(axis=0), axis=0)
    rank_sums = np.arange(1, len(scores) + 1, dtype=np.float64) @ ordered
    first = members.sum(axis=0)
    return (rank_sums - first * (first + 1) / 2) / (first * (len(scores) - first))


def _gaussian_kernel(values: Rows) -> Rows:
    from sklearn.metrics.pairwise import euclidean_distances

    squares = euclidean_distances(values, squared=True)
    width = float(np.median(squares[::MEDIAN_STEP])) or 1.0
    kernel = np.exp(squares / np.float32(-2 * width)).astype(np.float32)
    np.fill_diagonal(kernel, 0)
    return kernel


def _discrepancies(kernel: Rows, members: Rows) -> Values:
    """Returns the unbiased squared discrepancy for each column of memberships; the kernel's diagonal is zero."""
    first = members.sum(axis=0, dtype=np.float64)
    other = len(members) - first
    products = kernel @ members
    inside = np.einsum("ij,ij->j", members, products, dtype=np.float64)
    from_first = products.sum(axis=0, dtype=np.float64)
    outside = kernel.sum(dtype=np.float64) - 2 * from_first + inside
    return (
        inside / (first * (first - 1)) + outside / (other * (other - 1)) - 2 * (from_first - inside) / (first * other)
    )


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


PLANTED_SHIFTS: dict[str, Callable[[Images], Images]] = {
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


def measure_power(images: Images, rows: Rows, columns: ImageColumns, second_count: int) -> pd.DataFrame:
    """Measures the smallest share of changed images that each test detects at the level 0.05, for each planted shift.

    It shows which shift a test without a finding rules out.

    Args:
        images: uint8 [N, 28, 28], of one distribution.
        rows: float32 [N, columns], the same images as `columns.transform` returns them.
        columns: Converts the changed images.
        second_count: The number of images in the second sample of each draw.

    Returns:
        Columns shift, test, draw, and share: the smallest of `SHARES` that is detected; NaN if none is.
    """
    import pandas as pd

    found = [line for draw in range(DRAWS) for line in _draw(images, rows, columns, second_count, draw)]
    return pd.DataFrame(found, columns=["shift", "test", "draw", "share"])


def smallest_detected(power: pd.DataFrame) -> pd.DataFrame:
    """Returns the smallest share detected in every draw, by shift and test; NaN if a draw detected none."""
    table = power.pivot_table(
        index="shift", columns="test", values="share", aggfunc=lambda draws: draws.max(skipna=False), dropna=False
    )
    return table.reindex(index=list(PLANTED_SHIFTS), columns=list(TESTS))


def _draw(
    images: Images, rows: Rows, columns: ImageColumns, second_count: int, draw: int
) -> Iterator[tuple[str, str, int, float]]:
    chosen = np.random.default_rng(draw).permutation(len(images))[:second_count]
    second = np.isin(np.arange(len(images)), chosen)
    for shift, change in PLANTED_SHIFTS.items():
        changed = columns.transform(change(images[chosen]))
        for name, test in TESTS.items():
            detected = (share for share in SHARES if test(_mix(rows, chosen, changed, share), second) <= LEVEL)
            yield shift, name, draw, next(detected, float("nan"))


def _mix(rows: Rows, chosen: Indices, changed: Rows, share: float) -> Rows:
    """Returns the rows with a share of the chosen ones changed."""
    count = max(1, round(share * len(chosen)))
    mixed = rows.copy()
    mixed[chosen[:count]] = changed[:count]
    return mixed
