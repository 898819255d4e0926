"""Which images of a class are typical, which stand alone, and some taken at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.float32]

REFERENCE = 1500
"""Images of its class that an image is compared with: 60,000 x 1,500 distances take two seconds, all pairs fifteen."""
NEIGHBOUR = 5
BLOCK = 4096


@dataclass(frozen=True)
class Samples:
    """Images of one class, as rows of the pixels given.

    Attributes:
        typical: int64 [n], the nearest to the mean image first. The first one is the medoid under squared distance:
            the sum of squared distances to all others is least where the distance to the mean is.
        extreme: int64 [n], the loneliest first: the farthest from its fifth nearest image of the class.
        random: int64 [n], drawn without replacement.
        from_mean: float32 [n], the distance of the typical ones to the mean image.
        from_others: float32 [n], the distance of the extreme ones to their fifth nearest.

    Distances are root-mean-square over the pixels, in [0, 1].
    """

    typical: Indices
    extreme: Indices
    random: Indices
    from_mean: Pixels
    from_others: Pixels


def choose(pixels: Pixels, members: Indices, count: int, seed: int = 0) -> Samples:
    """Chooses `count` images of each kind, fewer where the class has fewer.

    Args:
        pixels: float32 [N, pixels] in [0, 1].
        members: int64 [M], the rows of the class.
        count: How many of each kind.
        seed: Of the random ones and of the images compared with. Defaults to 0.
    """
    rng = np.random.default_rng(seed)
    own = pixels[members]
    from_mean = np.sqrt(((own - own.mean(axis=0)) ** 2).mean(axis=1)) if len(own) else np.empty(0, np.float32)
    reference = np.sort(rng.permutation(len(own))[:REFERENCE])
    lonely = isolation(own, reference)
    typical, extreme = np.argsort(from_mean, kind="stable")[:count], np.argsort(-lonely, kind="stable")[:count]
    drawn = rng.permutation(members)[:count]
    return Samples(members[typical], members[extreme], drawn, from_mean[typical], lonely[extreme])


def isolation(pixels: Pixels, reference: Indices) -> Pixels:
    """Returns the distance of each row to its fifth nearest among the reference rows, itself left out.

    It grows as the density there falls (Loftsgaarden and Quesenberry 1965, "A nonparametric estimate of a multivariate
    density function"). With five others or fewer it is the distance to the farthest.

    Args:
        pixels: float32 [M, pixels].
        reference: int64 [R], rows of `pixels`.
    """
    if len(reference) < 2:
        return np.zeros(len(pixels), np.float32)
    known = pixels[reference]
    lengths = np.einsum("ij,ij->i", known, known)
    itself = np.full(len(pixels), -1)
    itself[reference] = np.arange(len(reference))
    parts = [
        _nearest_squares(pixels[start : start + BLOCK], known, lengths, itself[start : start + BLOCK])
        for start in range(0, len(pixels), BLOCK)
    ]
    return np.sqrt(np.concatenate(parts) / np.float32(pixels.shape[1])).astype(np.float32)


def _nearest_squares(block: Pixels, known: Pixels, lengths: Pixels, itself: Indices) -> Pixels:
    squares = np.einsum("ij,ij->i", block, block)[:, None] + lengths - 2 * block @ known.T
    rows = np.flatnonzero(itself >= 0)
    squares[rows, itself[rows]] = np.inf
    place = min(NEIGHBOUR, len(known) - 1) - 1
    return np.maximum(np.partition(squares, place, axis=1)[:, place], 0.0)
