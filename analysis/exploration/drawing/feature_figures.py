"""The figures of the features: boxes by garment, curves by group and by split, areas under ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.exploration.features import FEATURES, Feature
from analysis.pages import figures as style

if TYPE_CHECKING:
    import pandas as pd

    from analysis.exploration.data import Data
    from analysis.exploration.separation import Separation
    from analysis.exploration.shift import Shift

Values = npt.NDArray[np.float64]

COLUMNS = 2
CURVE_BINS = 24
BOX_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def boxes(data: Data, features: pd.DataFrame) -> go.Figure:
    """Returns a panel a feature with a box a garment, made of five quantiles and not of all images."""
    made = _panels(row_height=60 + 17 * len(data.taxonomy.garments), shared_y=True)
    for place, feature in enumerate(FEATURES):
        quantiles = features[feature.name].groupby(data.garments).quantile(np.array(BOX_QUANTILES)).unstack()
        for group, colour in enumerate(style.group_colours(data.taxonomy)):
            rows = quantiles[quantiles.index.isin(data.taxonomy.members(group))]
            low, first, median, third, high = (rows[q].round(3).tolist() for q in BOX_QUANTILES)
            made.add_box(
                y=[data.taxonomy.garments[garment] for garment in rows.index], orientation="h", marker_color=colour,
                lowerfence=low, q1=first, median=median, q3=third, upperfence=high,
                line_width=1, name=data.taxonomy.groups[group], showlegend=False, **_cell(place),
            )  # fmt: skip
    made.update_yaxes(categoryorder="array", categoryarray=data.taxonomy.garments[::-1])
    return made


def split_histograms(data: Data, features: pd.DataFrame) -> go.Figure:
    """Returns a panel a feature: its distribution in the training split as an area, in the test split as a line."""
    made = _panels(row_height=150, shared_y=False)
    for place, feature in enumerate(FEATURES):
        edges = _edges(features[feature.name].to_numpy())
        for name, rows, colour in (("train", ~data.test, style.TRAIN), ("test", data.test, style.TEST)):
            middle, share = _curve(features[feature.name].to_numpy()[rows], edges)
            made.add_scatter(
                x=middle, y=share, name=name, legendgroup=name, showlegend=place == 0, mode="lines",
                line={"color": colour, "width": 0 if name == "train" else 2},
                fill="tozeroy" if name == "train" else None, **_cell(place),
            )  # fmt: skip
    made.update_yaxes(showticklabels=False, rangemode="tozero")
    made.update_yaxes(title_text="share of images", col=1)
    return made


def densities(data: Data, features: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Returns a panel for each feature named: its distribution in each group, training images."""
    chosen = [feature for feature in FEATURES if feature.name in names]
    made = _panels(row_height=220, shared_y=False, features=chosen)
    for place, feature in enumerate(chosen):
        values, groups = features[feature.name].to_numpy()[data.train_rows], data.groups[data.train_rows]
        edges = _edges(values)
        for group, colour in enumerate(style.group_colours(data.taxonomy)):
            middle, share = _curve(values[groups == group], edges)
            name = data.taxonomy.groups[group]
            made.add_scatter(
                x=middle, y=share, name=name, legendgroup=name, showlegend=place == 0, mode="lines",
                line={"color": colour, "width": 2}, **_cell(place),
            )  # fmt: skip
    made.update_yaxes(showticklabels=False, rangemode="tozero")
    made.update_yaxes(title_text="share of the group", col=1)
    return made


def areas(separated: Separation) -> go.Figure:
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
    return made


def area_table(separated: Separation) -> go.Figure:
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
    return made


def split_differences(shift: Shift) -> go.Figure:
    """Returns each feature's difference of means between the splits with its interval, and zero as a line."""
    table = shift.differences
    made = style.figure("test less train (SDs)", height=110 + 28 * len(table))
    made.add_scatter(
        x=table["difference"].round(4), y=table["feature"], mode="markers", showlegend=False,
        marker={"size": 9, "color": style.TEST},
        error_x={"array": ((table["high"] - table["low"]) / 2).round(4), "color": style.TEST},
    )  # fmt: skip
    made.add_vline(x=0, line_dash="dot", line_color=style.NEUTRAL)
    made.update_yaxes(autorange="reversed")
    return made


def _panels(row_height: int, shared_y: bool, features: Sequence[Feature] = FEATURES) -> go.Figure:
    """Returns two columns of panels, each with its feature's title below."""
    rows = -(-len(features) // COLUMNS)
    height = rows * row_height + 90
    made = make_subplots(
        rows, COLUMNS, shared_yaxes=shared_y, horizontal_spacing=0.06, vertical_spacing=min(0.5, 72 / height)
    )
    made.update_layout(template=style.TEMPLATE, height=height)
    for place, feature in enumerate(features):
        made.update_xaxes(title_text=feature.title.replace(" (", "<br>("), title_font_size=12, **_cell(place))
    return made


def _cell(place: int) -> dict[str, int]:
    return {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}


def _edges(values: Values) -> Values:
    """Returns the edges of the bins: a whole number each for counts, else equal widths without the farthest tails."""
    low, high = np.quantile(values, [0.001, 0.999])
    if np.array_equal(values, np.rint(values)):
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high if high > low else low + 1, CURVE_BINS + 1)


def _curve(values: Values, edges: Values) -> tuple[list[float], list[float]]:
    """Returns the bins' middles and the share of the values in each; the outer bins hold what lies beyond."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    middle = (edges[:-1] + edges[1:]) / 2
    return middle.round(3).tolist(), (counts / max(1, len(values))).round(5).tolist()
