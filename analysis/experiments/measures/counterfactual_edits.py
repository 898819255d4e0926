"""Counterfactual edits: the smallest change to an image that makes a network predict another group.

An edit replaces a part of the image by the same part of another image, its donor. A black donor only occludes; the
nearest image of the other group can add a sleeve or lengthen a hem. The search tries all parts, so it finds the
cheapest one. Goyal et al., "Counterfactual Visual Explanations", 2019, section 3, exchange cells of a feature map in
the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Predict = Callable[[Images], npt.NDArray[np.float32]]
"""From images uint8 [M, height, width] to the groups' logits [M, groups], such as `attribution.group_logits`."""

CELL = 4
"""Side of the grid's cells in pixels: 784 rectangles in an image of 28 x 28; 2 pixels would make 11,025."""

BATCH = 2
"""Images per forward pass, each with all its edits: some 2,000 images."""


@dataclass(frozen=True)
class Edits:
    """The smallest edits of N images to another group.

    Attributes:
        found: bool [N], whether any edit changes the prediction.
        part: int64 [N], the edited part, a row of the masks; -1 where none is found.
        cost: float64 [N], the sum of changed grey levels over 255, which is a number of pixels turned from black to
            white; NaN where none is found.
        images: uint8 [N, height, width], the edited images; unchanged where none is found.
    """

    found: Masks
    part: Indices
    cost: Values
    images: Images


def rectangles(height: int = 28, width: int = 28, cell: int = CELL, mirrored: bool = True) -> Masks:
    """Returns masks of all parts to try, bool [parts, height, width], the smallest first.

    Args:
        height: Rows.
        width: Columns.
        cell: Rectangles begin and end at multiples of it.
        mirrored: Whether each rectangle together with its mirror image is a part too, such as a pair of sleeves.
    """
    rows, columns = _intervals(height, cell), _intervals(width, cell)
    if mirrored:
        columns = np.unique(np.concatenate([columns, columns | columns[:, ::-1]]), axis=0)
    masks = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, height, width)
    return masks[np.argsort(masks.sum(axis=(1, 2)), kind="stable")]


def smallest_edits(predict: Predict, images: Images, target: Indices, donors: Images, masks: Masks) -> Edits:
    """Finds for each image the cheapest part whose replacement makes the network predict the target group.

    Args:
        predict: The network, from images to the groups' logits.
        images: uint8 [N, height, width], which the network predicts as another group than the target.
        target: int64 [N], the wanted groups.
        donors: uint8 [N, height, width], the images that parts are taken from.
        masks: bool [parts, height, width], as from `rectangles`; the first of equally cheap parts is taken.
    """
    part, cost, changed = np.full(len(images), -1), np.full(len(images), np.nan), images.copy()
    for start in range(0, len(images), BATCH):
        block = slice(start, start + BATCH)
        edited = np.where(masks[None], donors[block, None], images[block, None])
        groups = predict(edited.reshape(-1, *images.shape[1:])).argmax(axis=1).reshape(len(edited), -1)
        price = _grey_levels(images[block], donors[block], masks)
        price[groups != target[block, None]] = np.inf
        best = price.argmin(axis=1)
        for i in np.flatnonzero(np.isfinite(price.min(axis=1))):
            part[start + i], cost[start + i], changed[start + i] = best[i], price[i, best[i]], edited[i, best[i]]
    return Edits(part >= 0, part, cost, changed)


def _intervals(length: int, cell: int) -> Masks:
    """Returns masks of all runs of cells, bool [intervals, length]."""
    edges = [*range(0, length, cell), length]
    position = np.arange(length)
    return np.stack(
        [(position >= first) & (position < last) for i, first in enumerate(edges) for last in edges[i + 1 :]]
    )


def _grey_levels(images: Images, donors: Images, masks: Masks) -> Values:
    """Returns the cost of each part's replacement, float64 [N, parts]: changed grey levels over 255."""
    change = np.abs(donors.astype(np.float64) - images).reshape(len(images), -1)
    return change @ masks.reshape(len(masks), -1).T.astype(np.float64) / 255
