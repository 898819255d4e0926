"""What near-duplicates between the splits do to the measured accuracy, apart from lying in easy garments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.near_duplicates import Pairs
from analysis.evaluation.bootstrap import Estimate, from_examples, paired_difference
from analysis.evaluation.metrics import accuracy
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Neighbours, search

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
NEAREST, NEAREST_CLEANED = "1-nearest neighbour", "1-nearest neighbour, cleaned"
FIGURES = ("all", "near", "far", "far_as_near", "added", "gap", "fair_gap")


def effects(
    data: Data,
    neighbours: Neighbours,
    removed: npt.NDArray[np.bool_],
    answers: Mapping[str, Indices],
    near: float,
    seed: int,
) -> pd.DataFrame:
    """Compares the group accuracy on test images with a near training image and on those without.

    Garments with many look-alikes may be easy ones: `far_as_near` is the accuracy on images without one, each garment
    weighted as among the images with one (direct standardisation).

    Args:
        data: The images.
        neighbours: The nearest training images of all.
        removed: bool [N], the training images that are look-alikes of a test image.
        answers: By name of a model, the group int64 [n_test] that it gives each test image.
        near: The RMSE within which a training image is a look-alike.
        seed: Of the resamples.

    Returns:
        A row a model, those of 1-nearest neighbour with all training images and without look-alikes first: `model`, and
        for each figure its value, `..._low` and `..._high`: the accuracies `all`, `near`, `far` and `far_as_near`;
        `added`: all minus far; `gap`: near minus far; `fair_gap`: near minus far_as_near.
    """
    test, index = data.test_rows, neighbours.index
    cleaned = without_look_alikes(data, neighbours, removed)
    # `answers` may hold the nearest neighbour, too; its two rows stand together all the same.
    judged = {NEAREST: data.groups[index[test, 0]], NEAREST_CLEANED: data.groups[cleaned], **answers}
    right = np.column_stack([groups == data.groups[test] for groups in judged.values()])
    is_near = neighbours.rmse[test, 0] <= near
    cells = _cells(data.garments[test], is_near, right, len(data.taxonomy.garments))
    figures = from_examples(lambda weights: _figures(weights @ cells, right.shape[1]), len(test), RESAMPLES, seed)
    names = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
    table = np.array([[x.value, x.low, x.high] for x in figures]).reshape(len(FIGURES), len(judged), 3)
    found = pd.DataFrame(table.transpose(1, 0, 2).reshape(len(judged), -1), columns=names)
    found.insert(0, "model", list(judged))
    return found


def removal(data: Data, neighbours: Neighbours, removed: npt.NDArray[np.bool_], seed: int) -> Estimate:
    """Estimates what taking training images out, bool [N], adds to the group accuracy of 1-nearest neighbour."""
    test, groups = data.test_rows, data.groups
    before = groups[neighbours.index[test, 0]]
    after = groups[without_look_alikes(data, neighbours, removed)]
    return paired_difference(accuracy, groups[test], after, before, len(data.taxonomy.groups), RESAMPLES, seed)


def look_alikes(data: Data, pairs: Pairs, near: float) -> npt.NDArray[np.bool_]:
    """Marks the training images that are within `near` of a test image, bool [N]."""
    within, marked = pairs.within(near), np.zeros(len(data), bool)
    across = data.test[within.first] != data.test[within.second]
    marked[within.first[across]] = marked[within.second[across]] = True
    return marked & ~data.test


def without_look_alikes(data: Data, neighbours: Neighbours, removed: npt.NDArray[np.bool_]) -> Indices:
    """Returns the nearest training image that is not removed of every test image, int64 [n_test]."""
    test = data.test_rows
    index = neighbours.index[test]
    kept = ~removed[index]
    nearest = index[np.arange(len(test)), kept.argmax(axis=1)].astype(np.int64)
    if len(lost := np.flatnonzero(~kept.any(axis=1))):
        known = np.flatnonzero(~data.test & ~removed)
        nearest[lost] = known[search(data.pixels[test[lost]], data.pixels[known], 1)[0][:, 0]]
    return nearest


def _cells(garments: Indices, near: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], count: int) -> Values:
    """Returns float64 [n, (1 + models) * 2 * count]: what an image adds to its cell, and to each model's hits there.

    A cell is a garment, far or near.
    """
    cell = np.zeros((len(garments), 2 * count))
    cell[np.arange(len(garments)), garments + count * near] = 1
    hits = [cell * right[:, model, None] for model in range(right.shape[1])]
    return np.concatenate([cell, *hits], axis=1)


def _figures(sums: Values, models: int) -> Values:
    """Turns sums of cells [R, (1 + models) * 2 * garments] into [R, figures * models], in the order of FIGURES."""
    cells = sums.reshape(len(sums), 1 + models, 2, -1)
    images, hits = cells[:, :1], cells[:, 1:]
    everything = _ratio(hits.sum(axis=(2, 3)), images.sum(axis=(2, 3)))
    far, near = (_ratio(hits[:, :, side].sum(axis=2), images[:, :, side].sum(axis=2)) for side in (0, 1))
    # A garment that lacks one side says nothing about the difference.
    shared = np.where((images[:, :, 0] > 0) & (images[:, :, 1] > 0), images[:, :, 1], 0)
    rates = [np.nan_to_num(_ratio(hits[:, :, side], images[:, :, side])) for side in (0, 1)]
    far_as_near, near_shared = (_ratio((rate * shared).sum(axis=2), shared.sum(axis=2)) for rate in rates)
    found = [everything, near, far, far_as_near, everything - far, near - far, near_shared - far_as_near]
    return np.concatenate(found, axis=1)


def _ratio(part: Values, whole: Values) -> Values:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
