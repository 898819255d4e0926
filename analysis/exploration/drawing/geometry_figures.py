"""The figures of the geometry: principal directions, dimension, overlaps, separability, and two maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.exploration.data import Data
from analysis.exploration.embedding import Embedding
from analysis.exploration.geometry import Geometry
from analysis.exploration.principal_components import directions_for
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row

DIRECTIONS = 10
SPREAD = 2.0
"""Standard deviations from the mean that a principal direction is shown at."""


def blocks(data: Data, geometry: Geometry, embedding: Embedding) -> Iterator[Block]:
    """Yields what shows the geometry, in the order of the prose."""
    yield _variance(geometry)
    yield _directions(geometry)
    yield _dimension_dots(data, geometry)
    yield _nearest(data, geometry)
    yield _purity(data, geometry)
    yield _recalls(data, geometry)
    yield _table(geometry)
    yield _map(data, embedding, embedding.pixels, "map-pixels", "by their pixels")
    yield _map(data, embedding, embedding.network, "map-network", f"by the features of {embedding.network_name}")


def _variance(geometry: Geometry) -> Picture:
    explained = 100 * geometry.components.explained.cumsum()
    count = np.arange(1, len(explained) + 1)
    figure = style.figure("principal directions", "variance explained, %", height=360)
    figure.add_scatter(
        x=count, y=explained.round(2).tolist(), mode="lines", line={"color": style.NEUTRAL}, showlegend=False
    )
    marks = [directions_for(geometry.components.variances, share) for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
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
    caption = "How many directions it takes to explain 50, 80, 90, 95 and 99% of the variance of the training images."
    return Picture("variance-explained", figure, caption)


def _directions(geometry: Geometry) -> Gallery:
    """Shows the mean image moved along each of the strongest directions, to either side."""
    components = geometry.components
    side = int(np.sqrt(len(components.mean)))
    steps = SPREAD * np.sqrt(components.variances[:DIRECTIONS])[:, None] * components.directions[:, :DIRECTIONS].T
    notes = [f"{number}: {share:.0%}" for number, share in enumerate(components.explained[:DIRECTIONS], 1)]
    rows = [
        Row(title, _as_images(components.mean + sign * steps, side), notes if sign > 0 else ())
        for title, sign in ((f"Mean plus {SPREAD:g} standard deviations", 1), ("Mean minus as much", -1))
    ]
    caption = "The mean image moved along the strongest directions, with the share of the variance that each explains."
    return Gallery("principal-directions", rows, caption)


def _as_images(values: npt.NDArray[Any], side: int) -> npt.NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8).reshape(-1, side, side)


def _dimension_dots(data: Data, geometry: Geometry) -> Picture:
    table = geometry.dimensions[geometry.dimensions["kind"] == "garment"].sort_values("two_nearest")
    colours = style.garment_colours(data.taxonomy)
    figure = style.figure("intrinsic dimension", height=440)
    figure.add_scatter(
        x=table["two_nearest"].round(2).tolist(),
        y=table["name"].tolist(),
        error_x=_bars(table["two_nearest"], table["low"], table["high"]),
        mode="markers",
        marker={"size": 10, "color": [colours[place] for place in table["place"]]},
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
        "estimators. Bars: 95% intervals that take the images for independent."
    )
    return Picture("intrinsic-dimension", figure, caption, documented=True)


def _bars(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (high - value).round(4).tolist(),
        "arrayminus": (value - low).round(4).tolist(),
        "thickness": 1.5,
        "color": style.NEUTRAL,
        "width": 0,
    }


def _nearest(data: Data, geometry: Geometry) -> Picture:
    percent = (100 * geometry.nearest_garment).round(1)
    figure = style.matrix(percent.tolist(), data.taxonomy.garments, ".0f")
    figure.update_xaxes(title_text="nearest training image", tickangle=-45)
    caption = (
        "Of all images of a garment (down), the share in % whose nearest training image is of each garment (across). "
        "Each row sums to 100. Dark cells off the diagonal are overlaps; the grouping makes those inside a group "
        "harmless."
    )
    return Picture("nearest-garment", figure, caption, documented=True)


def _purity(data: Data, geometry: Geometry) -> Picture:
    table = geometry.purity.sort_values("pixels_group")
    colours = [style.garment_colours(data.taxonomy)[place] for place in table["place"]]
    figure = style.figure("of the same class, %", height=480)
    looks = (
        ("group", "pixels", "square-open"),
        ("group", "network", "square"),
        ("garment", "pixels", "circle-open"),
        ("garment", "network", "circle"),
    )
    for kind, space, symbol in looks:
        name = f"{space}_{kind}"
        figure.add_scatter(
            x=(100 * table[name]).round(1).tolist(),
            y=table["garment"].tolist(),
            error_x={
                "type": "data",
                "array": (196 * table[f"{name}_error"]).round(2).tolist(),
                "width": 0,
                "thickness": 1,
                "color": style.NEUTRAL,
            },
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": colours},
            name=f"same {kind}, {space}",
        )
    caption = (
        "Test images: how many of the ten nearest training images have the same garment (circles) or group (squares), "
        "by pixels (open) and by the features of a small network that has not seen the test images (filled). Bars: "
        "95% intervals."
    )
    return Picture("neighbour-purity", figure, caption, documented=True)


def _recalls(data: Data, geometry: Geometry) -> Picture:
    figure = style.figure("recall, %", height=380)
    for place, group in enumerate(data.taxonomy.groups):
        part = geometry.recalls[geometry.recalls["group"] == group]
        figure.add_scatter(
            x=(100 * part["recall"]).round(2).tolist(),
            y=part["model"].tolist(),
            error_x=_bars(100 * part["recall"], 100 * part["low"], 100 * part["high"]),
            mode="markers",
            marker={"size": 10, "color": style.group_colours(data.taxonomy)[place]},
            name=group,
        )
    caption = "Recall of each group of the test split by models of rising strength, with 95% bootstrap intervals."
    return Picture("separability", figure, caption)


def _table(geometry: Geometry) -> Listing:
    shown = pd.DataFrame(
        {
            "model": geometry.separability["model"],
            "group accuracy": _told(geometry.separability, "accuracy"),
            "macro F1": _told(geometry.separability, "macro_f1"),
            "most confused": geometry.separability["worst_pair"],
            "of its errors": [f"{share:.0%}" for share in geometry.separability["worst_share"]],
        }
    )
    return Listing("separability-table", shown, "Models on the official test split, with 95% bootstrap intervals.")


def _told(table: pd.DataFrame, name: str) -> list[str]:
    columns = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [f"{value:.4f} [{low:.4f}, {high:.4f}]" for value, low, high in columns]


def _map(data: Data, embedding: Embedding, places: npt.NDArray[np.float32], name: str, by: str) -> Picture:
    figure = style.figure(height=560)
    # Whole numbers of 16 bits: a quarter of the page's weight, and a two-thousandth of the map is below a pixel.
    scaled = np.rint(1000 * places / max(float(np.abs(places).max()), 1e-9)).astype(np.int16)
    colours, symbols = style.garment_colours(data.taxonomy), style.garment_symbols(data.taxonomy)
    for garment in np.argsort(data.taxonomy.group_of, kind="stable"):
        shown = np.flatnonzero(data.garments[embedding.rows] == garment)
        figure.add_scattergl(
            x=scaled[shown, 0],
            y=scaled[shown, 1],
            customdata=shown.astype(np.int16),
            mode="markers",
            marker={"size": 4, "color": colours[garment], "symbol": symbols[garment], "opacity": 0.75},
            name=data.taxonomy.garments[garment],
            hovertemplate="%{fullData.name}<extra></extra>",
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(legend={"itemsizing": "constant"}, margin={"l": 4, "r": 4})
    caption = (
        f"{len(embedding.rows):,} test images laid out {by} (t-SNE): near ones are alike; distances between islands "
        "and the axes mean nothing. Touch a point to see its image."
    )
    return Picture(name, figure, caption, thumbnails=data.images[embedding.rows], documented=True)
