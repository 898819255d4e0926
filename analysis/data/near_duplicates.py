"""Pairs of images that are nearly the same, exactly, in seconds for 70,000: they must not straddle a validation cut.

Distance is the root-mean-square difference of the pixels on the scale [0, 1] (RMSE). Two steps: an orthonormal
projection never makes a distance longer, so a few principal components rule out all but one pair in two thousand; the
rest are measured pixel by pixel in integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from analysis.data.idx import DataError

COMPONENTS = 48
"""More components leave fewer candidates and cost more to multiply: on 70,000 images 24 took 6.7 s, 48 took 2.1 s."""

BLOCK = 512
VERIFY_BLOCK = 16_384
MOST_PAIRS = 20_000_000

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
        """Returns the pairs that are at most so far apart."""
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
        DataError: There are more than 20 million pairs: the bound is no longer one of near-duplicates.
    """
    flat = images.reshape(len(images), -1)
    found: list[tuple[Indices, Indices, npt.NDArray[np.float64]]] = []
    count = 0
    for first, second in _candidates(flat, rmse):
        distance = _exact_rmse(flat, first, second)
        keep = distance <= rmse
        found.append((first[keep], second[keep], distance[keep]))
        count += int(keep.sum())
        if count > MOST_PAIRS:
            raise DataError(
                f"Too many images are within RMSE {rmse:g} of each other.",
                expected=f"at most {MOST_PAIRS:,} pairs of near-duplicates",
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


def count_twins(count: int, pairs: Pairs, counted: npt.NDArray[np.bool_]) -> Indices:
    """Returns int64 [count]: how many images marked in the bool [count] each image makes a pair with."""
    twins = np.zeros(count, np.int64)
    np.add.at(twins, pairs.first, counted[pairs.second])
    np.add.at(twins, pairs.second, counted[pairs.first])
    return twins


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
