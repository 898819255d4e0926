"""The section on label quality: suspected label errors by garment and group, with examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.label_errors import (
    PlantedSwaps,
    SuspectedErrors,
    find_suspected_errors,
    plant_swaps,
    unseen_probabilities,
)
from analysis.exploration.label_noise import (
    accuracy_without,
    ceiling_figure,
    ceiling_text,
    noise_estimates,
    noise_table,
    without_table,
    without_text,
)
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section

Probabilities = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

HUMAN = 0.835
"""Accuracy of a crowd of people on the ten garments, https://github.com/zalandoresearch/fashion-mnist."""
IN_A_ROW = 10
ROWS = 4


@dataclass(frozen=True)
class LabelQuality:
    """Suspected label errors of both splits, and estimates of the label noise.

    Attributes:
        train_garments: Training images suspected of a wrong garment.
        train_groups: Training images suspected of a wrong group.
        test_groups: Test images suspected of a wrong group, by the mean of the networks' probabilities.
        by_garment: A row for each garment, of the training split: garment, group, images, suspected, across (suspected
            of a garment of another group), group_suspected, suggested (the garment suggested most often).
        flow: int64 [garments, garments], suspected training images, the labelled garment down, the suggested across.
        noise: As `noise_estimates` returns it. One minus the share is the ceiling of the accuracy.
        excluded: As `accuracy_without` returns it.
        planted: Results of the search after garments were swapped on purpose.
        out_of_fold: float64 [2], the out-of-fold accuracy of the networks on garments and on groups.
        tested: The number of test images.
    """

    train_garments: SuspectedErrors
    train_groups: SuspectedErrors
    test_groups: SuspectedErrors
    by_garment: pd.DataFrame
    flow: Counts
    noise: pd.DataFrame
    excluded: pd.DataFrame
    planted: tuple[PlantedSwaps, ...]
    out_of_fold: Probabilities
    tested: int

    @property
    def suspected_rows(self) -> Indices:
        """The rows of Data suspected of a wrong group, of both splits, int64 ascending."""
        return np.sort(np.concatenate([self.train_groups.rows, self.test_groups.rows]))


def measure(data: Data, out_of_fold: OutOfFold, predictions: Mapping[str, Indices]) -> LabelQuality:
    """Searches both splits for wrong garments and groups.

    Args:
        data: The images.
        out_of_fold: Out-of-fold predictions of networks.
        predictions: For each model, the predicted groups of the test images, int64 [n_test].
    """
    membership = np.array(data.taxonomy.membership())
    labelled = data.garments[data.train_rows]
    probabilities = unseen_probabilities(data, out_of_fold)
    train, test = probabilities[data.train_rows], probabilities[data.test_rows]
    groups, test_groups = data.groups[data.train_rows], data.groups[data.test_rows]
    suspected_garments = find_suspected_errors(labelled, train, data.train_rows)
    suspected_groups = find_suspected_errors(groups, train @ membership, data.train_rows)
    in_test = find_suspected_errors(test_groups, test @ membership, data.test_rows)
    flow = np.zeros((len(membership), len(membership)), np.int64)
    np.add.at(flow, (data.garments[suspected_garments.rows], suspected_garments.suggested), 1)
    right = (train.argmax(axis=1) == labelled).mean(), ((train @ membership).argmax(axis=1) == groups).mean()
    return LabelQuality(
        train_garments=suspected_garments,
        train_groups=suspected_groups,
        test_groups=in_test,
        by_garment=_by_garment(data, suspected_garments, suspected_groups, flow),
        flow=flow,
        noise=noise_estimates(data, train @ membership, groups),
        excluded=accuracy_without(data, in_test.rows, predictions),
        planted=plant_swaps(data, out_of_fold),
        out_of_fold=np.array(right),
        tested=len(data.test_rows),
    )


def _by_garment(data: Data, garments: SuspectedErrors, groups: SuspectedErrors, flow: Counts) -> pd.DataFrame:
    taxonomy, group_of = data.taxonomy, np.array(data.taxonomy.group_of)
    across = np.where(group_of[:, None] != group_of[None], flow, 0).sum(axis=1)
    count = len(group_of)
    return pd.DataFrame(
        {
            "garment": taxonomy.garments,
            "group": [taxonomy.groups[group] for group in group_of],
            "images": np.bincount(data.garments[data.train_rows], minlength=count),
            "suspected": np.bincount(data.garments[garments.rows], minlength=count),
            "across": across,
            "group_suspected": np.bincount(data.garments[groups.rows], minlength=count),
            "suggested": [taxonomy.garments[row.argmax()] if row.any() else "" for row in flow],
        }
    )


def section(data: Data, quality: LabelQuality) -> Section:
    """Returns the section "Label quality"."""
    return Section(
        name="label-quality",
        title="Label quality",
        finding="\n\n".join(
            (
                _suspected_text(data, quality),
                ceiling_text(quality.noise, quality.excluded),
                without_text(quality.excluded, len(quality.test_groups.rows)),
                _planted_text(quality),
            )
        ),
        decision=_decision(quality),
        blocks=tuple(_blocks(data, quality)),
    )


def _suspected_text(data: Data, quality: LabelQuality) -> str:
    table = quality.by_garment
    suspected, across = int(table["suspected"].sum()), int(table["across"].sum())
    worst = table.iloc[(table["suspected"] / table["images"].clip(lower=1)).argmax()]
    touched = table.iloc[(table["group_suspected"] / table["images"].clip(lower=1)).argmax()]
    return (
        f"Confident learning on out-of-fold predictions suspects {suspected:,} of {len(data.train_rows):,} training "
        f"images of a wrong garment ({suspected / len(data.train_rows):.1%}). Most of these suspected label errors are "
        f"inside a group: for only {across / max(suspected, 1):.0%} the networks predict another group. "
        f"**{worst['garment']}** is suspected most often ({worst['suspected'] / max(worst['images'], 1):.0%} of its "
        f"images, most often of being {worst['suggested']}). On the groups, {len(quality.train_groups.rows):,} "
        f"training images ({len(quality.train_groups.rows) / len(data.train_rows):.2%}) and "
        f"{len(quality.test_groups.rows):,} test images ({len(quality.test_groups.rows) / len(data.test_rows):.2%}) "
        f"are suspected; {touched['garment']} has the largest share "
        f"({touched['group_suspected'] / max(touched['images'], 1):.1%}). So the regrouping removes most suspected "
        f"label errors. For comparison: a crowd of people classifies {HUMAN:.1%} of the ten garments correctly, by "
        "[Zalando's README](https://github.com/zalandoresearch/fashion-mnist); the out-of-fold accuracy of these "
        f"small networks is {quality.out_of_fold[0]:.1%}."
    )


def _planted_text(quality: LabelQuality) -> str:
    results = "; ".join(
        f"of {p.swapped} groups changed by swapping a garment for {p.kind}, the search finds {p.recall:.0%}, which are "
        f"{p.precision:.0%} of its {p.suspected} suspected images"
        for p in quality.planted
        if p.target == "group"
    )
    return (
        f"**Recall of the search.** In a copy with garments swapped on purpose: {results}. Images that were suspected "
        "before the swap count as false positives."
    )


def _decision(quality: LabelQuality) -> str:
    suspected = len(quality.test_groups.rows)
    return (
        "So we keep every label as published. Label smoothing keeps the network from learning wrong labels with "
        "certainty. We evaluate on the official test split with all of its images. Suspected label errors are shown "
        f"here and never removed: they are {suspected:,} test images ({suspected / max(quality.tested, 1):.2%}), and "
        "an accuracy without them could not be compared with published ones."
    )


def _blocks(data: Data, quality: LabelQuality) -> Iterator[Block]:
    yield Picture("suspected-errors-by-garment", _garment_figure(data, quality), _BY_GARMENT)
    names = data.taxonomy.garments
    yield Picture("suspected-errors-flow", style.matrix(quality.flow.tolist(), names, ".0f"), _FLOW)
    yield Gallery("suspected-errors-test", _direction_rows(data, quality.test_groups), _GALLERY.format("test"))
    yield Gallery("suspected-errors-training", _direction_rows(data, quality.train_groups), _GALLERY.format("training"))
    yield Picture("noise-ceiling", ceiling_figure(quality.noise, quality.excluded), _CEILING)
    yield Listing("noise-estimates", noise_table(quality.noise), _NOISE)
    yield Listing("accuracy-without-suspected-errors", without_table(quality.excluded), _EXCLUDED)
    yield Listing("planted-swaps", _planted_table(quality), _PLANTED)


def _garment_figure(data: Data, quality: LabelQuality) -> go.Figure:
    table = quality.by_garment
    colours = [style.group_colours(data.taxonomy)[group] for group in data.taxonomy.group_of]
    images = table["images"].clip(lower=1)
    figure = style.figure("% of the garment's images", height=460)
    for name, counts, opacity in (
        ("another group", table["across"], 1.0),
        ("another garment of its group", table["suspected"] - table["across"], 0.4),
    ):
        figure.add_bar(
            y=table["garment"].tolist(),
            x=(100 * counts / images).round(2).tolist(),
            orientation="h",
            name=name,
            marker={"color": colours, "opacity": opacity},
            showlegend=False,
            hovertemplate="%{y}: %{x:.2f}%",
        )
    _add_legend(figure)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_yaxes(autorange="reversed")
    return figure


def _add_legend(figure: go.Figure) -> None:
    """Adds grey legend entries: the bars of one entry have the colours of five groups."""
    red, green, blue = (int(style.NEUTRAL[start : start + 2], 16) for start in (1, 3, 5))
    for name, opacity in (("another group", 1.0), ("another garment of its group", 0.4)):
        marker = {"color": f"rgba({red},{green},{blue},{opacity})"}
        figure.add_bar(x=[None], y=[None], name=f"predicted: {name}", marker=marker)


def _direction_rows(data: Data, suspected: SuspectedErrors) -> list[Row]:
    """Returns the directions with most suspected errors, each with the most certain ones."""
    groups, count = data.taxonomy.groups, len(data.taxonomy.groups)
    way = data.groups[suspected.rows] * count + suspected.suggested
    tally = np.bincount(way, minlength=count * count)
    return [
        _direction_row(
            data,
            suspected,
            np.flatnonzero(way == chosen),
            f"labelled {groups[chosen // count]}, predicted {groups[chosen % count]}",
        )
        for chosen in np.argsort(-tally, kind="stable")[:ROWS]
        if tally[chosen]
    ]


def _direction_row(data: Data, suspected: SuspectedErrors, members: Indices, title: str) -> Row:
    first = members[:IN_A_ROW]
    labelled = data.groups[suspected.rows[first[0]]]
    return Row(
        title=f"{title} ({len(members):,})",
        images=data.images[suspected.rows[first]],
        notes=[f"{data.garment_name(suspected.rows[p])} {suspected.probability[p]:.2f}" for p in first],
        colour=style.group_colours(data.taxonomy)[labelled],
    )


def _planted_table(quality: LabelQuality) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "swapped for": p.kind,
                "searched for": f"{p.target}s",
                "images": p.images,
                "swapped": p.swapped,
                "suspected": p.suspected,
                "suspected before": p.before,
                "recall": f"{p.recall:.0%}",
                "precision": f"{p.precision:.0%}",
            }
            for p in quality.planted
        ]
    )


_BY_GARMENT = (
    "Suspected label errors of the training images by garment. Full colour: the networks predict another group. Pale: "
    "they predict another garment of the same group, which does not matter for the grouped task."
)
_FLOW = "Suspected label errors of the training split: the labelled garment down, the predicted garment across."
_GALLERY = (
    "The most certain suspected label errors of the {} split, by the most frequent directions (count in brackets). "
    "Under each image: the labelled garment and the probability of the predicted group."
)
_CEILING = (
    "Ceiling from label noise by three estimates, and the measured accuracy of models. The intervals cover chance "
    "alone; the estimates differ in their assumptions."
)
_NOISE = "Estimates of the share of wrong groups, with 95% intervals, and the assumption of each."
_EXCLUDED = (
    "Accuracy on the groups of the official test split, with and without suspected label errors. The comparison is "
    "circular, because networks name the suspected errors. The last column is their share of a model's errors."
)
_PLANTED = (
    "Garments swapped on purpose among images that the network of the features was not trained on; the last layer is "
    "fitted to the swapped labels. Images suspected before the swap count as false positives, so the precision is a "
    "lower bound."
)
