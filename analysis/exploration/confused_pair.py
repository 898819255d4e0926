"""The two groups that are confused most often: garments, features and examples of the confused images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.data.slicing_features import brightness, elongation, foreground_coverage, symmetry, taper
from analysis.evaluation.metrics import wilson_interval
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.group_separation import area_with_interval
from analysis.exploration.image_features import side_coverage
from analysis.exploration.neighbours import Neighbours
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row
from models.probabilities import softmax

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

IN_A_ROW = 12

MEASURES: dict[str, Callable[[Images], Values]] = {
    "elongation (height / width)": elongation,
    "taper (shoulders / hem)": taper,
    "foreground at the sides (share)": side_coverage,
    "foreground coverage (share)": foreground_coverage,
    "symmetry": symmetry,
    "brightness (0 to 255)": brightness,
}


@dataclass(frozen=True)
class Direction:
    """Training images of one group that are predicted as the other, out of fold.

    Attributes:
        labelled: The labelled group.
        predicted: The predicted group.
        rows: int64 [n], of Data, the most certain error first.
        probability: float64 [n], of the predicted group.
        neighbours: The share of the n images whose nearest neighbours by pixels are mostly of the predicted group.
        neighbours_correct: The same among the correctly classified images of the labelled group.
        suspected: How many of the n images are suspected of a wrong group.
        measures: A row for each feature: measure, confused, correct, other (medians: of the n images, of the correctly
            classified images of the labelled group, and of those of the predicted group), auc (the probability that a
            confused image has a larger value than a correct one), low, high (95%).
    """

    labelled: int
    predicted: int
    rows: Indices
    probability: Values
    neighbours: float
    neighbours_correct: float
    suspected: int
    measures: pd.DataFrame


@dataclass(frozen=True)
class ConfusedPair:
    """The pair of groups with the most errors between them.

    Attributes:
        groups: The two, the larger first.
        shares: A row for each model: model, on (which images), errors (on groups), between (errors between the two),
            share, low, high (95%, Wilson).
        by_garment: A row for each garment of the two groups: garment, group, images, confused, share, low, high,
            predicted (the garment predicted most often).
        directions: Both directions.
    """

    groups: tuple[int, int]
    shares: pd.DataFrame
    by_garment: pd.DataFrame
    directions: tuple[Direction, Direction]

    @property
    def confused(self) -> list[Direction]:
        """The directions in which there are errors: both, one or none."""
        return [way for way in self.directions if len(way.rows)]


def measure_pair(
    data: Data, neighbours: Neighbours, out_of_fold: OutOfFold, predictions: Mapping[str, Indices], suspected: Indices
) -> ConfusedPair:
    """Finds the pair and measures it; the arguments are those of `difficulty.measure`."""
    membership = np.array(data.taxonomy.membership())
    garments = softmax(out_of_fold.logits[-1])
    groups = garments @ membership
    truth, predicted = data.groups[data.train_rows], groups.argmax(axis=1)
    pair = most_confused(truth, predicted, data.taxonomy.group_of)
    first, second = (_direction(data, neighbours, groups, way, suspected) for way in (pair, pair[::-1]))
    return ConfusedPair(
        groups=pair,
        shares=_error_shares(data, predicted, predictions, pair),
        by_garment=_confused_garments(data, garments, predicted, pair),
        directions=(first, second),
    )


def most_confused(truth: Indices, predicted: Indices, group_of: tuple[int, ...]) -> tuple[int, int]:
    """Returns the two groups with the most errors between them, the one of more garments first.

    Without any error these are the first two groups.
    """
    count = max(group_of) + 1
    table = np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)
    first, second = np.triu_indices(count, k=1)
    most = (table + table.T)[first, second].argmax()
    one, other = int(first[most]), int(second[most])
    return (one, other) if group_of.count(one) >= group_of.count(other) else (other, one)


def _direction(
    data: Data, neighbours: Neighbours, groups: Values, way: tuple[int, int], suspected: Indices
) -> Direction:
    labelled, predicted = way
    truth, found = data.groups[data.train_rows], groups.argmax(axis=1)
    confused = np.flatnonzero((truth == labelled) & (found == predicted))
    confused = confused[np.argsort(-groups[confused, predicted], kind="stable")]
    correct, other = (np.flatnonzero((truth == group) & (found == group)) for group in way)
    rows = data.train_rows
    mostly = (data.groups[neighbours.index] == predicted).mean(axis=1) > 1 / 2
    return Direction(
        labelled=labelled,
        predicted=predicted,
        rows=rows[confused],
        probability=groups[confused, predicted],
        neighbours=_share_of(mostly[rows[confused]]),
        neighbours_correct=_share_of(mostly[rows[correct]]),
        suspected=int(np.isin(rows[confused], suspected).sum()),
        measures=_compare(*(data.images[rows[members]] for members in (confused, correct, other))),
    )


def _compare(confused: Images, correct: Images, other: Images) -> pd.DataFrame:
    rows = []
    for name, measure in MEASURES.items():
        values = [measure(images) if len(images) else np.empty(0) for images in (confused, correct, other)]
        medians = [float(np.median(of_images)) if len(of_images) else float("nan") for of_images in values]
        rows.append((name, *medians, *area_with_interval(values[0], values[1])))
    table = pd.DataFrame(rows, columns=["measure", "confused", "correct", "other", "auc", "low", "high"])
    return table.sort_values("auc", key=lambda auc: -(auc - 0.5).abs(), kind="stable", ignore_index=True)


def _error_shares(
    data: Data, predicted: Indices, predictions: Mapping[str, Indices], pair: tuple[int, int]
) -> pd.DataFrame:
    cases = [("small networks", "training, out of fold", data.groups[data.train_rows], predicted)]
    cases += [(name, "test", data.groups[data.test_rows], groups) for name, groups in predictions.items()]
    rows = []
    for name, on, truth, groups in cases:
        if len(np.unique(groups)) < 2:
            continue
        wrong = truth != groups
        between = wrong & np.isin(truth, pair) & np.isin(groups, pair)
        errors, count = int(wrong.sum()), int(between.sum())
        low, high = wilson_interval(count, max(errors, 1))
        rows.append((name, on, errors, count, count / max(errors, 1), float(low), float(high)))
    return pd.DataFrame(rows, columns=["model", "on", "errors", "between", "share", "low", "high"])


def _confused_garments(data: Data, garments: Values, predicted: Indices, pair: tuple[int, int]) -> pd.DataFrame:
    taxonomy, truth = data.taxonomy, data.garments[data.train_rows]
    rows = []
    for labelled, target in (pair, pair[::-1]):
        for garment in taxonomy.members(labelled):
            confused = (truth == garment) & (predicted == target)
            count, images = int(confused.sum()), int((truth == garment).sum())
            low, high = wilson_interval(count, max(images, 1))
            # Among the garments of the target group, whose sum exceeds the labelled group.
            others = np.array(taxonomy.members(target))
            most_frequent = others[np.bincount(garments[confused][:, others].argmax(axis=1), minlength=1).argmax()]
            names = taxonomy.garments[garment], taxonomy.groups[labelled]
            predicted_garment = taxonomy.garments[most_frequent] if count else ""
            rows.append((*names, images, count, count / max(images, 1), float(low), float(high), predicted_garment))
    return pd.DataFrame(rows, columns=["garment", "group", "images", "confused", "share", "low", "high", "predicted"])


def _share_of(marked: npt.NDArray[np.bool_]) -> float:
    return float(marked.mean()) if len(marked) else 0.0


def confusion_text(data: Data, pair: ConfusedPair) -> str:
    """Returns the paragraphs on the pair, as Markdown."""
    if not pair.confused:
        return (
            f"**No confused pair.** The small networks confuse no two groups, out of fold, on "
            f"{len(data.train_rows):,} training images. So few examples do not show which groups are confused."
        )
    paragraphs = (
        _share_text(data, pair),
        _garment_text(data, pair),
        " ".join(_direction_text(data, way) for way in pair.directions),
        _cause_text(data, pair),
    )
    return "\n\n".join(paragraphs)


def pair_blocks(data: Data, pair: ConfusedPair) -> Iterator[Block]:
    """Yields the figures, the gallery and the table of the pair; none where nothing is confused."""
    if not pair.confused:
        return
    yield Picture("pair-share", _share_figure(pair), _SHARES.format(_names(data, pair)))
    yield Picture("pair-garments", _garment_figure(data, pair), _GARMENTS)
    yield Gallery("pair-confused", [_direction_row(data, way) for way in pair.confused], _CONFUSED)
    yield Picture("pair-measures", _area_figure(data, pair), _MEASURES)
    yield Listing("pair-medians", _median_table(data, pair), _MEDIANS)


def _names(data: Data, pair: ConfusedPair) -> str:
    one, other = (data.taxonomy.groups[group] for group in pair.groups)
    return f"{other} and {one}"


def _group_names(data: Data, way: Direction) -> tuple[str, str]:
    """Returns the names of the labelled and of the predicted group."""
    return data.taxonomy.groups[way.labelled], data.taxonomy.groups[way.predicted]


def _share_text(data: Data, pair: ConfusedPair) -> str:
    first, rest = pair.shares.iloc[0], pair.shares.iloc[1:]
    others = ""
    if len(rest):
        least, most = rest.iloc[int(rest["share"].argmin())], rest.iloc[int(rest["share"].argmax())]
        others = (
            f" On the test split the share is between {least['share']:.0%} ({least['model']}) and {most['share']:.0%} "
            f"({most['model']})."
        )
    return (
        f"**{_names(data, pair)}.** Of the {first['errors']:,} out-of-fold errors of the small networks on groups, "
        f"{first['share']:.0%} [{first['low']:.0%}, {first['high']:.0%}] are between these two.{others}"
    )


def _garment_text(data: Data, pair: ConfusedPair) -> str:
    one, other = (data.taxonomy.groups[group] for group in pair.groups)
    large, small = (pair.by_garment[pair.by_garment["group"] == group] for group in (one, other))
    ranked = large.sort_values("confused", ascending=False)
    of_large = ", ".join(f"{r.garment} {r.confused:,} ({r.share:.1%})" for r in ranked.itertuples())
    of_small = "; ".join(
        f"{r.garment} {r.confused:,} of {r.images:,} ({r.share:.1%}), most often as {r.predicted}"
        for r in small.itertuples()
    )
    return (
        f"{one} predicted as {other}, by garment: {of_large}. {other} predicted as {one}: {of_small}. "
        f"{ranked.iloc[0]['garment']} alone is {ranked.iloc[0]['confused'] / max(ranked['confused'].sum(), 1):.0%} of "
        "the first direction."
    )


def _direction_text(data: Data, way: Direction) -> str:
    best = way.measures.iloc[0]
    labelled, predicted = _group_names(data, way)
    if not len(way.rows):
        return f"No {labelled} is predicted as {predicted}."
    return (
        f"The feature that separates confused from correct {labelled} best is {best['measure']}: the median is "
        f"{best['confused']:.2f} among the confused, {best['correct']:.2f} among the correct images, and "
        f"{best['other']:.2f} in {predicted} (area under the ROC curve {best['auc']:.2f} [{best['low']:.2f}, "
        f"{best['high']:.2f}])."
    )


def _cause_text(data: Data, pair: ConfusedPair) -> str:
    parts = []
    for way in pair.confused:
        labelled, predicted = _group_names(data, way)
        parts.append(
            f"Of {len(way.rows):,} {labelled} predicted as {predicted}, {way.neighbours:.0%} have mostly {predicted} "
            f"among their nearest neighbours by pixels ({way.neighbours_correct:.1%} of the correct ones), and "
            f"{way.suspected / max(len(way.rows), 1):.0%} are suspected of a wrong group."
        )
    return (
        f"{' '.join(parts)} The neighbours do not depend on a network. So these errors come from label noise, or a "
        "silhouette of 28 × 28 pixels does not suffice. The same networks make the errors and name the suspected "
        "label errors, so that share does not prove label errors."
    )


def _share_figure(pair: ConfusedPair) -> go.Figure:
    table = pair.shares.iloc[::-1]
    figure = style.figure("% of the model's errors", height=140 + 34 * len(table))
    figure.add_scatter(
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
    figure.update_xaxes(range=[0, 100])
    return figure


def _garment_figure(data: Data, pair: ConfusedPair) -> go.Figure:
    table = pair.by_garment
    colours = dict(zip(data.taxonomy.groups, style.group_colours(data.taxonomy), strict=True))
    figure = style.figure("% of the garment's images", height=140 + 36 * len(table))
    figure.add_bar(
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
    figure.update_yaxes(autorange="reversed")
    return figure


def _direction_row(data: Data, way: Direction) -> Row:
    rows = way.rows[:IN_A_ROW]
    labelled, predicted = _group_names(data, way)
    return Row(
        title=f"labelled {labelled}, predicted {predicted} ({len(way.rows):,})",
        images=data.images[rows],
        notes=[f"{data.garment_name(row)} {p:.2f}" for row, p in zip(rows, way.probability, strict=False)],
        colour=style.group_colours(data.taxonomy)[way.labelled],
    )


def _area_figure(data: Data, pair: ConfusedPair) -> go.Figure:
    figure = style.figure("area under the ROC curve", height=440)
    order = pair.confused[0].measures["measure"].tolist()
    for way in pair.confused:
        table = way.measures.set_index("measure").loc[order]
        figure.add_scatter(
            x=table["auc"].round(3).tolist(),
            y=[name.split(" (")[0] for name in order],
            error_x={
                "array": (table["high"] - table["auc"]).round(3).tolist(),
                "arrayminus": (table["auc"] - table["low"]).round(3).tolist(),
            },
            mode="markers",
            name=f"labelled {data.taxonomy.groups[way.labelled]}",
            marker={"color": style.group_colours(data.taxonomy)[way.labelled], "size": 9},
            hovertemplate="%{y}: %{x:.2f}",
        )
    figure.add_vline(x=0.5, line={"color": style.NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(autorange="reversed")
    return figure


def _median_table(data: Data, pair: ConfusedPair) -> pd.DataFrame:
    tables = []
    for way in pair.confused:
        labelled, predicted = _group_names(data, way)
        table = way.measures[["measure", "correct", "confused", "other"]].copy()
        table.insert(0, "labelled, predicted", f"{labelled}, {predicted}")
        tables.append(table.rename(columns={"measure": "feature", "other": "correct, of the predicted group"}))
    return pd.concat(tables, ignore_index=True)


_SHARES = "The share of a model's errors on groups that are between {}, with 95% intervals."
_GARMENTS = "The share of each garment's images predicted as the other group, out of fold, with 95% intervals."
_CONFUSED = (
    "The most certain errors in both directions. Under each: the labelled garment and the probability of the wrong "
    "group."
)
_MEASURES = (
    "Features that predict the confusion: the probability that a confused image of a group has a larger value than a "
    "correct one, with 95% intervals. Right of the line: confused images have larger values."
)
_MEDIANS = "Medians of the features: the position of confused images between the two groups."
