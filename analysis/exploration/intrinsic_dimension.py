"""Dimension of the images: principal directions, and intrinsic dimension from distances to near neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.bootstrap import Estimate
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Floats, Neighbours, Rows, search
from analysis.exploration.principal_components import PrincipalComponents, directions_for, variances
from analysis.pages import figure_style as style
from analysis.pages.section import Gallery, Picture, Row

Distances = npt.NDArray[np.floating[Any]]

DIMENSION_SAMPLE = 2000
"""Images for each estimate of a dimension: always the same number, because the estimate depends on it."""
FEWEST_OF_SCALE = 50
"""Fewer images give no estimate of the dimension at a scale."""
SIMILAR = 1.5
"""Estimates at all scales within this factor count as similar."""
NEIGHBOURS = 10
DIRECTIONS = 10
SPREAD = 2.0
"""Standard deviations from the mean at which the gallery shows a principal direction."""


def two_nearest(distances: Distances, level: float = 0.95) -> Estimate:
    """Estimates the dimension from the ratio of the second to the first distance (TwoNN).

    The ratios follow a Pareto law whose exponent is the dimension, whatever the density (Facco et al. 2017,
    https://doi.org/10.1038/s41598-017-11873-y). The estimate is the one of maximum likelihood; its interval assumes
    independent ratios (Denti et al. 2022, https://doi.org/10.1038/s41598-022-20991-1).

    Args:
        distances: [n, at least 2], of each image to its nearest others, nearest first; exact copies are excluded.
        level: The confidence level of the interval. Defaults to 0.95.
    """
    from scipy.stats import gamma

    first, second = distances[:, 0].astype(np.float64), distances[:, 1].astype(np.float64)
    apart = first > 0
    logarithms = np.log(second[apart] / first[apart])
    total, count = float(logarithms.sum()), len(logarithms)
    if count < 2 or total <= 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = gamma.ppf([(1 - level) / 2, (1 + level) / 2], count) / total
    return Estimate((count - 1) / total, float(low), float(high))


def many_nearest(distances: Distances) -> float:
    """Estimates the dimension from the distances to k neighbours (Levina and Bickel 2004).

    The images' estimates are averaged by their inverses, as MacKay and Ghahramani 2005 correct it
    (http://www.inference.org.uk/mackay/dimension/).

    Args:
        distances: [n, k], of each image to its nearest others, nearest first; exact copies are excluded.
    """
    apart = distances[distances[:, 0] > 0].astype(np.float64)
    if len(apart) == 0 or apart.shape[1] < 2:
        return float("nan")
    inverse = np.log(apart[:, -1:] / apart[:, :-1]).sum(axis=1) / (apart.shape[1] - 1)
    return float(1 / inverse.mean()) if inverse.mean() > 0 else float("nan")


def dimensions(data: Data, seed: int) -> pd.DataFrame:
    """Estimates the intrinsic dimension of the training images, of each group and of each garment."""
    rng = np.random.default_rng(seed)
    table = []
    for kind, name, number, rows in _subsets(data):
        sample = data.pixels[rng.permutation(rows)[:DIMENSION_SAMPLE]]
        distances = _distances_within(sample)
        two = two_nearest(distances)
        linear = directions_for(variances(sample), 0.95)
        table.append((kind, name, number, len(sample), two.value, two.low, two.high, many_nearest(distances), linear))
    columns = ["kind", "name", "number", "images", "two_nearest", "low", "high", "many_nearest", "linear"]
    return pd.DataFrame(table, columns=columns)


def dimensions_by_scale(data: Data, neighbours: Neighbours, seed: int) -> pd.DataFrame:
    """Estimates the dimension from ever more images: the fewer the images, the coarser the scale."""
    train = data.train_rows
    order = np.random.default_rng(seed).permutation(train)
    table = []
    for count in (count for count in (len(train) // 60, len(train) // 20, len(train) // 6) if count >= FEWEST_OF_SCALE):
        two = two_nearest(_distances_within(data.pixels[order[:count]]))
        table.append((count, two.value, two.low, two.high))
    two = two_nearest(neighbours.rmse[train])
    table.append((len(train), two.value, two.low, two.high))
    return pd.DataFrame(table, columns=["images", "two_nearest", "low", "high"])


def _subsets(data: Data) -> Iterator[tuple[str, str, int, Indices]]:
    """Yields kind, name, number and training rows of all images, of each group and of each garment."""
    train = data.train_rows
    yield "all", "All images", 0, train
    for group, name in enumerate(data.taxonomy.groups):
        yield "group", name, group, train[data.groups[train] == group]
    for garment, name in enumerate(data.taxonomy.garments):
        yield "garment", name, garment, train[data.garments[train] == garment]


def _distances_within(values: Floats) -> Floats:
    """Returns the distances of each row to its nearest others, float32 [n, up to NEIGHBOURS]."""
    index: Rows
    index, squared = search(values, values, NEIGHBOURS + 1)
    # An exact copy may come before the image itself: drop the own row where it is found, else the last.
    own = index == np.arange(len(values))[:, None]
    own[~own.any(axis=1), -1] = True
    return np.sqrt(np.maximum(squared[~own].reshape(len(values), -1), 0))


def dimension_text(components: PrincipalComponents, table: pd.DataFrame, scales: pd.DataFrame) -> str:
    """Returns the paragraph on the dimension, as Markdown.

    Args:
        components: The principal components of all training images.
        table: As `dimensions` returns it.
        scales: As `dimensions_by_scale` returns it.
    """
    pixels = len(components.variances)
    half, most = (directions_for(components.variances, share) for share in (0.5, 0.95))
    every, garments = table[table["kind"] == "all"].iloc[0], table[table["kind"] == "garment"]
    flat, rich = garments.iloc[garments["two_nearest"].argmin()], garments.iloc[garments["two_nearest"].argmax()]
    plain, varied = garments.iloc[garments["linear"].argmin()], garments.iloc[garments["linear"].argmax()]
    return (
        f"**{pixels} pixels, about {every['two_nearest']:.0f} dimensions.** {half} principal directions explain half "
        f"of the variance and {most} explain 95%. Around a single image the data vary in far fewer directions: the "
        f"intrinsic dimension is {_interval(every)} by the two nearest neighbours and {every['many_nearest']:.1f} by "
        f"ten. {_scale_text(scales)} {flat['name']} has the lowest dimension ({_interval(flat)}), "
        f"{rich['name']} the highest ({_interval(rich)}). Linear dimensions are many more: {plain['name']} needs "
        f"{plain['linear']} for 95% of its variance, {varied['name']} {varied['linear']}. So the images of a garment "
        "lie near a curved surface, not a flat one."
    )


def _scale_text(scales: pd.DataFrame) -> str:
    low, high = scales["two_nearest"].min(), scales["two_nearest"].max()
    return (
        f"It {'hardly depends' if high < SIMILAR * low else 'depends'} on the scale: from {scales['images'].iloc[0]:,} "
        f"to {scales['images'].iloc[-1]:,} images the first estimate lies between {low:.1f} and {high:.1f}."
    )


def _interval(row: pd.Series) -> str:
    return f"{row['two_nearest']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def variance_figure(components: PrincipalComponents) -> Picture:
    """Returns the variance that ever more principal directions explain."""
    explained = 100 * components.explained.cumsum()
    count = np.arange(1, len(explained) + 1)
    figure = style.figure("principal directions", "variance explained, %", height=360)
    figure.add_scatter(
        x=count, y=explained.round(2).tolist(), mode="lines", line={"color": style.NEUTRAL}, showlegend=False
    )
    marks = [directions_for(components.variances, share) for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
    figure.add_scatter(
        x=marks,
        y=[50, 80, 90, 95, 99],
        mode="markers+text",
        text=[str(mark) for mark in marks],
        textposition="top left",
        marker={"color": style.TEST, "size": 8},
        showlegend=False,
    )
    figure.update_xaxes(type="log", dtick=1)
    caption = "Directions that explain 50, 80, 90, 95 and 99% of the variance of the training images."
    return Picture("variance-explained", figure, caption)


def direction_gallery(components: PrincipalComponents) -> Gallery:
    """Returns the mean image moved along each of the strongest directions, to either side."""
    side = int(np.sqrt(len(components.mean)))
    steps = SPREAD * np.sqrt(components.variances[:DIRECTIONS])[:, None] * components.directions[:, :DIRECTIONS].T
    notes = [f"{number}: {share:.0%}" for number, share in enumerate(components.explained[:DIRECTIONS], 1)]
    rows = [
        Row(title, _as_images(components.mean + sign * steps, side), notes if sign > 0 else ())
        for title, sign in (
            (f"Mean plus {SPREAD:g} standard deviations", 1),
            (f"Mean minus {SPREAD:g} standard deviations", -1),
        )
    ]
    caption = "The mean image moved along the strongest directions, with the share of the variance that each explains."
    return Gallery("principal-directions", rows, caption)


def _as_images(values: npt.NDArray[Any], side: int) -> npt.NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8).reshape(-1, side, side)


def dimension_figure(data: Data, dimensions: pd.DataFrame) -> Picture:
    """Returns the intrinsic dimension of each garment with its interval."""
    table = dimensions[dimensions["kind"] == "garment"].sort_values("two_nearest")
    colours = style.garment_colours(data.taxonomy)
    figure = style.figure("intrinsic dimension", height=440)
    figure.add_scatter(
        x=table["two_nearest"].round(2).tolist(),
        y=table["name"].tolist(),
        error_x=error_bars(table["two_nearest"], table["low"], table["high"]),
        mode="markers",
        marker={"size": 10, "color": [colours[garment] for garment in table["number"]]},
        name="two nearest",
    )
    figure.add_scatter(
        x=table["many_nearest"].round(2).tolist(),
        y=table["name"].tolist(),
        mode="markers",
        marker={"size": 9, "symbol": "line-ns-open", "color": style.NEUTRAL},
        name="ten nearest",
    )
    caption = (
        f"Intrinsic dimension of each garment, from {int(table['images'].max()):,} training images each, by two "
        "estimators. Bars: 95% intervals that assume independent images."
    )
    return Picture("intrinsic-dimension", figure, caption)


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, object]:
    """Returns plotly's error bars of values with an interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - value).round(4).tolist(),
        "arrayminus": (value - low).round(4).tolist(),
        "thickness": 1.5,
        "color": style.NEUTRAL,
        "width": 0,
    }
