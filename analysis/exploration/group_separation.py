"""How well single features, and all of them, separate groups: areas under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.exploration.data import Data
from analysis.pages import figures as style
from analysis.pages.section import Picture

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True)
class Separation:
    """What the features say about the groups, on the training images.

    Attributes:
        pair: The two groups looked at closely, the smaller first.
        of_pair: Columns feature, area, low, high: the probability that an image of the first group has the larger
            value (ties count half), with its 95% interval; best feature first.
        together: The cross-validated area of a quadratic discriminant on all features, for the same pair.
        of_groups: Each group against all others: a row a feature (the index), a column a group.
    """

    pair: tuple[int, int]
    of_pair: pd.DataFrame
    together: float
    of_groups: pd.DataFrame


def measure_separation(data: Data, features: pd.DataFrame, pair: tuple[int, int]) -> Separation:
    """Measures on the training images how well each feature tells the two groups, and each group from the rest."""
    table, groups = features.iloc[data.train_rows], data.groups[data.train_rows]
    members = np.isin(groups, pair)
    chosen, first = table[members], groups[members] == pair[0]
    return Separation(
        pair, areas_of_pair(chosen, first), discriminant_area(chosen, first), areas_of_groups(table, groups, data)
    )


def areas_of_pair(table: pd.DataFrame, first: Flags) -> pd.DataFrame:
    """Returns each feature's area with its interval, the farthest from a coin's 0.5 first.

    The interval is Hanley and McNeil's (1982, "The meaning and use of the area under a ROC curve", equation 1).
    """
    area = roc_areas(table.to_numpy(), first)
    reach = 1.96 * _area_standard_error(area, int(first.sum()), int((~first).sum()))
    low, high = np.maximum(area - reach, 0.0), np.minimum(area + reach, 1.0)
    made = pd.DataFrame({"feature": table.columns, "area": area, "low": low, "high": high})
    return made.sort_values("area", key=lambda column: -abs(column - 0.5), ignore_index=True, kind="stable")


def areas_of_groups(table: pd.DataFrame, groups: npt.NDArray[np.int64], data: Data) -> pd.DataFrame:
    """Returns the area of each feature (row) for each group against all others (column)."""
    values = table.to_numpy()
    columns = {name: roc_areas(values, groups == index) for index, name in enumerate(data.taxonomy.groups)}
    return pd.DataFrame(columns, index=table.columns)


def roc_areas(values: Values, first: Flags) -> Values:
    """Returns [F], for the columns of float [N, F]: the chance that a marked row's value is larger than another's.

    It is Mann and Whitney's U over the number of pairs; ties count half. NaN where no row, or every row, is marked.
    """
    from scipy.stats import rankdata

    marked, others = int(first.sum()), int((~first).sum())
    if not marked or not others:
        return np.full(values.shape[1], np.nan)
    ranks = rankdata(values, axis=0)[first].sum(axis=0)
    return (ranks - marked * (marked + 1) / 2) / (marked * others)


def discriminant_area(table: pd.DataFrame, first: Flags) -> float:
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
    return float(roc_areas(scores[:, None], first)[0])


def explained_variance(table: pd.DataFrame, classes: npt.NDArray[np.int64]) -> pd.Series[float]:
    """Returns the share of each feature's variance that lies between the classes: eta squared, in [0, 1]."""
    between = table.groupby(classes).transform("mean").var(ddof=0)
    total = table.var(ddof=0)
    return (between / total.where(total > 0)).fillna(0.0)


def _area_standard_error(area: Values, marked: int, others: int) -> Values:
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (marked - 1) * (one - area**2) + (others - 1) * (two - area**2)
    return np.sqrt(np.maximum(variance, 0.0) / max(1, marked * others))


def area_with_interval(confused: Values, safe: Values) -> tuple[float, float, float]:
    """Returns the probability that a confused image has more of a measure than a safe one, and its 95% interval.

    The area under the ROC curve, ties counting half, with the standard error of Hanley and McNeil, 1982.
    """
    from scipy.stats import rankdata

    n, m = len(confused), len(safe)
    if not n or not m:
        return float("nan"), float("nan"), float("nan")
    ranks = rankdata(np.concatenate([confused, safe]))[:n]
    area = (ranks.sum() - n * (n + 1) / 2) / (n * m)
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (two - area**2)) / (n * m)
    half = 1.96 * np.sqrt(max(variance, 0.0))
    return float(area), float(max(area - half, 0)), float(min(area + half, 1))


def pair_text(data: Data, separated: Separation) -> str:
    """Returns the paragraph on the pair, as Markdown."""
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    best, worst = separated.of_pair.iloc[0], separated.of_pair.iloc[-1]
    return (
        f"**{small} against {large}**, the pair that a linear model confuses most. The best single feature is "
        f"{best['feature']}: it orders a random {small} and a random {large} right {_ordered_right(best):.1%} "
        f"of the time (the area under the ROC curve; 95% interval {_area_interval(best)}), the {small} having the "
        f"{'larger' if best['area'] > 0.5 else 'smaller'} value. The worst, {worst['feature']}, does so "
        f"{_ordered_right(worst):.1%} of the time. A quadratic discriminant on all {len(separated.of_pair)} features "
        f"reaches {separated.together:.1%}."
    )


def _ordered_right(row: pd.Series[float]) -> float:
    return float(max(row["area"], 1 - row["area"]))


def _area_interval(row: pd.Series[float]) -> str:
    low, high = sorted((row["low"], row["high"])) if row["area"] > 0.5 else (1 - row["high"], 1 - row["low"])
    return f"{low:.1%} to {high:.1%}"


def separation_figure(data: Data, separated: Separation) -> Picture:
    """Returns the features by how often each orders an image of one group and one of the other right."""
    table = separated.of_pair
    right = np.maximum(table["area"], 1 - table["area"])
    reach = (table["high"] - table["low"]) / 2
    made = style.figure("ordered right (%)", height=110 + 28 * len(table))
    made.add_scatter(
        x=(100 * right).round(2), y=table["feature"], mode="markers", marker={"size": 9, "color": style.NEUTRAL},
        error_x={"array": (100 * reach).round(2), "color": style.NEUTRAL}, showlegend=False,
    )  # fmt: skip
    made.add_vline(x=50, line_dash="dot", line_color=style.NEUTRAL)
    made.update_yaxes(autorange="reversed")
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    caption = (
        f"How often one feature orders a random {small} and a random {large} right, with 95% intervals; a coin "
        "does so in 50%."
    )
    return Picture("one-feature", made, caption, documented=True)


def group_separation_figure(separated: Separation) -> Picture:
    """Returns the features (down) and groups (across), each cell how often the feature orders two images right."""
    table = separated.of_groups
    right = np.maximum(table.to_numpy(), 1 - table.to_numpy())
    made = style.figure(height=140 + 28 * len(table))
    made.add_heatmap(
        z=(100 * right).round(0).tolist(), x=list(table.columns), y=list(table.index), zmin=50, zmax=100,
        colorscale=style.SEQUENTIAL, showscale=False, texttemplate="%{z:.0f}%",
    )  # fmt: skip
    made.update_xaxes(showgrid=False)
    made.update_yaxes(autorange="reversed", showgrid=False)
    caption = (
        "Each group against all others: how often the feature orders two images right. A group with a dark cell is "
        "easy to tell by one figure."
    )
    return Picture("areas-by-group", made, caption)
