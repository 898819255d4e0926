"""Difficulty: errors that models share, data maps, prototypes and critics, and the most confused pair of groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.data.slicing_features import FEATURES
from analysis.exploration.data import Data
from analysis.exploration.difficulty import Difficulty
from analysis.exploration.drawing import confused_pair, data_maps
from analysis.exploration.shared_errors import SharedErrors
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Picture, Row, Section

IN_A_ROW = 12
ROWS = 4


def section(data: Data, difficulty: Difficulty) -> Section:
    """Tells which images are hard, for whom and why."""
    return Section(
        name="difficulty",
        title="Difficulty",
        finding="\n\n".join(
            (_errors(data, difficulty), data_maps.told(data, difficulty.map), confused_pair.told(data, difficulty.pair))
        ),
        decision=_decision(data, difficulty),
        blocks=tuple(_blocks(data, difficulty)),
    )


def _errors(data: Data, difficulty: Difficulty) -> str:
    shared = difficulty.shared
    count, tested, models = len(shared.by_all), shared.wrong.shape[1], len(shared.models)
    kappa = shared.consistency[np.triu_indices(models, 1)]
    pair = np.unravel_index(np.argmax(np.triu(shared.consistency, 1)), shared.consistency.shape)
    any_wrong = int(shared.wrong.any(axis=0).sum())
    groups = np.bincount(data.groups[data.test_rows[shared.by_all]], minlength=len(data.taxonomy.groups))
    return (
        f"Of {tested:,} test images {count:,} are put into a wrong group by all {models} models, where independent "
        f"errors would leave {shared.expected[-1]:.2g}; {tested - any_wrong:,} ({1 - any_wrong / tested:.0%}) are "
        f"right for every one. {data.taxonomy.groups[groups.argmax()]} is the given group of {groups.max():,} of the "
        f"{count:,}, and {difficulty.suspects_of_all:,} are suspected of a wrong group. Beyond chance, the models "
        f"agree on what is hard with a kappa of {kappa.min():.2f} to {kappa.max():.2f}, most so "
        f"{shared.models[pair[0]]} and {shared.models[pair[1]]}: part of the difficulty lies in the images, whatever "
        "looks at them."
    )


def _decision(data: Data, difficulty: Difficulty) -> str:
    one, other = (data.taxonomy.groups[group] for group in difficulty.pair.groups)
    return (
        f"So we watch the F1 of {other} beside the accuracy, and slice the evaluation by what an image looks like: of "
        f"the measures it slices by, {_telling(difficulty)} tell most about where {other} and {one} are mistaken. The "
        "exported model may abstain: where it cannot tell, its prediction set holds both groups instead of a guess."
    )


def _telling(difficulty: Difficulty) -> str:
    """Names the two measures that the evaluation slices by and that separate confused images from safe ones best."""
    both = pd.concat([way.measures for way in difficulty.pair.directions])
    names = both["measure"].str.split(" (", regex=False).str[0]
    strength = (both["auc"] - 0.5).abs().groupby(names).mean()
    known = {feature.column.rsplit("_", 1)[0] for feature in FEATURES}
    sliced = strength[[name.removesuffix(" coverage") in known for name in strength.index]]
    return " and ".join(str(name) for name in sliced.sort_values(ascending=False).index[:2])


def _blocks(data: Data, difficulty: Difficulty) -> Iterator[Block]:
    shared = difficulty.shared
    yield Picture("errors-shared", _counts(shared), _SHARED, documented=True)
    yield Picture(
        "errors-consistency", style.matrix(shared.consistency.round(3).tolist(), shared.models, ".2f"), _KAPPA
    )
    yield Gallery("errors-of-all", _rows_of_all(data, shared), _ALL, documented=True)
    yield from data_maps.blocks(data, difficulty.map)
    yield Gallery("prototypes", _exemplars(data, difficulty, critics=False), _PROTOTYPES)
    yield Gallery("critics", _exemplars(data, difficulty, critics=True), _CRITICS)
    yield from confused_pair.blocks(data, difficulty.pair)


def _counts(shared: SharedErrors) -> go.Figure:
    made = style.figure("models that are wrong", "test images")
    names = list(range(len(shared.observed)))
    for name, values, colour in (
        ("observed", shared.observed, style.TEST),
        ("if errors were independent", shared.expected, style.NEUTRAL),
    ):
        made.add_bar(
            x=names, y=np.round(values, 3).tolist(), name=name, marker={"color": colour}, hovertemplate="%{y:,.3~g}"
        )
    made.update_yaxes(type="log", range=[-1, np.log10(shared.wrong.shape[1]) + 0.1], dtick=1)
    made.update_xaxes(dtick=1)
    return made


def _rows_of_all(data: Data, shared: SharedErrors) -> list[Row]:
    rows = data.test_rows[shared.by_all]
    counts = np.bincount(data.groups[rows], minlength=len(data.taxonomy.groups))
    return [
        Row(
            title=f"given {data.taxonomy.groups[group]} ({counts[group]:,})",
            images=data.images[rows[data.groups[rows] == group][:IN_A_ROW]],
            notes=[data.garment_name(row) for row in rows[data.groups[rows] == group][:IN_A_ROW]],
            colour=style.group_colours(data.taxonomy)[group],
        )
        for group in np.argsort(-counts, kind="stable")[:ROWS]
        if counts[group]
    ]


def _exemplars(data: Data, difficulty: Difficulty, critics: bool) -> list[Row]:
    colours = style.group_colours(data.taxonomy)
    return [
        Row(
            title=data.taxonomy.groups[group],
            images=data.images[rows],
            notes=[data.garment_name(row) for row in rows],
            colour=colours[group],
        )
        for group, chosen in enumerate(difficulty.exemplars)
        if len(rows := chosen.critics if critics else chosen.prototypes)
    ]


_SHARED = (
    "How many test images so many models put into a wrong group, and how many it would be if each erred at its own "
    "rate but independently of the others; the vertical axis is logarithmic."
)
_KAPPA = "Error consistency: how far two models are right on the same test images, beyond chance (Cohen's kappa)."
_ALL = "Test images that every model puts into a wrong group, with the given garment."
_PROTOTYPES = (
    "Prototypes: training images whose features stand for all of their group, the best first (MMD-critic over the "
    "last features of a network that was not trained on them)."
)
_CRITICS = "Critics: training images that the prototypes leave unexplained, the strongest first."
