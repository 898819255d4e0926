"""How well one figure of an image tells groups apart: areas under the ROC curve, one feature at a time and together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from analysis.exploration.data import Data

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True)
class Separation:
    """What the features say about the groups, on the training images.

    Attributes:
        pair: The two groups looked at closely, the smaller first.
        of_pair: Columns feature, area, low, high: the chance that an image of the first group has the larger value
            (ties count half), with its 95% interval; best feature first.
        together: The cross-validated area of a quadratic discriminant on all features, for the same pair.
        of_groups: Each group against all others: a row a feature (the index), a column a group.
    """

    pair: tuple[int, int]
    of_pair: pd.DataFrame
    together: float
    of_groups: pd.DataFrame


def measure(data: Data, features: pd.DataFrame, pair: tuple[int, int]) -> Separation:
    """Measures on the training images how well each feature tells the two groups, and each group from the rest."""
    table, groups = features.iloc[data.train_rows], data.groups[data.train_rows]
    members = np.isin(groups, pair)
    chosen, first = table[members], groups[members] == pair[0]
    return Separation(pair, of_pair(chosen, first), together(chosen, first), of_groups(table, groups, data))


def of_pair(table: pd.DataFrame, first: Flags) -> pd.DataFrame:
    """Returns each feature's area with its interval, the farthest from a coin's 0.5 first.

    The interval is Hanley and McNeil's (1982, "The meaning and use of the area under a ROC curve", equation 1).
    """
    import pandas as pd

    area = areas(table.to_numpy(), first)
    reach = 1.96 * _standard_error(area, int(first.sum()), int((~first).sum()))
    low, high = np.maximum(area - reach, 0.0), np.minimum(area + reach, 1.0)
    made = pd.DataFrame({"feature": table.columns, "area": area, "low": low, "high": high})
    return made.sort_values("area", key=lambda column: -abs(column - 0.5), ignore_index=True, kind="stable")


def of_groups(table: pd.DataFrame, groups: npt.NDArray[np.int64], data: Data) -> pd.DataFrame:
    """Returns the area of each feature (row) for each group against all others (column)."""
    import pandas as pd

    values = table.to_numpy()
    columns = {name: areas(values, groups == index) for index, name in enumerate(data.taxonomy.groups)}
    return pd.DataFrame(columns, index=table.columns)


def areas(values: Values, first: Flags) -> Values:
    """Returns [F], for the columns of float [N, F]: the chance that a marked row's value is larger than another's.

    It is Mann and Whitney's U over the number of pairs; ties count half. NaN where no row, or every row, is marked.
    """
    from scipy.stats import rankdata

    marked, others = int(first.sum()), int((~first).sum())
    if not marked or not others:
        return np.full(values.shape[1], np.nan)
    ranks = rankdata(values, axis=0)[first].sum(axis=0)
    return (ranks - marked * (marked + 1) / 2) / (marked * others)


def together(table: pd.DataFrame, first: Flags) -> float:
    """Returns the area of a discriminant on all features, their squares and products, cross-validated.

    The features are clipped at five standard deviations: a ratio such as the taper has rare, huge values.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.preprocessing import PolynomialFeatures

    if min(first.sum(), (~first).sum()) < FOLDS:
        return float("nan")
    standard = (table - table.mean()) / table.std(ddof=0).replace(0, 1)
    products = PolynomialFeatures(2, include_bias=False).fit_transform(standard.clip(-5, 5).to_numpy())
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-3)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(model, products, first, cv=folds, method="decision_function")
    return float(areas(scores[:, None], first)[0])


def explained(table: pd.DataFrame, classes: npt.NDArray[np.int64]) -> pd.Series[float]:
    """Returns the share of each feature's variance that lies between the classes: eta squared, in [0, 1]."""
    between = table.groupby(classes).transform("mean").var(ddof=0)
    total = table.var(ddof=0)
    return (between / total.where(total > 0)).fillna(0.0)


def _standard_error(area: Values, marked: int, others: int) -> Values:
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (marked - 1) * (one - area**2) + (others - 1) * (two - area**2)
    return np.sqrt(np.maximum(variance, 0.0) / max(1, marked * others))
