"""The section on difficult images, with prototypes and critics of each group.

Kim, Khanna and Koyejo, "Examples are not Enough, Learn to Criticize! Criticism for Interpretability", 2016: both are
chosen greedily, by the maximum mean discrepancy between the prototypes and all images of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.slicing_features import FEATURES
from analysis.exploration.confused_pair import MEASURES, ConfusedPair, confusion_text, measure_pair, pair_blocks
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.data_maps import DataMap, map_blocks, map_data, map_text
from analysis.exploration.neighbours import Neighbours
from analysis.exploration.shared_errors import SharedErrors, compare_errors, error_blocks, errors_text
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Gallery, Row, Section

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

SAMPLE = 1200
"""Images of a group from which its prototypes are chosen: the kernel of 1,200 takes 11 MB."""
EXEMPLARS = 8
SEED = 0


@dataclass(frozen=True)
class Difficulty:
    """Measurements of difficult images.

    Attributes:
        shared: The models' errors on the groups of the test images.
        suspected_of_all: How many of the test images that every model misclassifies are suspected of a wrong group.
        map: The data map of the training images.
        exemplars: Of each group, by rows of Data.
        pair: The two groups that are confused most.
    """

    shared: SharedErrors
    suspected_of_all: int
    map: DataMap
    exemplars: tuple[Exemplars, ...]
    pair: ConfusedPair


def measure(
    data: Data,
    neighbours: Neighbours,
    out_of_fold: OutOfFold,
    predictions: Mapping[str, Indices],
    suspected: Indices,
) -> Difficulty:
    """Measures which images are difficult, and why.

    Args:
        data: The images.
        neighbours: The nearest training images of every image.
        out_of_fold: Out-of-fold predictions of networks.
        predictions: For each model, the predicted groups of the test images, int64 [n_test].
        suspected: int64, rows of Data suspected of a wrong group.
    """
    shared = compare_errors(predictions, data.groups[data.test_rows])
    return Difficulty(
        shared=shared,
        suspected_of_all=int(np.isin(data.test_rows[shared.by_all], suspected).sum()),
        map=map_data(data, out_of_fold),
        exemplars=tuple(_exemplars(data, out_of_fold, group) for group in range(len(data.taxonomy.groups))),
        pair=measure_pair(data, neighbours, out_of_fold, predictions, suspected),
    )


def _exemplars(data: Data, out_of_fold: OutOfFold, group: int) -> Exemplars:
    """Chooses among images of fold 0, whose features come from a network that was not trained on them."""
    rows = data.train_rows[(out_of_fold.fold == 0) & (data.groups[data.train_rows] == group)]
    rows = np.random.default_rng(SEED).permutation(rows)[:SAMPLE]
    chosen = choose_exemplars(out_of_fold.features[rows], EXEMPLARS)
    return Exemplars(rows[chosen.prototypes], rows[chosen.critics])


@dataclass(frozen=True)
class Exemplars:
    """Prototypes, the best first, and critics, the strongest first, of one group: rows, int64."""

    prototypes: Indices
    critics: Indices


def choose_exemplars(features: Floats, count: int) -> Exemplars:
    """Chooses `count` prototypes and as many critics.

    The kernel is Gaussian, its width the median distance. Critics are where the density of all images and that of the
    prototypes differ most; the determinant of their kernel matrix keeps them apart, as in the paper.

    Args:
        features: float32 [n, F]; n x n values must fit into memory.
        count: The number of each; at most half of n.
    """
    kernel = _gaussian(features.astype(np.float64))
    count = min(count, len(kernel) // 2)
    prototypes = _prototypes(kernel, count)
    witness = np.abs(kernel.mean(axis=0) - kernel[prototypes].mean(axis=0))
    witness[prototypes] = -np.inf
    return Exemplars(prototypes, _critics(kernel, witness, count))


def _gaussian(features: Values) -> Values:
    lengths = (features**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths[None] - 2 * features @ features.T, 0)
    return np.exp(-squares / max(float(np.median(squares)), 1e-12))


def _prototypes(kernel: Values, count: int) -> Indices:
    """Adds, one at a time, the image that brings the prototypes' mean embedding closest to that of all images."""
    to_all, to_chosen = kernel.mean(axis=0), np.zeros(len(kernel))
    chosen: list[int] = []
    for size in range(1, count + 1):
        gain = 2 * to_all - (2 * to_chosen + np.diagonal(kernel)) / size
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        to_chosen += kernel[chosen[-1]]
    return np.array(chosen, np.int64)


def _critics(kernel: Values, witness: Values, count: int) -> Indices:
    """Adds, one at a time, the image with the largest witness plus gain in the logarithm of the determinant."""
    chosen: list[int] = []
    left = np.diagonal(kernel).copy()
    factor = np.zeros((0, len(kernel)))
    for _ in range(count):
        gain = witness + np.log(np.maximum(left, 1e-12))
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        row = (kernel[chosen[-1]] - factor[:, chosen[-1]] @ factor) / np.sqrt(max(left[chosen[-1]], 1e-12))
        factor, left = np.vstack([factor, row]), left - row**2
    return np.array(chosen, np.int64)


def section(data: Data, difficulty: Difficulty) -> Section:
    """Returns the section "Difficulty"."""
    return Section(
        name="difficulty",
        title="Difficulty",
        finding="\n\n".join(
            (
                errors_text(data, difficulty.shared, difficulty.suspected_of_all),
                map_text(data, difficulty.map),
                confusion_text(data, difficulty.pair),
            )
        ),
        decision=_decision(data, difficulty),
        blocks=tuple(_blocks(data, difficulty)),
    )


def _decision(data: Data, difficulty: Difficulty) -> str:
    other = data.taxonomy.groups[difficulty.pair.groups[1]]
    if not difficulty.pair.confused:
        return (
            "So we report the F1 of every group as well as the accuracy, and slice the evaluation by image features. "
            "The exported model may abstain where it is uncertain."
        )
    return (
        f"So we report the F1 of {other} as well as the accuracy, and slice the evaluation by image features. Of "
        f"these, {_strongest_features(difficulty)} separate confused from correct images best. The exported model may "
        "abstain: where it is uncertain, its prediction set contains both groups."
    )


def _strongest_features(difficulty: Difficulty) -> str:
    """Returns the two features of the evaluation's slices that separate confused from correct images best."""
    both = pd.concat([way.measures for way in difficulty.pair.confused])
    names = both["measure"].str.split(" (", regex=False).str[0]
    strength = (both["auc"] - 0.5).abs().groupby(names).mean()
    sliced_by = {feature.measure for feature in FEATURES}
    known = {name.split(" (")[0] for name, measure in MEASURES.items() if measure in sliced_by}
    sliced = strength[[name in known for name in strength.index]]
    return " and ".join(str(name) for name in sliced.sort_values(ascending=False).index[:2])


def _blocks(data: Data, difficulty: Difficulty) -> Iterator[Block]:
    yield from error_blocks(data, difficulty.shared)
    yield from map_blocks(data, difficulty.map)
    yield Gallery("prototypes", _exemplar_rows(data, difficulty, critics=False), _PROTOTYPES)
    yield Gallery("critics", _exemplar_rows(data, difficulty, critics=True), _CRITICS)
    yield from pair_blocks(data, difficulty.pair)


def _exemplar_rows(data: Data, difficulty: Difficulty, critics: bool) -> list[Row]:
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


_PROTOTYPES = (
    "Prototypes: training images whose features represent all of their group, the best first (MMD-critic on the last "
    "features of a network that was not trained on them)."
)
_CRITICS = "Critics: training images that the prototypes do not represent, the strongest first."
