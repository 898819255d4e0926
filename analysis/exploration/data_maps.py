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
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row
from models.probabilities import softmax

Values = npt.NDArray[np.float64]

SURE = 0.9
"""An image is easy when its given group has at least this probability on average, hard below 1 - SURE."""
CHANGING = 0.15
"""It is ambiguous when the standard deviation over the epochs is at least this, whatever the mean."""
REGIONS = ("easy", "ambiguous", "hard", "between")
POINTS = 100
"""Of each group on the map."""
BINS = 40
IN_A_ROW = 12


@dataclass(frozen=True)
class DataMap:
    """Where every training image lies, T of them.

    Attributes:
        confidence: float64 [T], the mean over the epochs of the probability of the given group.
        variability: float64 [T], its standard deviation over the epochs.
        region: int64 [T], index into `REGIONS`.
        by_garment: One row a garment: garment, group, then the share of its images in each of the regions.
    """

    confidence: Values
    variability: Values
    region: Indices
    by_garment: pd.DataFrame


def map_data(data: Data, out_of_fold: OutOfFold) -> DataMap:
    """Places every training image."""
    membership = np.array(data.taxonomy.membership())
    groups = data.groups[data.train_rows]
    place = np.arange(len(groups))
    held = np.stack([(softmax(logits) @ membership)[place, groups] for logits in out_of_fold.logits])
    confidence, variability = held.mean(axis=0), held.std(axis=0)
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


def map_blocks(data: Data, found: DataMap) -> Iterator[Block]:
    """Yields what shows it."""
    rows = _sample(data, found)
    yield Picture(
        "data-map", _map_figure(data, found, rows), _MAP, thumbnails=data.images[data.train_rows[rows]], documented=True
    )
    table = found.by_garment.copy()
    for region in REGIONS:
        table[region] = table[region].map("{:.1%}".format)
    yield Listing("data-map-regions", table, _REGIONS)
    yield Gallery("data-map-images", _region_rows(data, found), _IMAGES, documented=True)


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


def _map_figure(data: Data, found: DataMap, rows: Indices) -> go.Figure:
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


def _region_rows(data: Data, found: DataMap) -> list[Row]:
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
