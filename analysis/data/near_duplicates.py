"""Near-duplicate images: an exact search for all pairs, their clusters, and a validation cut that keeps them together.

Distance is the root-mean-square difference of the pixels on the scale [0, 1] (RMSE). The search has two steps: an
orthonormal projection never makes a distance longer, so a few principal components exclude all but one pair in two
thousand; the rest are measured pixel by pixel in integers. It takes seconds for 70,000 images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from analysis.data.fashion_mnist import DataError

COMPONENTS = 48
"""More components leave fewer candidates and cost more to multiply: on 70,000 images 24 took 6.7 s, 48 took 2.1 s."""

BLOCK = 512
VERIFY_BLOCK = 16_384
MAX_PAIRS = 20_000_000

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, `first < second` elementwise, with their distances.

    Attributes:
        first: int64 [P], index of one image.
        second: int64 [P], index of the other.
        rmse: float64 [P], their distance in [0, 1].
    """

    first: Indices
    second: Indices
    rmse: npt.NDArray[np.float64]

    def save(self, directory: Path) -> None:
        """Writes `pairs.npz`."""
        np.savez_compressed(directory / "pairs.npz", first=self.first, second=self.second, rmse=self.rmse)

    @classmethod
    def load(cls, directory: Path) -> Pairs:
        """Reads what `save` wrote."""
        with np.load(directory / "pairs.npz") as content:
            return cls(content["first"], content["second"], content["rmse"])

    def within(self, rmse: float) -> Pairs:
        """Returns the pairs at most `rmse` apart."""
        keep = self.rmse <= rmse
        return Pairs(self.first[keep], self.second[keep], self.rmse[keep])

    def among(self, members: npt.NDArray[np.bool_]) -> Pairs:
        """Returns the pairs whose images are both marked in the bool [N]."""
        keep = members[self.first] & members[self.second]
        return Pairs(self.first[keep], self.second[keep], self.rmse[keep])


def close_pairs(images: npt.NDArray[np.uint8], rmse: float) -> Pairs:
    """Finds every pair of images at most `rmse` apart.

    Args:
        images: uint8 [N, ...].
        rmse: The bound, on the pixel scale [0, 1].

    Raises:
        DataError: There are more than 20 million pairs: the bound is too large for near-duplicates.
    """
    flat = images.reshape(len(images), -1)
    found: list[tuple[Indices, Indices, npt.NDArray[np.float64]]] = []
    count = 0
    for first, second in _candidates(flat, rmse):
        distance = _exact_rmse(flat, first, second)
        keep = distance <= rmse
        found.append((first[keep], second[keep], distance[keep]))
        count += int(keep.sum())
        if count > MAX_PAIRS:
            raise DataError(
                f"Too many images are within RMSE {rmse:g} of each other.",
                expected=f"at most {MAX_PAIRS:,} pairs of near-duplicates",
                received=f"{count:,} pairs in a part of the images",
            )
    return _sorted_pairs(found)


def cluster(count: int, pairs: Pairs) -> Indices:
    """Chains pairs into clusters: int64 [count], the cluster of each image, -1 for an image without a pair.

    Clusters are numbered in the order of their first images.
    """
    graph = coo_matrix((np.ones(len(pairs.first)), (pairs.first, pairs.second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first, inverse, size = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
    rank = np.full(len(first), -1)
    large = np.flatnonzero(size > 1)
    rank[large[np.argsort(first[large])]] = np.arange(len(large))
    return rank[inverse].astype(np.int64)


def count_partners(count: int, pairs: Pairs, counted: npt.NDArray[np.bool_]) -> Indices:
    """Counts each image's partners in the pairs.

    Args:
        count: The number of images.
        pairs: Pairs of them.
        counted: bool [count], True for the images that count as partners.

    Returns:
        int64 [count].
    """
    partners = np.zeros(count, np.int64)
    np.add.at(partners, pairs.first, counted[pairs.second])
    np.add.at(partners, pairs.second, counted[pairs.first])
    return partners


def cut_validation(
    garments: Indices, clusters: Indices, share: float, seed: int, names: Sequence[str] | None = None
) -> npt.NDArray[np.bool_]:
    """Chooses the images of a split, such as validation: stratified by class, never part of a cluster.

    Clusters and single images are drawn in one random order; each is taken as long as every class in it has room. A
    class misses its quota only when no remaining cluster is small enough.

    Args:
        garments: int64 [N], the class of each image.
        clusters: int64 [N], the near-duplicate cluster of each image, -1 for none.
        share: The share of every class to take, in (0, 1).
        seed: The seed of the random order.
        names: Names of the images, the same for the same content. With names, the order is that of a hash of each name,
            which no other image changes: when images are added, few of the old ones change sides. Defaults to none.

    Returns:
        bool [N], True for the chosen images.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(garments), bool)
    room = np.rint(np.bincount(garments) * share).astype(np.int64)
    units = _clustered_units(clusters)
    single = [np.array([index]) for index in np.flatnonzero(clusters < 0)]
    candidates = units + single
    # One random order over clusters and single images: a cluster is as likely to be drawn as any image.
    order = rng.permutation(len(candidates)) if names is None else _by_name(candidates, names, seed)
    for position in order:
        unit = candidates[position]
        needed = np.bincount(garments[unit], minlength=len(room))
        if (needed <= room).all():
            chosen[unit] = True
            room -= needed
    return chosen


def _candidates(flat: npt.NDArray[np.uint8], rmse: float) -> Iterator[tuple[Indices, Indices]]:
    """Yields index pairs whose projections are within the bound, a block of images at a time."""
    projected = _project(flat)
    # Sorted by the first component, every partner of a block lies in a window of rows: a third of the product remains.
    order = np.argsort(projected[:, 0], kind="stable")
    projected = projected[order]
    bound = rmse * np.sqrt(flat.shape[1])
    squares = np.einsum("ij,ij->i", projected, projected)
    # float32 rounds products of norms up to `squares.max()`; the margin keeps every true pair a candidate.
    limit = bound**2 * (1 + 1e-4) + 1e-5 * max(1.0, float(squares.max(initial=0.0)))
    ones = np.ones_like(squares)
    left = np.column_stack([-2 * projected, squares, ones])
    right = np.ascontiguousarray(np.column_stack([projected, ones, squares]).T)
    for start in range(0, len(flat), BLOCK):
        end = min(start + BLOCK, len(flat))
        stop = int(np.searchsorted(projected[:, 0], projected[end - 1, 0] + np.sqrt(limit), side="right"))
        near = np.flatnonzero(left[start:end] @ right[:, start:stop] <= limit)
        row, column = near // (stop - start), near % (stop - start)
        later = row < column
        yield order[row[later] + start], order[column[later] + start]


def _project(flat: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Returns float32 [N, components]: nearly the principal components of the pixels in [0, 1].

    Any orthonormal basis is right, a good one is fast: subspace iteration (Halko et al., 2011, arXiv:0909.4061) on
    every seventh image finds one in a tenth of the time of a full decomposition.
    """
    scaled = flat.astype(np.float32) / 255
    scaled -= scaled.mean(axis=0)
    step = 7 if len(flat) > 7 * flat.shape[1] else 1
    covariance = (scaled[::step].T @ scaled[::step]).astype(np.float64)
    basis = np.random.default_rng(0).normal(size=(len(covariance), min(COMPONENTS, len(covariance))))
    for _ in range(3):
        basis, _ = np.linalg.qr(covariance @ basis)
    return (scaled @ basis.astype(np.float32)).astype(np.float32, copy=False)


def _exact_rmse(flat: npt.NDArray[np.uint8], first: Indices, second: Indices) -> npt.NDArray[np.float64]:
    squares = np.empty(len(first), np.int64)
    for start in range(0, len(first), VERIFY_BLOCK):
        part = slice(start, start + VERIFY_BLOCK)
        difference = flat[first[part]].astype(np.int32) - flat[second[part]]
        squares[part] = np.einsum("ij,ij->i", difference, difference)
    return np.sqrt(squares / flat.shape[1]) / 255


def _sorted_pairs(found: list[tuple[Indices, Indices, npt.NDArray[np.float64]]]) -> Pairs:
    if not found:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    one, other, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    first, second = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], distance[order])


def _by_name(units: Sequence[Indices], names: Sequence[str], seed: int) -> list[int]:
    """Returns the positions of the units, ordered by a hash of their first names."""
    first = [f"{seed}/{min(names[index] for index in unit)}" for unit in units]
    return sorted(range(len(units)), key=lambda position: hashlib.sha256(first[position].encode()).digest())


def _clustered_units(clusters: Indices) -> list[Indices]:
    members = np.flatnonzero(clusters >= 0)
    members = members[np.argsort(clusters[members], kind="stable")]
    return np.split(members, np.flatnonzero(np.diff(clusters[members])) + 1) if len(members) else []
