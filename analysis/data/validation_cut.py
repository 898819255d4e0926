"""Cutting a split from images: stratified by class, and no near-duplicates on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def cut_validation(
    garments: Indices, clusters: Indices, share: float, seed: int, names: Sequence[str] | None = None
) -> npt.NDArray[np.bool_]:
    """Chooses the images of a split, validation's for example.

    Whole clusters are taken in random order as long as every class they hold still has room; images on their own then
    fill each class to its quota exactly. A class misses its quota only where no remaining cluster is small enough.

    Args:
        garments: int64 [N], the class of each image.
        clusters: int64 [N], the near-duplicate cluster of each image, -1 for none.
        share: The share of every class to take, in (0, 1).
        seed: Of the random order.
        names: Of the images, the same for the same content. With them, the order is that of a hash of each name, which
            no other image changes: when images are added, few of the old ones change sides. Defaults to none.

    Returns:
        bool [N], True for the chosen images.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(garments), bool)
    room = np.rint(np.bincount(garments) * share).astype(np.int64)
    units = _clustered_units(clusters)
    alone = [np.array([index]) for index in np.flatnonzero(clusters < 0)]
    everything = units + alone
    # One random order over clusters and lone images: a cluster is as likely to be drawn as any image.
    order = rng.permutation(len(everything)) if names is None else _by_name(everything, names, seed)
    for position in order:
        unit = everything[position]
        needed = np.bincount(garments[unit], minlength=len(room))
        if (needed <= room).all():
            chosen[unit] = True
            room -= needed
    return chosen


def _by_name(units: Sequence[Indices], names: Sequence[str], seed: int) -> list[int]:
    """The order of the hashes of the units' first names."""
    first = [f"{seed}/{min(names[index] for index in unit)}" for unit in units]
    return sorted(range(len(units)), key=lambda position: hashlib.sha256(first[position].encode()).digest())


def _clustered_units(clusters: Indices) -> list[Indices]:
    members = np.flatnonzero(clusters >= 0)
    members = members[np.argsort(clusters[members], kind="stable")]
    return np.split(members, np.flatnonzero(np.diff(clusters[members])) + 1) if len(members) else []
