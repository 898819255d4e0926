"""The two groups that are taken for each other most often: which garments, what the images look like, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.slicing_features import INK_THRESHOLD, brightness, elongation, ink_coverage, symmetry, taper
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Neighbours
from analysis.exploration.shares import wilson
from models.probabilities import softmax

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

SIDE = 7
"""Columns at either side that sleeves reach into and a dress without sleeves does not."""


def side_ink(images: Images) -> Values:
    """Returns the share of each garment's pixels in the outer quarters of the picture, in [0, 1]."""
    ink = images >= INK_THRESHOLD
    outer = ink[:, :, :SIDE].sum(axis=(1, 2)) + ink[:, :, -SIDE:].sum(axis=(1, 2))
    return outer / np.maximum(ink.sum(axis=(1, 2)), 1)


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


def look_into(
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
        shares=_shares(data, found, answers, pair),
        by_garment=_by_garment(data, garments, found, pair),
        directions=(first, second),
    )


def most_confused(truth: Indices, found: Indices, group_of: tuple[int, ...]) -> tuple[int, int]:
    """Returns the two groups with the most errors between them, the one of more garments first."""
    count = max(group_of) + 1
    table = np.bincount(truth * count + found, minlength=count * count).reshape(count, count)
    both = np.triu(table + table.T, 1)
    one, other = divmod(int(both.argmax()), count)
    return (one, other) if group_of.count(one) >= group_of.count(other) else (other, one)


def separation(confused: Values, safe: Values) -> tuple[float, float, float]:
    """Returns the probability that a confused image has more of a measure than a safe one, and its 95% interval.

    The area under the ROC curve, ties counting half, with the standard error of Hanley and McNeil, 1982.
    """
    from scipy.stats import rankdata

    n, m = len(confused), len(safe)
    if not n or not m:
        return float("nan"), float("nan"), float("nan")
    ranks = rankdata(np.concatenate([confused, safe]))[:n]
    area = (ranks.sum() - n * (n + 1) / 2) / (n * m)
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (two - area**2)) / (n * m)
    half = 1.96 * np.sqrt(max(variance, 0.0))
    return float(area), float(max(area - half, 0)), float(min(area + half, 1))


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
        neighbours=_share(mostly[rows[confused]]),
        neighbours_safe=_share(mostly[rows[safe]]),
        suspects=int(np.isin(rows[confused], suspects).sum()),
        measures=_compare(*(data.images[rows[place]] for place in (confused, safe, other))),
    )


def _compare(confused: Images, safe: Images, other: Images) -> pd.DataFrame:
    rows = []
    for name, measure in MEASURES.items():
        values = [measure(images) if len(images) else np.empty(0) for images in (confused, safe, other)]
        medians = [float(np.median(found)) if len(found) else float("nan") for found in values]
        rows.append((name, *medians, *separation(values[0], values[1])))
    table = pd.DataFrame(rows, columns=["measure", "confused", "safe", "other", "auc", "low", "high"])
    return table.sort_values("auc", key=lambda auc: -(auc - 0.5).abs(), kind="stable", ignore_index=True)


def _shares(data: Data, found: Indices, answers: Mapping[str, Indices], pair: tuple[int, int]) -> pd.DataFrame:
    judged = [("small networks", "training, out of fold", data.groups[data.train_rows], found)]
    judged += [(name, "test", data.groups[data.test_rows], groups) for name, groups in answers.items()]
    rows = []
    for name, on, truth, groups in judged:
        if len(np.unique(groups)) < 2:
            continue
        wrong = truth != groups
        between = wrong & np.isin(truth, pair) & np.isin(groups, pair)
        errors, count = int(wrong.sum()), int(between.sum())
        low, high = wilson(count, errors)
        rows.append((name, on, errors, count, count / max(errors, 1), float(low), float(high)))
    return pd.DataFrame(rows, columns=["model", "on", "errors", "between", "share", "low", "high"])


def _by_garment(data: Data, garments: Values, found: Indices, pair: tuple[int, int]) -> pd.DataFrame:
    taxonomy, truth = data.taxonomy, data.garments[data.train_rows]
    rows = []
    for given, taken in (pair, pair[::-1]):
        for garment in taxonomy.members(given):
            confused = (truth == garment) & (found == taken)
            count, images = int(confused.sum()), int((truth == garment).sum())
            low, high = wilson(count, images)
            # Of the garments of the other group: the sum over them is what was more probable than the given group.
            others = np.array(taxonomy.members(taken))
            favourite = others[np.bincount(garments[confused][:, others].argmax(axis=1), minlength=1).argmax()]
            names = taxonomy.garments[garment], taxonomy.groups[given]
            taken_for = taxonomy.garments[favourite] if count else ""
            rows.append((*names, images, count, count / max(images, 1), float(low), float(high), taken_for))
    return pd.DataFrame(rows, columns=["garment", "group", "images", "confused", "share", "low", "high", "taken"])


def _share(marked: npt.NDArray[np.bool_]) -> float:
    return float(marked.mean()) if len(marked) else 0.0
