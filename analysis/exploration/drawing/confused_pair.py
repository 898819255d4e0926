"""The most confused pair of groups: how much of all errors it is, which garments, what sets them apart, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.confused_pair import ConfusedPair, Direction
from analysis.exploration.data import Data
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row

IN_A_ROW = 12


def told(data: Data, pair: ConfusedPair) -> str:
    """Returns what was found, as Markdown."""
    return "\n\n".join((_share(data, pair), _garments(data, pair), _looks(data, pair), _blame(data, pair)))


def blocks(data: Data, pair: ConfusedPair) -> Iterator[Block]:
    """Yields what shows it."""
    yield Picture("pair-share", _shares(pair), _SHARES.format(_names(data, pair)), documented=True)
    yield Picture("pair-garments", _by_garment(data, pair), _GARMENTS, documented=True)
    yield Gallery("pair-confused", [_row(data, way) for way in pair.directions], _CONFUSED, documented=True)
    yield Picture("pair-measures", _separations(data, pair), _MEASURES, documented=True)
    yield Listing("pair-medians", _medians(data, pair), _MEDIANS)


def _names(data: Data, pair: ConfusedPair) -> str:
    one, other = (data.taxonomy.groups[group] for group in pair.groups)
    return f"{other} and {one}"


def _share(data: Data, pair: ConfusedPair) -> str:
    first, rest = pair.shares.iloc[0], pair.shares.iloc[1:]
    others = (
        f" On the test split it is between {rest['share'].min():.0%} ({_at(rest, rest['share'].argmin())}) and "
        f"{rest['share'].max():.0%} ({_at(rest, rest['share'].argmax())})."
        if len(rest)
        else ""
    )
    return (
        f"**{_names(data, pair)}.** Of the {first['errors']:,} groups that the small networks get wrong out of fold, "
        f"{first['share']:.0%} [{first['low']:.0%}, {first['high']:.0%}] lie between these two.{others}"
    )


def _at(shares: pd.DataFrame, place: int | np.integer[Any]) -> str:
    return str(shares["model"].iloc[int(place)])


def _garments(data: Data, pair: ConfusedPair) -> str:
    large = pair.by_garment[pair.by_garment["group"] == data.taxonomy.groups[pair.groups[0]]]
    ranked = large.sort_values("confused", ascending=False)
    listed = ", ".join(f"{r.garment} {r.confused:,} ({r.share:.1%})" for r in ranked.itertuples())
    small = pair.by_garment[pair.by_garment["group"] == data.taxonomy.groups[pair.groups[1]]]
    other = "; ".join(
        f"{r.garment} {r.confused:,} of {r.images:,} ({r.share:.1%}), most often for a {r.taken}"
        for r in small.itertuples()
    )
    return (
        f"Taken for {data.taxonomy.groups[pair.groups[1]]}, by garment: {listed}. The other way round: {other}. "
        f"{ranked.iloc[0]['garment']} alone is {ranked.iloc[0]['confused'] / max(ranked['confused'].sum(), 1):.0%} of "
        "the first."
    )


def _looks(data: Data, pair: ConfusedPair) -> str:
    return " ".join(_look(data, way) for way in pair.directions)


def _look(data: Data, way: Direction) -> str:
    best = way.measures.iloc[0]
    given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
    if not len(way.rows):
        return f"No {given} is taken for {taken}."
    return (
        f"What tells confused {given} from safe ones best is {best['measure']}: the median is {best['confused']:.2f} "
        f"among the confused, {best['safe']:.2f} among the safe, {best['other']:.2f} in {taken} (area under the curve "
        f"{best['auc']:.2f} [{best['low']:.2f}, {best['high']:.2f}])."
    )


def _blame(data: Data, pair: ConfusedPair) -> str:
    parts = []
    for way in pair.directions:
        given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
        count = max(len(way.rows), 1)
        parts.append(
            f"Of {len(way.rows):,} {given} taken for {taken}, {way.neighbours:.0%} have mostly {taken} among their "
            f"nearest neighbours by pixels ({way.neighbours_safe:.1%} of the safe ones), and "
            f"{way.suspects / count:.0%} are suspected of a wrong group."
        )
    return (
        f"{' '.join(parts)} The neighbours agree without any network, so that part is what a silhouette of 28 × 28 "
        "pixels cannot tell or what is given wrongly. The suspects are named by the same networks that make the "
        "mistakes: that share is what looks like a wrong garment, not what is proved to be one."
    )


def _shares(pair: ConfusedPair) -> go.Figure:
    table = pair.shares.iloc[::-1]
    made = style.figure("% of the model's errors", height=140 + 34 * len(table))
    made.add_scatter(
        x=(100 * table["share"]).round(1).tolist(),
        y=[f"{row.model}<br>({row.on})" if row.on != "test" else row.model for row in table.itertuples()],
        error_x={
            "array": (100 * (table["high"] - table["share"])).round(1).tolist(),
            "arrayminus": (100 * (table["share"] - table["low"])).round(1).tolist(),
        },
        customdata=table["errors"].tolist(),
        mode="markers",
        marker={"color": style.NEUTRAL, "size": 9},
        hovertemplate="%{x:.0f}% of %{customdata:,} errors<extra></extra>",
    )
    made.update_xaxes(range=[0, 100])
    return made


def _by_garment(data: Data, pair: ConfusedPair) -> go.Figure:
    table = pair.by_garment
    colours = dict(zip(data.taxonomy.groups, style.group_colours(data.taxonomy), strict=True))
    made = style.figure("% of the garment's images", height=140 + 36 * len(table))
    made.add_bar(
        y=table["garment"].tolist(),
        x=(100 * table["share"]).round(2).tolist(),
        orientation="h",
        error_x={
            "array": (100 * (table["high"] - table["share"])).round(2).tolist(),
            "arrayminus": (100 * (table["share"] - table["low"])).round(2).tolist(),
        },
        marker={"color": [colours[group] for group in table["group"]]},
        customdata=table["confused"].tolist(),
        hovertemplate="%{y}: %{x:.2f}% (%{customdata} images)<extra></extra>",
    )
    made.update_yaxes(autorange="reversed")
    return made


def _row(data: Data, way: Direction) -> Row:
    rows = way.rows[:IN_A_ROW]
    given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
    return Row(
        title=f"given {given}, taken for {taken} ({len(way.rows):,})",
        images=data.images[rows],
        notes=[f"{data.garment_name(row)} {p:.2f}" for row, p in zip(rows, way.probability, strict=False)],
        colour=style.group_colours(data.taxonomy)[way.given],
    )


def _separations(data: Data, pair: ConfusedPair) -> go.Figure:
    made = style.figure("area under the ROC curve", height=440)
    order = pair.directions[0].measures["measure"].tolist()
    for way in pair.directions:
        table = way.measures.set_index("measure").loc[order]
        made.add_scatter(
            x=table["auc"].round(3).tolist(),
            y=[name.split(" (")[0] for name in order],
            error_x={
                "array": (table["high"] - table["auc"]).round(3).tolist(),
                "arrayminus": (table["auc"] - table["low"]).round(3).tolist(),
            },
            mode="markers",
            name=f"given {data.taxonomy.groups[way.given]}",
            marker={"color": style.group_colours(data.taxonomy)[way.given], "size": 9},
            hovertemplate="%{y}: %{x:.2f}",
        )
    made.add_vline(x=0.5, line={"color": style.NEUTRAL, "width": 1, "dash": "dot"})
    made.update_xaxes(range=[0, 1])
    made.update_yaxes(autorange="reversed")
    return made


def _medians(data: Data, pair: ConfusedPair) -> pd.DataFrame:
    tables = []
    for way in pair.directions:
        given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
        table = way.measures[["measure", "safe", "confused", "other"]].copy()
        table.insert(0, "given, taken for", f"{given}, {taken}")
        tables.append(table.rename(columns={"other": "safe, of the other group"}))
    return pd.concat(tables, ignore_index=True)


_SHARES = "The share of a model's errors on groups that lie between {}, with 95% intervals."
_GARMENTS = "The share of each garment that networks take for the other group, out of fold, with 95% intervals."
_CONFUSED = (
    "The surest mistakes in both directions. Under each: the given garment and the probability of the wrong group."
)
_MEASURES = (
    "What of an image tells that it will be taken for the other group: the probability that a confused image of a "
    "group has more of the measure than a safe one, with 95% intervals. Right of the line: confused images have more "
    "of it."
)
_MEDIANS = "Medians of the measures: where the confused lie between the two groups."
