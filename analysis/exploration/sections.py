"""The whole exploration: every part measured on the prepared pieces, and its sections in the order of the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.exploration import (
    classes,
    difficulty,
    features,
    geometry,
    label_quality,
    leakage,
    learning_curves,
    shift,
)
from analysis.exploration.answers import answer
from analysis.pages.section import Listing, Section

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data.near_duplicates import Pairs
    from analysis.exploration.cross_validation import OutOfFold
    from analysis.exploration.data import Data, Indices
    from analysis.exploration.embedding import Embedding
    from analysis.exploration.neighbours import Neighbours

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Pieces:
    """What takes long, computed before.

    Attributes:
        data: The images.
        neighbours: The nearest training images of every image.
        pairs: All pairs of near-duplicates.
        out_of_fold: What networks say of training images that they were not trained on.
        curves: Errors by model and number of training images.
        embedding: Maps of test images.
        trained_groups: The groups that a trained model gives the test images, int64 [n_test]; None without a model.
    """

    data: Data
    neighbours: Neighbours
    pairs: Pairs
    out_of_fold: OutOfFold
    curves: pd.DataFrame
    embedding: Embedding
    trained_groups: Indices | None


@dataclass(frozen=True)
class Explored:
    """What every part measured."""

    data: Data
    answers: Mapping[str, Indices]
    classes: classes.ClassStatistics
    features: pd.DataFrame
    shift: shift.Shift
    geometry: geometry.Geometry
    leakage: leakage.Leakage
    label_quality: label_quality.LabelQuality
    difficulty: difficulty.Difficulty
    fits: pd.DataFrame


def explore(pieces: Pieces, seed: int, report: Report = lambda done, total, note: None) -> Explored:
    """Measures every part; half a minute for 70,000 images."""
    data, neighbours, out_of_fold = pieces.data, pieces.neighbours, pieces.out_of_fold
    report(0, 8, "models")
    answers = answer(data, neighbours, out_of_fold, pieces.trained_groups)
    report(1, 8, "classes")
    balance = classes.measure(data)
    report(2, 8, "distributions")
    table = features.measure(data)
    shifted = shift.measure(data, table)
    report(3, 8, "geometry")
    shape = geometry.measure(data, neighbours, out_of_fold.features, answers, seed)
    report(4, 8, "near-duplicates")
    leaks = leakage.measure(data, neighbours, pieces.pairs, answers, out_of_fold.features, seed)
    report(5, 8, "garments in doubt")
    quality = label_quality.measure(data, out_of_fold, answers)
    report(6, 8, "difficulty")
    hard = difficulty.measure(data, neighbours, out_of_fold, answers, quality.group_suspects)
    report(7, 8, "learning curves")
    fits = learning_curves.fit(pieces.curves, seed=seed)
    report(8, 8, "")
    return Explored(data, answers, balance, table, shifted, shape, leaks, quality, hard, fits)


def draw(pieces: Pieces, found: Explored) -> list[Section]:
    """Returns the sections in the order of the page."""
    from analysis.exploration.drawing import (
        classes,
        data_needed,
        difficulty,
        distributions,
        duplicates,
        geometry,
        label_quality,
    )

    data = pieces.data
    return [
        classes.section(data, found.classes),
        distributions.section(data, found.features, found.shift),
        geometry.section(data, found.geometry, pieces.embedding),
        duplicates.section(data, found.leakage),
        label_quality.section(data, found.label_quality),
        difficulty.section(data, found.difficulty),
        data_needed.section(data, pieces.curves, found.fits),
    ]


def to_json(section: Section) -> dict[str, Any]:
    """Returns a section's prose, captions and tables as JSON content: all but its figures and pictures."""
    return {
        "name": section.name,
        "title": section.title,
        "finding": section.finding,
        "decision": section.decision,
        "blocks": [
            {
                "name": block.name,
                "kind": type(block).__name__.lower(),
                "caption": block.caption,
                "documented": block.documented,
            }
            | ({"table": json.loads(block.table.to_json(orient="split"))} if isinstance(block, Listing) else {})
            for block in section.blocks
        ],
    }
