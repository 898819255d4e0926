"""Separation of groups by single features and by all of them: areas under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.exploration.data import Data
from analysis.pages import figure_style as style
from analysis.pages.section import Picture

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

FOLDS = 5


@dataclass(frozen=True)
class Separation:
    """How well the features separate the groups, on the training images.

    Attributes:
        pair: The two groups that are compared closely, the smaller first.
        of_pair: Columns feature, area, low, high: the probability that an image of the first group has the larger
            value (ties count half), with its 95% interval; best feature first.
        together: The cross-validated area of a quadratic discriminant on all features, for the same pair.
        of_groups: The areas of each group against all others: a row for each feature (the index), a column for each
            group.
    """

    pair: tuple[int, int]
    of_pair: pd.DataFrame
    together: float
    of_groups: pd.DataFrame


def measure_separation(data: Data, features: pd.DataFrame, pair: tuple[int, int]) -> Separation:
    """Measures on the training images how well each feature separates the two groups, and each group from the rest."""
    table, groups = features.iloc[data.train_rows], data.groups[data.train_rows]
    members = np.isin(groups, pair)
    chosen, first = table[members], groups[members] == pair[0]
    return Separation(
        pair, areas_of_pair(chosen, first), discriminant_area(chosen, first), areas_of_groups(table, groups, data)
    )


def areas_of_pair(table: pd.DataFrame, first: Flags) -> pd.DataFrame:
    """Returns each feature's area with its 95% interval, the farthest from 0.5 first."""
    area = roc_areas(table.to_numpy(), first)
    low, high = roc_intervals(area, int(first.sum()), int((~first).sum()))
    areas = pd.DataFrame({"feature": table.columns, "area": area, "low": low, "high": high})
    return areas.sort_values("area", key=lambda column: -abs(column - 0.5), ignore_index=True, kind="stable")


def areas_of_groups(table: pd.DataFrame, groups: npt.NDArray[np.int64], data: Data) -> pd.DataFrame:
    """Returns the area of each feature (row) for each group against all others (column)."""
    values = table.to_numpy()
    columns = {name: roc_areas(values, groups == index) for index, name in enumerate(data.taxonomy.groups)}
    return pd.DataFrame(columns, index=table.columns)


def roc_areas(values: Values, first: Flags) -> Values:
    """Returns the probability that a marked row's value is larger than another's, [F], for the columns of float [N, F].

    It is Mann and Whitney's U over the number of pairs; ties count half. NaN if no row, or every row, is marked.
    """
    from scipy.stats import rankdata

    marked, others = int(first.sum()), int((~first).sum())
    if not marked or not others:
        return np.full(values.shape[1], np.nan)
    ranks = rankdata(values, axis=0)[first].sum(axis=0)
    return (ranks - marked * (marked + 1) / 2) / (marked * others)


def discriminant_area(table: pd.DataFrame, first: Flags) -> float:
    """Returns the area of a discriminant on all features, their squares and products, cross-validated.

    The features are clipped at five standard deviations, because a ratio such as the taper has rare, huge values.
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


def roc_intervals(area: Values, marked: int, others: int) -> tuple[Values, Values]:
    """Returns the bounds of the 95% intervals of areas under the ROC curve.

    Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    equation 1.
    """
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (marked - 1) * (one - area**2) + (others - 1) * (two - area**2)
    half = 1.96 * np.sqrt(np.maximum(variance, 0.0) / max(1, marked * others))
    return np.maximum(area - half, 0.0), np.minimum(area + half, 1.0)


def area_with_interval(confused: Values, correct: Values) -> tuple[float, float, float]:
    """Returns the probability that a confused image has a larger value than a correct one, with its 95% interval."""
    first = np.arange(len(confused) + len(correct)) < len(confused)
    area = roc_areas(np.concatenate([confused, correct])[:, None], first)
    low, high = roc_intervals(area, len(confused), len(correct))
    return float(area[0]), float(low[0]), float(high[0])


def pair_text(data: Data, separated: Separation) -> str:
    """Returns the paragraph on the pair, as Markdown."""
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    best, worst = separated.of_pair.iloc[0], separated.of_pair.iloc[-1]
    return (
        f"**{small} against {large}**, the pair that a linear model confuses most. The best single feature is "
        f"{best['feature']}, with an area under the ROC curve of {_folded_area(best):.1%} (95% interval "
        f"{_area_interval(best)}); the values of {small} are {'larger' if best['area'] > 0.5 else 'smaller'}. The "
        f"worst, {worst['feature']}, has {_folded_area(worst):.1%}. A quadratic discriminant on all "
        f"{len(separated.of_pair)} features reaches {separated.together:.1%}."
    )


def _folded_area(row: pd.Series[float]) -> float:
    return float(max(row["area"], 1 - row["area"]))


def _area_interval(row: pd.Series[float]) -> str:
    low, high = sorted((row["low"], row["high"])) if row["area"] > 0.5 else (1 - row["high"], 1 - row["low"])
    return f"{low:.1%} to {high:.1%}"


def separation_figure(data: Data, separated: Separation) -> Picture:
    """Returns the area under the ROC curve of each feature for the pair, with its interval."""
    table = separated.of_pair
    right = np.maximum(table["area"], 1 - table["area"])
    reach = (table["high"] - table["low"]) / 2
    figure = style.figure("area under the ROC curve (%)", height=110 + 28 * len(table))
    figure.add_scatter(
        x=(100 * right).round(2), y=table["feature"], mode="markers", marker={"size": 9, "color": style.NEUTRAL},
        error_x={"array": (100 * reach).round(2), "color": style.NEUTRAL}, showlegend=False,
    )  # fmt: skip
    figure.add_vline(x=50, line_dash="dot", line_color=style.NEUTRAL)
    figure.update_yaxes(autorange="reversed")
    small, large = (data.taxonomy.groups[group] for group in separated.pair)
    caption = (
        f"Area under the ROC curve of single features, {small} against {large}, with 95% intervals; 50% is chance."
    )
    return Picture("one-feature", figure, caption)


def group_separation_figure(separated: Separation) -> Picture:
    """Returns the areas of all features (down) and groups (across)."""
    table = separated.of_groups
    right = np.maximum(table.to_numpy(), 1 - table.to_numpy())
    figure = style.figure(height=140 + 28 * len(table))
    figure.add_heatmap(
        z=(100 * right).round(0).tolist(), x=list(table.columns), y=list(table.index), zmin=50, zmax=100,
        colorscale=style.SEQUENTIAL, showscale=False, texttemplate="%{z:.0f}%",
    )  # fmt: skip
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    caption = (
        "Area under the ROC curve of each feature, each group against all others. One feature suffices to separate a "
        "group with a dark cell."
    )
    return Picture("areas-by-group", figure, caption)
