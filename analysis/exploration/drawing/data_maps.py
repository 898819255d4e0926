"""Data maps: where training images lie between easy, ambiguous and hard, and what they look like there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.data import Data, Indices
from analysis.exploration.data_maps import CHANGING, REGIONS, SURE, DataMap
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row

POINTS = 100
"""Of each group on the map."""
BINS = 40
IN_A_ROW = 12


def told(data: Data, found: DataMap) -> str:
    """Returns what was found, as Markdown."""
    shares = np.bincount(found.region, minlength=len(REGIONS)) / len(found.region)
    table = found.by_garment
    hard, ambiguous = (table.iloc[int(table[region].argmax())] for region in ("hard", "ambiguous"))
    return (
        f"**Data maps.** Over the epochs, the probability of the given group stays above {SURE:.0%} on average and "
        f"steady for {shares[0]:.1%} of the training images (easy), changes by {CHANGING:.2f} or more for "
        f"{shares[1]:.1%} (ambiguous) and stays below {1 - SURE:.0%} for {shares[2]:.1%} (hard). Most ambiguous is "
        f"{ambiguous['garment']} ({ambiguous['ambiguous']:.1%}), hardest is {hard['garment']} ({hard['hard']:.1%}). "
        "Unlike in the paper that the maps come from, no network was trained on the image it is asked about, so hard "
        "means that all the others speak against it."
    )


def blocks(data: Data, found: DataMap) -> Iterator[Block]:
    """Yields what shows it."""
    rows = _sample(data, found)
    yield Picture(
        "data-map", _map(data, found, rows), _MAP, thumbnails=data.images[data.train_rows[rows]], documented=True
    )
    table = found.by_garment.copy()
    for region in REGIONS:
        table[region] = table[region].map("{:.1%}".format)
    yield Listing("data-map-regions", table, _REGIONS)
    yield Gallery("data-map-images", _galleries(data, found), _IMAGES, documented=True)


def _sample(data: Data, found: DataMap) -> Indices:
    """Returns training images of each group, the rarer regions of the map as often as the crowded one."""
    random = np.random.default_rng(0)
    groups = data.groups[data.train_rows]
    crowd = np.bincount(found.region, minlength=len(REGIONS))[found.region]
    chosen = []
    for group in range(len(data.taxonomy.groups)):
        members = np.flatnonzero(groups == group)
        weight = 1 / crowd[members]
        chosen.append(random.choice(members, min(POINTS, len(members)), replace=False, p=weight / weight.sum()))
    return np.concatenate(chosen)


def _map(data: Data, found: DataMap, rows: Indices) -> go.Figure:
    made = style.figure("variability (SD over epochs)", "confidence (mean probability)", height=520)
    edges = np.linspace(0, 0.5, BINS + 1), np.linspace(0, 1, BINS + 1)
    density, *_ = np.histogram2d(found.variability, found.confidence, bins=edges)
    made.add_heatmap(
        x=((edges[0][1:] + edges[0][:-1]) / 2).round(4).tolist(),
        y=((edges[1][1:] + edges[1][:-1]) / 2).round(4).tolist(),
        z=np.log10(np.maximum(density.T, 1)).round(2).tolist(),
        colorscale=[[0, "rgba(122,131,142,0)"], [1, "rgba(122,131,142,0.8)"]],
        showscale=False,
        hoverinfo="skip",
    )
    groups = data.groups[data.train_rows[rows]]
    for group, name in enumerate(data.taxonomy.groups):
        place = np.flatnonzero(groups == group)
        made.add_scattergl(
            x=found.variability[rows[place]].round(4).tolist(),
            y=found.confidence[rows[place]].round(4).tolist(),
            mode="markers",
            name=name,
            marker={"color": style.group_colours(data.taxonomy)[group], "size": 6, "opacity": 0.8},
            customdata=place.tolist(),
            text=[data.garment_name(row) for row in data.train_rows[rows[place]]],
            hovertemplate="%{text}: %{y:.2f} ± %{x:.2f}",
        )
    made.update_yaxes(range=[0, 1])
    return made


def _galleries(data: Data, found: DataMap) -> list[Row]:
    """Returns the images furthest into each region, garments in turn."""
    depth = {"easy": found.confidence - found.variability, "ambiguous": found.variability, "hard": -found.confidence}
    made = []
    garments = data.garments[data.train_rows]
    for region, values in depth.items():
        members = np.flatnonzero(found.region == REGIONS.index(region))
        members = members[np.argsort(-values[members], kind="stable")]
        turn = pd.Series(garments[members]).groupby(garments[members]).cumcount()
        first = data.train_rows[members[np.argsort(turn, kind="stable")[:IN_A_ROW]]]
        if len(first):
            notes = [data.garment_name(row) for row in first]
            made.append(Row(f"{region} ({len(members):,})", data.images[first], notes))
    return made


_MAP = (
    "Each training image by the mean (up) and the standard deviation (right) of the probability that its given group "
    "has over the epochs. Grey: how many images, logarithmically. Points: a sample of each group in which rare places "
    "are as frequent as crowded ones; touch one to see it. Top left is easy, right is ambiguous, bottom left is hard."
)
_REGIONS = "The share of each garment's training images in the regions of the map."
_IMAGES = "Of each garment in turn, the training images furthest into each region."
