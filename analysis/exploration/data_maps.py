"""Data maps: mean and spread, over the epochs, of the probability of an image's labelled group.

Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", 2020
(https://arxiv.org/abs/2009.10795). There the network is trained on the image that it predicts; here it never is, so
that a label error stays hard instead of being memorised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row
from models.probabilities import softmax

Values = npt.NDArray[np.float64]

SURE = 0.9
"""An image is easy when its labelled group has at least this mean probability, hard below 1 - SURE."""
CHANGING = 0.15
"""An image is ambiguous when the standard deviation over the epochs is at least this, whatever the mean."""
REGIONS = ("easy", "ambiguous", "hard", "between")
POINTS = 100
"""Points of each group on the map."""
BINS = 40
IN_A_ROW = 12


@dataclass(frozen=True)
class DataMap:
    """Positions of T training images on the data map.

    Attributes:
        confidence: float64 [T], the mean over the epochs of the probability of the labelled group.
        variability: float64 [T], its standard deviation over the epochs.
        region: int64 [T], index into `REGIONS`.
        by_garment: A row for each garment: garment, group, then the share of its images in each of the regions.
    """

    confidence: Values
    variability: Values
    region: Indices
    by_garment: pd.DataFrame


def map_data(data: Data, out_of_fold: OutOfFold) -> DataMap:
    """Returns the data map of all training images."""
    membership = np.array(data.taxonomy.membership())
    groups = data.groups[data.train_rows]
    rows = np.arange(len(groups))
    of_label = np.stack([(softmax(logits) @ membership)[rows, groups] for logits in out_of_fold.logits])
    confidence, variability = of_label.mean(axis=0), of_label.std(axis=0)
    region = regions(confidence, variability)
    return DataMap(confidence, variability, region, _region_shares(data, region))


def regions(confidence: Values, variability: Values) -> Indices:
    """Returns the region of each image, int64 [T], index into `REGIONS`."""
    conditions = [variability >= CHANGING, confidence >= SURE, confidence < 1 - SURE]
    return np.select(conditions, [1, 0, 2], default=3).astype(np.int64)


def _region_shares(data: Data, region: Indices) -> pd.DataFrame:
    taxonomy, garments = data.taxonomy, data.garments[data.train_rows]
    counts = np.bincount(garments * len(REGIONS) + region, minlength=len(taxonomy.garments) * len(REGIONS))
    table = counts.reshape(-1, len(REGIONS))
    shares = pd.DataFrame(table / np.maximum(table.sum(axis=1, keepdims=True), 1), columns=list(REGIONS))
    shares.insert(0, "garment", taxonomy.garments)
    shares.insert(1, "group", [taxonomy.groups[group] for group in taxonomy.group_of])
    return shares


def map_text(data: Data, found: DataMap) -> str:
    """Returns the paragraph on the data map, as Markdown."""
    shares = np.bincount(found.region, minlength=len(REGIONS)) / len(found.region)
    table = found.by_garment
    hard, ambiguous = (table.iloc[int(table[region].argmax())] for region in ("hard", "ambiguous"))
    return (
        f"**Data maps.** Over the epochs, the probability of the labelled group has a mean above {SURE:.0%} and a "
        f"standard deviation below {CHANGING:.2f} for {shares[0]:.1%} of the training images (easy), a standard "
        f"deviation of {CHANGING:.2f} or more for {shares[1]:.1%} (ambiguous), and a mean below {1 - SURE:.0%} for "
        f"{shares[2]:.1%} (hard). {ambiguous['garment']} is ambiguous most often ({ambiguous['ambiguous']:.1%}), "
        f"{hard['garment']} is hard most often ({hard['hard']:.1%}). Unlike in the paper on data maps, no network was "
        "trained on the image that it predicts. So the networks trained on all other images contradict the label of "
        "a hard image."
    )


def map_blocks(data: Data, found: DataMap) -> Iterator[Block]:
    """Yields the data map, the shares of its regions and example images."""
    rows = _sample(data, found)
    yield Picture("data-map", _map_figure(data, found, rows), _MAP, thumbnails=data.images[data.train_rows[rows]])
    table = found.by_garment.copy()
    for region in REGIONS:
        table[region] = table[region].map("{:.1%}".format)
    yield Listing("data-map-regions", table, _REGIONS)
    yield Gallery("data-map-images", _region_rows(data, found), _IMAGES)


def _sample(data: Data, found: DataMap) -> Indices:
    """Returns training images of each group, drawn with equal weight from every region of the map."""
    random = np.random.default_rng(0)
    groups = data.groups[data.train_rows]
    crowd = np.bincount(found.region, minlength=len(REGIONS))[found.region]
    chosen = []
    for group in range(len(data.taxonomy.groups)):
        members = np.flatnonzero(groups == group)
        weight = 1 / crowd[members]
        chosen.append(random.choice(members, min(POINTS, len(members)), replace=False, p=weight / weight.sum()))
    return np.concatenate(chosen)


def _map_figure(data: Data, found: DataMap, rows: Indices) -> go.Figure:
    figure = style.figure("variability (SD over epochs)", "confidence (mean probability)", height=520)
    edges = np.linspace(0, 0.5, BINS + 1), np.linspace(0, 1, BINS + 1)
    density, *_ = np.histogram2d(found.variability, found.confidence, bins=edges)
    figure.add_heatmap(
        x=((edges[0][1:] + edges[0][:-1]) / 2).round(4).tolist(),
        y=((edges[1][1:] + edges[1][:-1]) / 2).round(4).tolist(),
        z=np.log10(np.maximum(density.T, 1)).round(2).tolist(),
        colorscale=[[0, "rgba(122,131,142,0)"], [1, "rgba(122,131,142,0.8)"]],
        showscale=False,
        hoverinfo="skip",
    )
    groups = data.groups[data.train_rows[rows]]
    for group, name in enumerate(data.taxonomy.groups):
        members = np.flatnonzero(groups == group)
        figure.add_scattergl(
            x=found.variability[rows[members]].round(4).tolist(),
            y=found.confidence[rows[members]].round(4).tolist(),
            mode="markers",
            name=name,
            marker={"color": style.group_colours(data.taxonomy)[group], "size": 6, "opacity": 0.8},
            customdata=members.tolist(),
            text=[data.garment_name(row) for row in data.train_rows[rows[members]]],
            hovertemplate="%{text}: %{y:.2f} ± %{x:.2f}",
        )
    figure.update_yaxes(range=[0, 1])
    return figure


def _region_rows(data: Data, found: DataMap) -> list[Row]:
    """Returns the most extreme images of each region, garments in turn."""
    depth = {"easy": found.confidence - found.variability, "ambiguous": found.variability, "hard": -found.confidence}
    gallery = []
    garments = data.garments[data.train_rows]
    for region, values in depth.items():
        members = np.flatnonzero(found.region == REGIONS.index(region))
        members = members[np.argsort(-values[members], kind="stable")]
        turn = pd.Series(garments[members]).groupby(garments[members]).cumcount()
        first = data.train_rows[members[np.argsort(turn, kind="stable")[:IN_A_ROW]]]
        if len(first):
            notes = [data.garment_name(row) for row in first]
            gallery.append(Row(f"{region} ({len(members):,})", data.images[first], notes))
    return gallery


_MAP = (
    "Each training image by the mean (vertical) and the standard deviation (horizontal) over the epochs of the "
    "probability of its labelled group. Grey: number of images, logarithmic. Points: a sample of each group with "
    "equal weight for every region. Top left is easy, right is ambiguous, bottom left is hard."
)
_REGIONS = "The share of each garment's training images in the regions of the map."
_IMAGES = "The most extreme training images of each region, garments in turn."
