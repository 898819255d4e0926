"""Which images are hard, for whom and why: shared errors, data maps, prototypes and critics, the most confused pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.exploration.confused_pair import ConfusedPair, look_into
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.data_maps import DataMap, map_data
from analysis.exploration.neighbours import Neighbours
from analysis.exploration.prototypes import Exemplars, choose_exemplars
from analysis.exploration.shared_errors import SharedErrors, share_errors

SAMPLE = 1200
"""Images of a group that its prototypes are chosen for: the kernel of 1,200 takes 11 MB."""
EXEMPLARS = 8
SEED = 0


@dataclass(frozen=True)
class Difficulty:
    """What is hard.

    Attributes:
        shared: The models' errors on the groups of the test images.
        suspects_of_all: How many test images that every model gets wrong are suspected of a wrong group.
        map: Where the training images lie between easy and hard.
        exemplars: Of each group, by rows of Data.
        pair: The two groups that are confused most.
    """

    shared: SharedErrors
    suspects_of_all: int
    map: DataMap
    exemplars: tuple[Exemplars, ...]
    pair: ConfusedPair


def measure(
    data: Data,
    neighbours: Neighbours,
    out_of_fold: OutOfFold,
    answers: Mapping[str, Indices],
    suspects: Indices,
) -> Difficulty:
    """Looks for what is hard.

    Args:
        data: The images.
        neighbours: The nearest training images of every image.
        out_of_fold: The answers of networks that were not trained on the image.
        answers: For each model, the groups int64 [n_test] that it gives the test images.
        suspects: int64, rows of Data suspected of a wrong group.
    """
    shared = share_errors(answers, data.groups[data.test_rows])
    return Difficulty(
        shared=shared,
        suspects_of_all=int(np.isin(data.test_rows[shared.by_all], suspects).sum()),
        map=map_data(data, out_of_fold),
        exemplars=tuple(_exemplars(data, out_of_fold, group) for group in range(len(data.taxonomy.groups))),
        pair=look_into(data, neighbours, out_of_fold, answers, suspects),
    )


def _exemplars(data: Data, out_of_fold: OutOfFold, group: int) -> Exemplars:
    """Chooses among images of fold 0, whose features come from a network that was not trained on them."""
    rows = data.train_rows[(out_of_fold.fold == 0) & (data.groups[data.train_rows] == group)]
    rows = np.random.default_rng(SEED).permutation(rows)[:SAMPLE]
    chosen = choose_exemplars(out_of_fold.features[rows], EXEMPLARS)
    return Exemplars(rows[chosen.prototypes], rows[chosen.critics])
