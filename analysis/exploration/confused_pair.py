"""The two groups that are confused most often: garments, features and examples of the confused images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.data.slicing_features import brightness, elongation, ink_coverage, symmetry, taper
from analysis.evaluation.metrics import wilson_interval
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.group_separation import area_with_interval
from analysis.exploration.image_features import side_ink
from analysis.exploration.neighbours import Neighbours
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row
from models.probabilities import softmax

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

IN_A_ROW = 12

MEASURES: dict[str, Callable[[Images], Values]] = {
    "elongation (height / width)": elongation,
    "taper (shoulders / hem)": taper,
    "ink at the sides (share)": side_ink,
    "ink coverage (share)": ink_coverage,
    "symmetry": symmetry,
    "brightness (0 to 255)": brightness,
}


@dataclass(frozen=True)
class Direction:
    """Training images of one group that the networks, which were not trained on them, take for another.

    Attributes:
        given: The group.
        taken: The group that they are taken for.
        rows: int64 [n], of Data, the surest mistake first.
        probability: float64 [n], of `taken`.
        images: How many images the given group has.
        neighbours: The share of them whose nearest neighbours by pixels are mostly of the other group.
        neighbours_safe: The same among images of the group that are not confused.
        suspects: How many of them are suspected of a wrong group.
        measures: One row a measure: measure, confused, safe, other (medians: of these images, of the group that
            are told right, those of the other group that are), auc (the probability that a confused image has more
            of it than a safe one), low, high (95%).
    """

    given: int
    taken: int
    rows: Indices
    probability: Values
    images: int
    neighbours: float
    neighbours_safe: float
    suspects: int
    measures: pd.DataFrame


@dataclass(frozen=True)
class ConfusedPair:
    """The pair of groups with the most errors between them.

    Attributes:
        groups: The two, the larger first.
        shares: One row a model: model, on (which images), errors (on groups), between (how many of them are between the
            two), share, low, high (95%, Wilson).
        by_garment: One row a garment of the two groups: garment, group, images, confused, share, low, high, taken (the
            garment that it is taken for most often).
        directions: Both directions.
    """

    groups: tuple[int, int]
    shares: pd.DataFrame
    by_garment: pd.DataFrame
    directions: tuple[Direction, Direction]


def measure_pair(
    data: Data, neighbours: Neighbours, out_of_fold: OutOfFold, answers: Mapping[str, Indices], suspects: Indices
) -> ConfusedPair:
    """Finds the pair and looks into it; arguments as of `difficulty.measure`."""
    membership = np.array(data.taxonomy.membership())
    garments = softmax(out_of_fold.logits[-1])
    groups = garments @ membership
    truth, found = data.groups[data.train_rows], groups.argmax(axis=1)
    pair = most_confused(truth, found, data.taxonomy.group_of)
    first, second = (_direction(data, neighbours, groups, way, suspects) for way in (pair, pair[::-1]))
    return ConfusedPair(
        groups=pair,
        shares=_error_shares(data, found, answers, pair),
        by_garment=_confused_garments(data, garments, found, pair),
        directions=(first, second),
    )


def most_confused(truth: Indices, found: Indices, group_of: tuple[int, ...]) -> tuple[int, int]:
    """Returns the two groups with the most errors between them, the one of more garments first."""
    count = max(group_of) + 1
    table = np.bincount(truth * count + found, minlength=count * count).reshape(count, count)
    both = np.triu(table + table.T, 1)
    one, other = divmod(int(both.argmax()), count)
    return (one, other) if group_of.count(one) >= group_of.count(other) else (other, one)


def _direction(
    data: Data, neighbours: Neighbours, groups: Values, way: tuple[int, int], suspects: Indices
) -> Direction:
    given, taken = way
    truth, found = data.groups[data.train_rows], groups.argmax(axis=1)
    confused = np.flatnonzero((truth == given) & (found == taken))
    confused = confused[np.argsort(-groups[confused, taken], kind="stable")]
    safe, other = (np.flatnonzero((truth == group) & (found == group)) for group in way)
    rows = data.train_rows
    mostly = (data.groups[neighbours.index] == taken).mean(axis=1) > 1 / 2
    return Direction(
        given=given,
        taken=taken,
        rows=rows[confused],
        probability=groups[confused, taken],
        images=int((truth == given).sum()),
        neighbours=_share_of(mostly[rows[confused]]),
        neighbours_safe=_share_of(mostly[rows[safe]]),
        suspects=int(np.isin(rows[confused], suspects).sum()),
        measures=_compare(*(data.images[rows[place]] for place in (confused, safe, other))),
    )


def _compare(confused: Images, safe: Images, other: Images) -> pd.DataFrame:
    rows = []
    for name, measure in MEASURES.items():
        values = [measure(images) if len(images) else np.empty(0) for images in (confused, safe, other)]
        medians = [float(np.median(found)) if len(found) else float("nan") for found in values]
        rows.append((name, *medians, *area_with_interval(values[0], values[1])))
    table = pd.DataFrame(rows, columns=["measure", "confused", "safe", "other", "auc", "low", "high"])
    return table.sort_values("auc", key=lambda auc: -(auc - 0.5).abs(), kind="stable", ignore_index=True)


def _error_shares(data: Data, found: Indices, answers: Mapping[str, Indices], pair: tuple[int, int]) -> pd.DataFrame:
    judged = [("small networks", "training, out of fold", data.groups[data.train_rows], found)]
    judged += [(name, "test", data.groups[data.test_rows], groups) for name, groups in answers.items()]
    rows = []
    for name, on, truth, groups in judged:
        if len(np.unique(groups)) < 2:
            continue
        wrong = truth != groups
        between = wrong & np.isin(truth, pair) & np.isin(groups, pair)
        errors, count = int(wrong.sum()), int(between.sum())
        low, high = wilson_interval(count, max(errors, 1))
        rows.append((name, on, errors, count, count / max(errors, 1), float(low), float(high)))
    return pd.DataFrame(rows, columns=["model", "on", "errors", "between", "share", "low", "high"])


def _confused_garments(data: Data, garments: Values, found: Indices, pair: tuple[int, int]) -> pd.DataFrame:
    taxonomy, truth = data.taxonomy, data.garments[data.train_rows]
    rows = []
    for given, taken in (pair, pair[::-1]):
        for garment in taxonomy.members(given):
            confused = (truth == garment) & (found == taken)
            count, images = int(confused.sum()), int((truth == garment).sum())
            low, high = wilson_interval(count, max(images, 1))
            # Of the garments of the other group: the sum over them is what was more probable than the given group.
            others = np.array(taxonomy.members(taken))
            favourite = others[np.bincount(garments[confused][:, others].argmax(axis=1), minlength=1).argmax()]
            names = taxonomy.garments[garment], taxonomy.groups[given]
            taken_for = taxonomy.garments[favourite] if count else ""
            rows.append((*names, images, count, count / max(images, 1), float(low), float(high), taken_for))
    return pd.DataFrame(rows, columns=["garment", "group", "images", "confused", "share", "low", "high", "taken"])


def _share_of(marked: npt.NDArray[np.bool_]) -> float:
    return float(marked.mean()) if len(marked) else 0.0


def confusion_text(data: Data, pair: ConfusedPair) -> str:
    """Returns what was found, as Markdown."""
    return "\n\n".join(
        (_share_text(data, pair), _garment_text(data, pair), _feature_text(data, pair), _cause_text(data, pair))
    )


def pair_blocks(data: Data, pair: ConfusedPair) -> Iterator[Block]:
    """Yields what shows it."""
    yield Picture("pair-share", _share_figure(pair), _SHARES.format(_names(data, pair)), documented=True)
    yield Picture("pair-garments", _garment_figure(data, pair), _GARMENTS, documented=True)
    yield Gallery("pair-confused", [_direction_row(data, way) for way in pair.directions], _CONFUSED, documented=True)
    yield Picture("pair-measures", _area_figure(data, pair), _MEASURES, documented=True)
    yield Listing("pair-medians", _median_table(data, pair), _MEDIANS)


def _names(data: Data, pair: ConfusedPair) -> str:
    one, other = (data.taxonomy.groups[group] for group in pair.groups)
    return f"{other} and {one}"


def _share_text(data: Data, pair: ConfusedPair) -> str:
    first, rest = pair.shares.iloc[0], pair.shares.iloc[1:]
    others = (
        f" On the test split it is between {rest['share'].min():.0%} ({_model_at(rest, rest['share'].argmin())}) and "
        f"{rest['share'].max():.0%} ({_model_at(rest, rest['share'].argmax())})."
        if len(rest)
        else ""
    )
    return (
        f"**{_names(data, pair)}.** Of the {first['errors']:,} groups that the small networks get wrong out of fold, "
        f"{first['share']:.0%} [{first['low']:.0%}, {first['high']:.0%}] lie between these two.{others}"
    )


def _model_at(shares: pd.DataFrame, place: int | np.integer[Any]) -> str:
    return str(shares["model"].iloc[int(place)])


def _garment_text(data: Data, pair: ConfusedPair) -> str:
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


def _feature_text(data: Data, pair: ConfusedPair) -> str:
    return " ".join(_direction_text(data, way) for way in pair.directions)


def _direction_text(data: Data, way: Direction) -> str:
    best = way.measures.iloc[0]
    given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
    if not len(way.rows):
        return f"No {given} is taken for {taken}."
    return (
        f"What tells confused {given} from safe ones best is {best['measure']}: the median is {best['confused']:.2f} "
        f"among the confused, {best['safe']:.2f} among the safe, {best['other']:.2f} in {taken} (area under the curve "
        f"{best['auc']:.2f} [{best['low']:.2f}, {best['high']:.2f}])."
    )


def _cause_text(data: Data, pair: ConfusedPair) -> str:
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


def _share_figure(pair: ConfusedPair) -> go.Figure:
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


def _garment_figure(data: Data, pair: ConfusedPair) -> go.Figure:
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


def _direction_row(data: Data, way: Direction) -> Row:
    rows = way.rows[:IN_A_ROW]
    given, taken = data.taxonomy.groups[way.given], data.taxonomy.groups[way.taken]
    return Row(
        title=f"given {given}, taken for {taken} ({len(way.rows):,})",
        images=data.images[rows],
        notes=[f"{data.garment_name(row)} {p:.2f}" for row, p in zip(rows, way.probability, strict=False)],
        colour=style.group_colours(data.taxonomy)[way.given],
    )


def _area_figure(data: Data, pair: ConfusedPair) -> go.Figure:
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


def _median_table(data: Data, pair: ConfusedPair) -> pd.DataFrame:
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
