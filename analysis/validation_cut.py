"""Cutting a validation split from the training images: stratified by class, and no near-duplicates on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def cut_validation(garments: Indices, clusters: Indices, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Chooses the images of the validation split.

    Whole clusters are taken in random order as long as every class they hold still has room; images on their own then
    fill each class to its quota exactly. A class misses its quota only where no remaining cluster is small enough.

    Args:
        garments: int64 [N], the class of each image.
        clusters: int64 [N], the near-duplicate cluster of each image, -1 for none.
        share: The share of every class to take, in (0, 1).
        seed: Of the random order.

    Returns:
        bool [N], True for validation.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(garments), bool)
    room = np.rint(np.bincount(garments) * share).astype(np.int64)
    units = _clustered_units(clusters)
    alone = [np.array([index]) for index in np.flatnonzero(clusters < 0)]
    everything = units + alone
    # One random order over clusters and lone images: a cluster is as likely to be drawn as any image.
    for position in rng.permutation(len(everything)):
        unit = everything[position]
        needed = np.bincount(garments[unit], minlength=len(room))
        if (needed <= room).all():
            chosen[unit] = True
            room -= needed
    return chosen


def _clustered_units(clusters: Indices) -> list[Indices]:
    members = np.flatnonzero(clusters >= 0)
    members = members[np.argsort(clusters[members], kind="stable")]
    return np.split(members, np.flatnonzero(np.diff(clusters[members])) + 1) if len(members) else []
