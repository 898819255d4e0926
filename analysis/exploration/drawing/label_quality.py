"""Label quality: the suspects, what of them touches a group, the ceiling that they put on any accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.data import Data, Indices
from analysis.exploration.label_quality import LabelQuality
from analysis.exploration.suspects import Suspects
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section

HUMAN = 0.835
"""Accuracy of a crowd on the ten garments, https://github.com/zalandoresearch/fashion-mnist."""
IN_A_ROW = 10
ROWS = 4


def section(data: Data, quality: LabelQuality) -> Section:
    """Tells how many garments are probably given wrongly, and what that means for the groups."""
    return Section(
        name="label-quality",
        title="Label quality",
        finding="\n\n".join((_suspected(data, quality), _ceiling(quality), _circular(quality), _trust(quality))),
        decision=_decision(quality),
        blocks=tuple(_blocks(data, quality)),
    )


def _suspected(data: Data, quality: LabelQuality) -> str:
    table = quality.by_garment
    suspects, across = int(table["suspects"].sum()), int(table["across"].sum())
    worst = table.iloc[(table["suspects"] / table["images"].clip(lower=1)).argmax()]
    touched = table.iloc[(table["group_suspects"] / table["images"].clip(lower=1)).argmax()]
    return (
        f"Networks that were not trained on the image find {suspects:,} of {len(data.train_rows):,} training garments "
        f"suspect ({suspects / len(data.train_rows):.1%}), by confident learning. Most is doubt within a group: only "
        f"{across / max(suspects, 1):.0%} of the suspects look like a garment of another group. **{worst['garment']}** "
        f"is the garment in doubt ({worst['suspects'] / max(worst['images'], 1):.0%} of its images, most often for "
        f"{worst['suggested']}). Asked for groups alone, {len(quality.train_groups.rows):,} training images "
        f"({len(quality.train_groups.rows) / len(data.train_rows):.2%}) and {len(quality.test_groups.rows):,} test "
        f"images ({len(quality.test_groups.rows) / len(data.test_rows):.2%}) are suspect; {touched['garment']} has the "
        f"largest share ({touched['group_suspects'] / max(touched['images'], 1):.1%}). So the regrouping removes most "
        f"of the doubt, and leaves what matters. For scale: a crowd of people gets {HUMAN:.1%} of the ten garments "
        "right, by [Zalando's README](https://github.com/zalandoresearch/fashion-mnist); these small networks get "
        f"{quality.out_of_fold[0]:.1%} out of fold."
    )


def _ceiling(quality: LabelQuality) -> str:
    known = quality.noise[quality.noise["share"].notna()]
    told = "; ".join(f"{r.estimate} {r.share:.2%} [{r.low:.2%}, {r.high:.2%}]" for r in known.itertuples())
    best = quality.excluded.iloc[int(quality.excluded["official"].argmax())]
    refuted = known[1 - known["low"].astype(float) < best["official"]]["estimate"]
    above = (
        f" {best['model']}, measured at {best['official']:.2%}, is above what {' and '.join(refuted)} would allow: "
        "that assumption is refuted."
        if len(refuted)
        else ""
    )
    return (
        f"**The ceiling.** How many groups are given wrongly in truth can only be estimated: {told}. Each rests on an "
        "assumption that fails in a known direction (the table says which), and the intervals hold chance alone, not "
        f"that. A model without a fault would be measured at between {1 - known['share'].max():.1%} and "
        f"{1 - known['share'].min():.1%} on the groups.{above}"
    )


def _circular(quality: LabelQuality) -> str:
    table = quality.excluded.sort_values("official", ascending=False)
    suspects = len(quality.test_groups.rows)
    told = "; ".join(f"{r.model} {r.official:.2%} becomes {r.without:.2%}" for r in table.itertuples())
    judges = ", ".join(f"{r.model} on {r.suspects_wrong} of {suspects}" for r in table.itertuples())
    best = table.iloc[0]
    return (
        f"**Without the suspects.** Leaving {suspects:,} suspects out of the test set lifts the models: {told}. "
        f"Leaving as many out by chance changes nothing ({best['model']} {best['random']:.2%} ± "
        f"{best['random_sd']:.2%}), and no choice of as many could lift {best['model']} above {best['at_most']:.2%}. "
        "It is circular: the suspects are images that networks get wrong. Less circular is what models say that took "
        f"no part in the search. Wrong on the suspects are {judges}. The official accuracy is the only one that we "
        "report as such."
    )


def _lost(row: pd.Series) -> float:
    """Returns the share of a model's error rate that goes with the suspects."""
    return float(1 - (1 - row["without"]) / max(1 - row["official"], 1e-9))


def _trust(quality: LabelQuality) -> str:
    told = "; ".join(
        f"{p.recall:.0%} of {p.swapped} groups changed by a garment swapped for {p.kind} are found, and "
        f"{p.precision:.0%} of the {p.suspects} suspects are among them"
        for p in quality.planted
        if p.target == "group"
    )
    return (
        f"**Is the search any good?** In a copy with garments swapped on purpose: {told}. What was suspect before "
        "counts as a false alarm there."
    )


def _decision(quality: LabelQuality) -> str:
    suspects = len(quality.test_groups.rows)
    return (
        "So we leave every garment as it was published, train with label smoothing, which keeps wrong ones from being "
        "learned with certainty, and judge on the official test split with all of its images. A suspect is shown here "
        f"and never removed: {suspects:,} test images, {suspects / max(quality.tested, 1):.2%} of accuracy, are not "
        "worth a figure that nobody can compare."
    )


def _blocks(data: Data, quality: LabelQuality) -> Iterator[Block]:
    yield Picture("suspects-by-garment", _by_garment(data, quality), _BY_GARMENT, documented=True)
    names = data.taxonomy.garments
    yield Picture("suspects-flow", style.matrix(quality.flow.tolist(), names, ".0f"), _FLOW)
    yield Gallery("suspects-test", _rows(data, quality.test_groups), _GALLERY.format("test"), documented=True)
    yield Gallery("suspects-training", _rows(data, quality.train_groups), _GALLERY.format("training"))
    yield Picture("noise-ceiling", _ceilings(quality), _CEILING, documented=True)
    yield Listing("noise-estimates", _noise_table(quality), _NOISE)
    yield Listing("accuracy-without-suspects", _excluded_table(quality), _EXCLUDED, documented=True)
    yield Listing("planted-swaps", _planted_table(quality), _PLANTED)


def _by_garment(data: Data, quality: LabelQuality) -> go.Figure:
    table = quality.by_garment
    colours = [style.group_colours(data.taxonomy)[group] for group in data.taxonomy.group_of]
    images = table["images"].clip(lower=1)
    made = style.figure("% of the garment's images", height=460)
    for name, counts, opacity in (
        ("looks like another group", table["across"], 1.0),
        ("looks like another garment of its group", table["suspects"] - table["across"], 0.4),
    ):
        made.add_bar(
            y=table["garment"].tolist(),
            x=(100 * counts / images).round(2).tolist(),
            orientation="h",
            name=name,
            marker={"color": colours, "opacity": opacity},
            hovertemplate="%{y}: %{x:.2f}%",
        )
    # One swatch cannot stand for bars of five colours: the caption says what pale means.
    made.update_layout(barmode="stack", showlegend=False)
    made.update_yaxes(autorange="reversed")
    return made


def _rows(data: Data, suspects: Suspects) -> list[Row]:
    """Returns the directions with most suspects, each with its surest ones."""
    groups, count = data.taxonomy.groups, len(data.taxonomy.groups)
    way = data.groups[suspects.rows] * count + suspects.suggested
    tally = np.bincount(way, minlength=count * count)
    return [
        _row(
            data,
            suspects,
            np.flatnonzero(way == chosen),
            f"given {groups[chosen // count]}, looks like {groups[chosen % count]}",
        )
        for chosen in np.argsort(-tally, kind="stable")[:ROWS]
        if tally[chosen]
    ]


def _row(data: Data, suspects: Suspects, place: Indices, title: str) -> Row:
    first = place[:IN_A_ROW]
    given = data.groups[suspects.rows[first[0]]]
    return Row(
        title=f"{title} ({len(place):,})",
        images=data.images[suspects.rows[first]],
        notes=[f"{data.garment_name(suspects.rows[p])} {suspects.probability[p]:.2f}" for p in first],
        colour=style.group_colours(data.taxonomy)[given],
    )


def _ceilings(quality: LabelQuality) -> go.Figure:
    made = style.figure("group accuracy (%)", height=120 + 36 * (len(quality.noise) + len(quality.excluded)))
    noise = quality.noise[quality.noise["share"].notna()]
    made.add_scatter(
        x=(100 * (1 - noise["share"])).round(3).tolist(),
        y=noise["estimate"].tolist(),
        error_x={
            "array": (100 * (noise["share"] - noise["low"])).round(3).tolist(),
            "arrayminus": (100 * (noise["high"] - noise["share"])).round(3).tolist(),
        },
        mode="markers",
        name="ceiling, estimated",
        marker={"color": style.TEST, "size": 10, "symbol": "diamond"},
        hovertemplate="%{y}: %{x:.2f}%",
    )
    models = quality.excluded.sort_values("official", ascending=False)
    models = models[models["official"] > 1 - 4 * (1 - models["official"].max())]
    made.add_scatter(
        x=(100 * models["official"]).round(3).tolist(),
        y=models["model"].tolist(),
        mode="markers",
        name="model, official test split",
        marker={"color": style.NEUTRAL, "size": 10},
        hovertemplate="%{y}: %{x:.2f}%",
    )
    made.update_yaxes(autorange="reversed")
    return made


def _noise_table(quality: LabelQuality) -> pd.DataFrame:
    table = quality.noise.copy()
    figures = 100 * table[["share", "low", "high"]].to_numpy(np.float64)
    table["groups given wrongly (%)"] = [f"{share:.2f} [{low:.2f}, {high:.2f}]" for share, low, high in figures]
    return table[["estimate", "groups given wrongly (%)", "assumes"]]


def _excluded_table(quality: LabelQuality) -> pd.DataFrame:
    table = quality.excluded.sort_values("official", ascending=False)
    columns = {
        "official": "official",
        "without": "without suspects",
        "random": "without as many at random",
        "at_most": "without as many of its errors",
    }
    shown = pd.DataFrame(
        {"model": table["model"]} | {new: table[old].map("{:.2%}".format) for old, new in columns.items()}
    )
    shown["suspects it gets wrong"] = table["suspects_wrong"]
    shown["errors that go (%)"] = [round(100 * _lost(row)) for _, row in table.iterrows()]
    return shown


def _planted_table(quality: LabelQuality) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "swapped for": p.kind,
                "searched for": f"{p.target}s",
                "images": p.images,
                "swapped": p.swapped,
                "suspects": p.suspects,
                "suspects before": p.before,
                "recall": f"{p.recall:.0%}",
                "precision": f"{p.precision:.0%}",
            }
            for p in quality.planted
        ]
    )


_BY_GARMENT = (
    "Training images whose garment is suspect. Pale: the networks see another garment of the same group, which the "
    "grouped task does not care about. Full colour: they see another group."
)
_FLOW = "Suspects of the training split: the given garment down, what the networks see across."
_GALLERY = (
    "The surest suspects of the {} split, by the most frequent directions (how many in brackets). Under each image: "
    "the given garment and the probability of the group that the networks see."
)
_CEILING = (
    "What a faultless model would be measured at if so many groups are given wrongly, by three estimates, and what "
    "models are measured at. The intervals hold chance only; the estimates differ by what they assume."
)
_NOISE = "Estimates of the share of groups that are given wrongly, with 95% intervals, and what each takes for granted."
_EXCLUDED = (
    "Accuracy on the groups of the official test split, and what becomes of it without the suspects: circular, since "
    "the suspects come from networks. The last column says which share of a model's error rate goes with them."
)
_PLANTED = (
    "Garments swapped on purpose among images that the network of the features had not seen; the last layer is fitted "
    "to the swapped ones. Suspects that were there before count as false alarms, so the precision is a lower bound."
)
