"""The section on the features' distributions, by garment, group and split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.exploration.classes import hardest_pair
from analysis.exploration.data import Data
from analysis.exploration.distribution_shift import (
    Shift,
    difference_figure,
    outcome_table,
    power_table,
    power_text,
    shift_text,
)
from analysis.exploration.group_separation import (
    explained_variance,
    group_separation_figure,
    measure_separation,
    pair_text,
    separation_figure,
)
from analysis.exploration.image_features import FEATURES, Feature
from analysis.pages import figure_style as style
from analysis.pages.section import Picture, Section

Values = npt.NDArray[np.float64]

SHOWN = 4
COLUMNS = 2
CURVE_BINS = 24
BOX_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_BOXES = (
    "Each feature by garment, all images: boxes contain the middle half, whiskers 90%. The colour is that of the group."
)
_DENSITIES = (
    "The features that separate this pair best, by group (training images). Where the curves overlap, the feature "
    "cannot decide. (Height and width are whole pixels, so that the aspect comes in steps.)"
)
_SPLITS = "Each feature in both splits: the training images as an area, the test images as a line."


def section(data: Data, features: pd.DataFrame, shift: Shift) -> Section:
    """Returns the section "Distributions and shift"."""
    separated = measure_separation(data, features, hardest_pair(data))
    return Section(
        "distributions",
        "Distributions and shift",
        "\n\n".join([_size_text(data, features), pair_text(data, separated), shift_text(shift), power_text(shift)]),
        "So we slice the evaluation by five of these features: brightness, foreground coverage, symmetry, aspect and "
        "taper. We shift training images by one pixel at most, because garments reach the border. The test split is "
        "used for the evaluation alone; validation is cut from the training split. Before the training, the "
        "ExampleValidator compares the garments and the brightness of every split with those of the training split, "
        "because photographs from other sources may differ more than these two splits do.",
        [
            Picture("feature-by-garment", boxes(data, features), _BOXES),
            separation_figure(data, separated),
            Picture(
                "feature-by-group", densities(data, features, list(separated.of_pair["feature"][:SHOWN])), _DENSITIES
            ),
            group_separation_figure(separated),
            difference_figure(shift),
            Picture("feature-by-split", split_histograms(data, features), _SPLITS),
            outcome_table(shift),
            power_table(shift),
        ],
    )


def _size_text(data: Data, features: pd.DataFrame) -> str:
    longest = features[["height", "width"]].max(axis=1)
    spans = float((longest >= min(data.images.shape[1:]) - 1).mean())
    explained = explained_variance(features, data.garments)
    best = str(explained.idxmax())
    medians = features[best].groupby(data.garments).median().rename(dict(enumerate(data.taxonomy.garments)))
    return (
        f"**Size and brightness.** In {spans:.1%} of the images the garment spans the picture in one direction, up to "
        f"one pixel; {float((features['height'] > features['width']).mean()):.0%} are taller than wide. So "
        f"the size of a garment carries little information. Of these features {best} differs most between "
        f"garments, which explain {explained.max():.0%} of its variance (median {medians.max():.2f} for "
        f"{medians.idxmax()}, {medians.min():.2f} for {medians.idxmin()}); {explained.idxmin()} differs least "
        f"({explained.min():.0%})."
    )


def boxes(data: Data, features: pd.DataFrame) -> go.Figure:
    """Returns a panel for each feature with a box for each garment, from five quantiles instead of all images."""
    figure = _panels(row_height=60 + 17 * len(data.taxonomy.garments), shared_y=True)
    for index, feature in enumerate(FEATURES):
        quantiles = features[feature.name].groupby(data.garments).quantile(np.array(BOX_QUANTILES)).unstack()
        for group, colour in enumerate(style.group_colours(data.taxonomy)):
            rows = quantiles[quantiles.index.isin(data.taxonomy.members(group))]
            low, first, median, third, high = (rows[q].round(3).tolist() for q in BOX_QUANTILES)
            figure.add_box(
                y=[data.taxonomy.garments[garment] for garment in rows.index], orientation="h", marker_color=colour,
                lowerfence=low, q1=first, median=median, q3=third, upperfence=high,
                line_width=1, name=data.taxonomy.groups[group], showlegend=False, **_cell(index),
            )  # fmt: skip
    figure.update_yaxes(categoryorder="array", categoryarray=data.taxonomy.garments[::-1])
    return figure


def split_histograms(data: Data, features: pd.DataFrame) -> go.Figure:
    """Returns a panel for each feature: the training split as an area, the test split as a line."""
    figure = _panels(row_height=150, shared_y=False)
    for index, feature in enumerate(FEATURES):
        edges = _bin_edges(features[feature.name].to_numpy())
        for name, rows, colour in (("train", ~data.test, style.TRAIN), ("test", data.test, style.TEST)):
            middle, share = _histogram(features[feature.name].to_numpy()[rows], edges)
            figure.add_scatter(
                x=middle, y=share, name=name, legendgroup=name, showlegend=index == 0, mode="lines",
                line={"color": colour, "width": 0 if name == "train" else 2},
                fill="tozeroy" if name == "train" else None, **_cell(index),
            )  # fmt: skip
    figure.update_yaxes(showticklabels=False, rangemode="tozero")
    figure.update_yaxes(title_text="share of images", col=1)
    return figure


def densities(data: Data, features: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Returns a panel for each named feature: its distribution in each group, over the training images."""
    chosen = [feature for feature in FEATURES if feature.name in names]
    figure = _panels(row_height=220, shared_y=False, features=chosen)
    for index, feature in enumerate(chosen):
        values, groups = features[feature.name].to_numpy()[data.train_rows], data.groups[data.train_rows]
        edges = _bin_edges(values)
        for group, colour in enumerate(style.group_colours(data.taxonomy)):
            middle, share = _histogram(values[groups == group], edges)
            name = data.taxonomy.groups[group]
            figure.add_scatter(
                x=middle, y=share, name=name, legendgroup=name, showlegend=index == 0, mode="lines",
                line={"color": colour, "width": 2}, **_cell(index),
            )  # fmt: skip
    figure.update_yaxes(showticklabels=False, rangemode="tozero")
    figure.update_yaxes(title_text="share of the group", col=1)
    return figure


def _panels(row_height: int, shared_y: bool, features: Sequence[Feature] = FEATURES) -> go.Figure:
    """Returns two columns of panels, each with the title of its feature."""
    rows = -(-len(features) // COLUMNS)
    height = rows * row_height + 90
    figure = make_subplots(
        rows, COLUMNS, shared_yaxes=shared_y, horizontal_spacing=0.06, vertical_spacing=min(0.5, 72 / height)
    )
    figure.update_layout(template=style.TEMPLATE, height=height)
    for index, feature in enumerate(features):
        figure.update_xaxes(title_text=feature.title.replace(" (", "<br>("), title_font_size=12, **_cell(index))
    return figure


def _cell(index: int) -> dict[str, int]:
    return {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}


def _bin_edges(values: Values) -> Values:
    """Returns the edges of the bins: one bin for each whole number of a count, else bins of equal width."""
    low, high = np.quantile(values, [0.001, 0.999])
    if np.array_equal(values, np.rint(values)):
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high if high > low else low + 1, CURVE_BINS + 1)


def _histogram(values: Values, edges: Values) -> tuple[list[float], list[float]]:
    """Returns the centres of the bins and the share of the values in each; the outer bins include the tails."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    middle = (edges[:-1] + edges[1:]) / 2
    return middle.round(3).tolist(), (counts / max(1, len(values))).round(5).tolist()
