"""Geometry: principal directions, dimension, which garments overlap, what simple models part, and two maps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.exploration.data import Data
from analysis.exploration.drawing.geometry_figures import blocks
from analysis.exploration.embedding import Embedding
from analysis.exploration.geometry import Geometry
from analysis.exploration.principal_components import directions_for
from analysis.pages.section import Section


def section(data: Data, geometry: Geometry, embedding: Embedding) -> Section:
    """Tells how the images lie to each other, and what that asks of a model."""
    return Section(
        name="geometry",
        title="Geometry",
        finding="\n\n".join((_dimension(geometry), _overlap(data, geometry), _separable(geometry), _learned(geometry))),
        decision=_decision(geometry),
        blocks=tuple(blocks(data, geometry, embedding)),
    )


def _dimension(geometry: Geometry) -> str:
    variances, pixels = geometry.components.variances, len(geometry.components.variances)
    every = geometry.dimensions[geometry.dimensions["kind"] == "all"].iloc[0]
    garments = geometry.dimensions[geometry.dimensions["kind"] == "garment"]
    flat, rich = garments.iloc[garments["two_nearest"].argmin()], garments.iloc[garments["two_nearest"].argmax()]
    plain, varied = garments.iloc[garments["linear"].argmin()], garments.iloc[garments["linear"].argmax()]
    scales = geometry.scales
    return (
        f"**{pixels} pixels, but about {every['two_nearest']:.0f} ways to vary.** {directions_for(variances, 0.5)} "
        f"principal directions explain half of the variance and {directions_for(variances, 0.95)} explain 95%. Around "
        f"a single image the data vary in far fewer: the intrinsic dimension is {_range(every)} by the two nearest "
        f"neighbours and {every['many_nearest']:.1f} by ten. It depends on the scale that is looked at, but little: "
        f"from {scales['images'].iloc[0]:,} to {scales['images'].iloc[-1]:,} images the first estimate lies between "
        f"{scales['two_nearest'].min():.1f} and {scales['two_nearest'].max():.1f}. {flat['name']} has the lowest "
        f"dimension ({_range(flat)}), {rich['name']} the highest ({_range(rich)}). Straight directions are many more: "
        f"{plain['name']} needs {plain['linear']} for 95% of its variance, {varied['name']} {varied['linear']}. So "
        "the images of a garment lie near a sheet that is bent, not flat."
    )


def _range(row: pd.Series) -> str:
    return f"{row['two_nearest']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _overlap(data: Data, geometry: Geometry) -> str:
    shares, names = geometry.nearest_garment, data.taxonomy.garments
    apart = np.where(np.eye(len(names), dtype=bool), 0, shares)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    owner = np.array(data.taxonomy.group_of)
    across = np.where(owner[:, None] == owner[None], 0, shares)
    source, target = np.unravel_index(across.argmax(), across.shape)
    loneliest = int(np.diagonal(shares).argmin())
    return (
        f"**Which garments overlap.** {names[loneliest]} hardly has a region of its own: the nearest training image of "
        f"one is a {names[loneliest]} in {shares[loneliest, loneliest]:.0%} of the cases. The strongest pull is from "
        f"{names[first]} to {names[second]} ({apart.max():.1%}), "
        f"{'inside one group' if owner[first] == owner[second] else 'across groups'}. The strongest across groups is "
        f"from {names[source]} to {names[target]} ({across.max():.1%}); in all, {across.sum(axis=1)[source]:.1%} of "
        f"the images of {names[source]} lie nearest to another group."
    )


def _separable(geometry: Geometry) -> str:
    told = "; ".join(
        f"{r.model} {r.accuracy:.4f} [{r.accuracy_low:.4f}, {r.accuracy_high:.4f}]"
        for r in geometry.separability.itertuples()
    )
    table = geometry.separability
    best, worst = table.iloc[table["accuracy"].argmax()], table.iloc[table["accuracy"].argmin()]
    return (
        f"**How well groups part**, as accuracy on the official test split: {told}. Of the errors of "
        f"{best['model']}, {best['worst_share']:.0%} are between {best['worst_pair']}; of those of {worst['model']}, "
        f"{worst['worst_share']:.0%} are between {worst['worst_pair']}."
    )


def _learned(geometry: Geometry) -> str:
    table = geometry.purity
    gain = table["network_garment"] - table["pixels_garment"]
    gain_of_groups = table["network_group"] - table["pixels_group"]
    most, best = int(gain.argmax()), int(gain_of_groups.argmax())
    weakest = table.iloc[table["network_group"].argmin()]
    return (
        "**What a network changes.** Of a test image's ten nearest training images, "
        f"{table['pixels_garment'].mean():.1%} have its garment by pixels and {table['network_garment'].mean():.1%} by "
        f"the features of a small network; {table['pixels_group'].mean():.1%} and {table['network_group'].mean():.1%} "
        f"have its group. {table['garment'][most]} gains most in garments ({gain[most]:+.1%}), "
        f"{table['garment'][best]} in groups ({gain_of_groups[best]:+.1%}). {weakest['garment']} stays the least pure "
        f"by group ({weakest['network_group']:.1%})."
    )


def _decision(geometry: Geometry) -> str:
    best = geometry.separability.iloc[geometry.separability["accuracy"].argmax()]
    return (
        "So we measure a model against nearest centroids, a linear model and 1-nearest neighbour, which stand in the "
        "Evaluator's report, and not against the majority alone. So we watch the F1 of each group beside accuracy, "
        f"because the errors gather between {best['worst_pair']}. The network learns the garments and its answers are "
        "summed to groups: the overlaps inside a group then cost nothing."
    )
