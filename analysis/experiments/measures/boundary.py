"""The smallest change that makes a network answer another group: where in the picture the boundary runs.

A part of the picture is replaced by the same part of another one, its donor. With a black donor that is an occlusion,
which can only take away; with the nearest image of the other group it can add a sleeve or lengthen a hem. All parts are
tried, so that what is found is the smallest there is. Goyal et al., "Counterfactual Visual Explanations", 2019,
section 3, exchange cells of a feature map in the same way.
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
Answer = Callable[[Images], npt.NDArray[np.float32]]
"""From images uint8 [M, height, width] to the groups' logits [M, groups]: `saliency.group_logits` of some
network."""

CELL = 4
"""Pixels a side of the grid that parts lie on: 784 rectangles of 28 x 28 pixels; with 2 there were 11,025."""

AT_ONCE = 2
"""Images whose parts are tried in one pass: some 2,000 pictures."""


@dataclass(frozen=True)
class Flip:
    """The smallest changes of N images to another group.

    Attributes:
        found: bool [N], whether any part flips the answer.
        part: int64 [N], which one, a row of the masks; -1 where none does.
        cost: float64 [N], the grey levels changed, over 255: as many pixels from black to white; NaN where none does.
        images: uint8 [N, height, width], the changed images; unchanged where none does.
    """

    found: Masks
    part: Indices
    cost: Values
    images: Images

    def change(self, images: Images) -> npt.NDArray[np.int16]:
        """Returns how many grey levels were added to each pixel of the images, int16 [N, height, width]."""
        return self.images.astype(np.int16) - images


def rectangles(height: int = 28, width: int = 28, cell: int = CELL, mirrored: bool = True) -> Masks:
    """Returns the parts that are tried, bool [parts, height, width], the smallest first.

    Args:
        height: Rows.
        width: Columns.
        cell: Rectangles begin and end at multiples of it.
        mirrored: Whether rectangles together with their mirror images are parts too, as sleeves come in twos.
    """
    rows, columns = _intervals(height, cell), _intervals(width, cell)
    if mirrored:
        columns = np.unique(np.concatenate([columns, columns | columns[:, ::-1]]), axis=0)
    masks = (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, height, width)
    return masks[np.argsort(masks.sum(axis=(1, 2)), kind="stable")]


def smallest_flip(answer: Answer, images: Images, to: Indices, donors: Images, masks: Masks) -> Flip:
    """Finds for each image the cheapest part whose replacement makes the network answer a given group.

    Args:
        answer: The network's answers: images to the groups' logits.
        images: uint8 [N, height, width], which the network takes for another group than `to`.
        to: int64 [N], the group wanted.
        donors: uint8 [N, height, width], what parts are replaced by.
        masks: bool [parts, height, width], as of `rectangles`; of equally cheap parts the first is taken.
    """
    part, cost, changed = np.full(len(images), -1), np.full(len(images), np.nan), images.copy()
    for start in range(0, len(images), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        edited = np.where(masks[None], donors[block, None], images[block, None])
        answers = answer(edited.reshape(-1, *images.shape[1:])).argmax(axis=1).reshape(len(edited), -1)
        price = _grey_levels(images[block], donors[block], masks)
        price[answers != to[block, None]] = np.inf
        best = price.argmin(axis=1)
        for place in np.flatnonzero(np.isfinite(price.min(axis=1))):
            row = start + place
            part[row], cost[row], changed[row] = best[place], price[place, best[place]], edited[place, best[place]]
    return Flip(part >= 0, part, cost, changed)


def nearest_donors(
    queries: npt.NDArray[np.float32],
    known: npt.NDArray[np.float32],
    known_images: Images,
    known_groups: Indices,
    to: Indices,
) -> Images:
    """Returns the nearest training image of the wanted group for each image, uint8 [N, height, width].

    Args:
        queries: float32 [N, F], features or pixels of the images.
        known: float32 [M, F], the same of the training images.
        known_images: uint8 [M, height, width].
        known_groups: int64 [M]; -1 leaves an image out, as should be done with those that the network itself takes for
            another group: the nearest ones often are, and no part of such a donor flips anything.
        to: int64 [N], the group wanted; the training images have some of each.
    """
    from analysis.exploration.neighbours import search

    donors = np.empty((len(queries), *known_images.shape[1:]), np.uint8)
    for group in np.unique(to):
        asked, members = np.flatnonzero(to == group), np.flatnonzero(known_groups == group)
        rows, _ = search(queries[asked], known[members], 1)
        donors[asked] = known_images[members[rows[:, 0]]]
    return donors


def _intervals(length: int, cell: int) -> Masks:
    """Returns bool [intervals, length]: all runs of cells."""
    edges = [*range(0, length, cell), length]
    place = np.arange(length)
    return np.stack([(place >= first) & (place < last) for i, first in enumerate(edges) for last in edges[i + 1 :]])


def _grey_levels(images: Images, donors: Images, masks: Masks) -> Values:
    """Returns what each part's replacement changes, float64 [N, parts], in grey levels over 255."""
    change = np.abs(donors.astype(np.float64) - images).reshape(len(images), -1)
    return change @ masks.reshape(len(masks), -1).T.astype(np.float64) / 255
