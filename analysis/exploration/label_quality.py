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
from analysis.exploration.label_errors import PlantedSwaps, SuspectedErrors, find_suspected_errors, plant_swaps
from analysis.exploration.label_noise import (
    accuracy_without,
    ceiling_figure,
    ceiling_text,
    noise_estimates,
    noise_table,
    without_table,
    without_text,
)
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section
from models.probabilities import fit_temperature, softmax

Probabilities = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

HUMAN = 0.835
"""Accuracy of a crowd on the ten garments, https://github.com/zalandoresearch/fashion-mnist."""
IN_A_ROW = 10
ROWS = 4


@dataclass(frozen=True)
class LabelQuality:
    """What confident learning says of both splits.

    Attributes:
        temperature: By which the networks' logits were divided to make their probabilities honest.
        train_garments: SuspectedErrors of the training split, as one of the garments.
        train_groups: The same, as one of the groups.
        test_garments: SuspectedErrors of the test split, by the mean of the networks' probabilities.
        test_groups: The same, as one of the groups.
        by_garment: One row a garment, of the training split: garment, group, images, suspects, across (suspects whose
            suggested garment is of another group), group_suspects, suggested (the garment named most often).
        flow: int64 [garments, garments], training suspects, the given garment down, the suggested across.
        noise: One row an estimate of the share of test images whose given group is wrong: estimate, share, low, high,
            assumes. One minus it is the accuracy that a faultless model would be measured at.
        excluded: One row a model: model, official, without (accuracy on the test images that are no group suspects),
            random (the mean when as many are left out by chance), random_sd, at_most (when as many of the model's own
            errors are left out), suspects_wrong (how many suspects the model gets wrong).
        planted: How many of garments swapped on purpose are found.
        out_of_fold: float64 [2], the share of garments and of groups that the networks get right out of fold.
        tested: How many test images there are.
    """

    temperature: float
    train_garments: SuspectedErrors
    train_groups: SuspectedErrors
    test_garments: SuspectedErrors
    test_groups: SuspectedErrors
    by_garment: pd.DataFrame
    flow: Counts
    noise: pd.DataFrame
    excluded: pd.DataFrame
    planted: tuple[PlantedSwaps, ...]
    out_of_fold: Probabilities
    tested: int

    @property
    def group_suspects(self) -> Indices:
        """The rows of Data suspected of a wrong group, of both splits, int64 ascending."""
        return np.sort(np.concatenate([self.train_groups.rows, self.test_groups.rows]))


def measure(data: Data, out_of_fold: OutOfFold, answers: Mapping[str, Indices]) -> LabelQuality:
    """Looks for wrong garments and groups in both splits.

    Args:
        data: The images.
        out_of_fold: The networks' answers.
        answers: For each model, the groups int64 [n_test] that it gives the test images.
    """
    membership = np.array(data.taxonomy.membership())
    given, test_given = data.garments[data.train_rows], data.garments[data.test_rows]
    temperature = fit_temperature(out_of_fold.logits[-1], given)
    train = softmax(out_of_fold.logits[-1] / temperature)
    test = np.mean([softmax(logits / temperature) for logits in out_of_fold.test_logits], axis=0)
    groups, test_groups = data.groups[data.train_rows], data.groups[data.test_rows]
    garment_suspects = find_suspected_errors(given, train, data.train_rows)
    group_suspects = find_suspected_errors(groups, train @ membership, data.train_rows)
    in_test = find_suspected_errors(test_groups, test @ membership, data.test_rows)
    flow = np.zeros((len(membership), len(membership)), np.int64)
    np.add.at(flow, (data.garments[garment_suspects.rows], garment_suspects.suggested), 1)
    right = (train.argmax(axis=1) == given).mean(), ((train @ membership).argmax(axis=1) == groups).mean()
    return LabelQuality(
        temperature=temperature,
        train_garments=garment_suspects,
        train_groups=group_suspects,
        test_garments=find_suspected_errors(test_given, test, data.test_rows),
        test_groups=in_test,
        by_garment=_by_garment(data, garment_suspects, group_suspects, flow),
        flow=flow,
        noise=noise_estimates(data, train @ membership, groups),
        excluded=accuracy_without(data, in_test.rows, answers),
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
            "suspects": np.bincount(data.garments[garments.rows], minlength=count),
            "across": across,
            "group_suspects": np.bincount(data.garments[groups.rows], minlength=count),
            "suggested": [taxonomy.garments[row.argmax()] if row.any() else "" for row in flow],
        }
    )


def section(data: Data, quality: LabelQuality) -> Section:
    """Tells how many garments are probably given wrongly, and what that means for the groups."""
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


def _planted_text(quality: LabelQuality) -> str:
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
    yield Picture("suspects-by-garment", _garment_figure(data, quality), _BY_GARMENT, documented=True)
    names = data.taxonomy.garments
    yield Picture("suspects-flow", style.matrix(quality.flow.tolist(), names, ".0f"), _FLOW)
    yield Gallery("suspects-test", _direction_rows(data, quality.test_groups), _GALLERY.format("test"), documented=True)
    yield Gallery("suspects-training", _direction_rows(data, quality.train_groups), _GALLERY.format("training"))
    yield Picture("noise-ceiling", ceiling_figure(quality.noise, quality.excluded), _CEILING, documented=True)
    yield Listing("noise-estimates", noise_table(quality.noise), _NOISE)
    yield Listing("accuracy-without-suspects", without_table(quality.excluded), _EXCLUDED, documented=True)
    yield Listing("planted-swaps", _planted_table(quality), _PLANTED)


def _garment_figure(data: Data, quality: LabelQuality) -> go.Figure:
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


def _direction_rows(data: Data, suspects: SuspectedErrors) -> list[Row]:
    """Returns the directions with most suspects, each with its surest ones."""
    groups, count = data.taxonomy.groups, len(data.taxonomy.groups)
    way = data.groups[suspects.rows] * count + suspects.suggested
    tally = np.bincount(way, minlength=count * count)
    return [
        _direction_row(
            data,
            suspects,
            np.flatnonzero(way == chosen),
            f"given {groups[chosen // count]}, looks like {groups[chosen % count]}",
        )
        for chosen in np.argsort(-tally, kind="stable")[:ROWS]
        if tally[chosen]
    ]


def _direction_row(data: Data, suspects: SuspectedErrors, place: Indices, title: str) -> Row:
    first = place[:IN_A_ROW]
    given = data.groups[suspects.rows[first[0]]]
    return Row(
        title=f"{title} ({len(place):,})",
        images=data.images[suspects.rows[first]],
        notes=[f"{data.garment_name(suspects.rows[p])} {suspects.probability[p]:.2f}" for p in first],
        colour=style.group_colours(data.taxonomy)[given],
    )


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
