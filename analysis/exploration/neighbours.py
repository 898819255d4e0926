"""The nearest training images of every image by their pixels.

All 70,000 x 60,000 distances over 784 pixels take a minute. So the search takes the images that are nearest in some
principal components as candidates, and compares only those pixel by pixel. A sample, compared with all training
images, gives the recall of the search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.exploration.principal_components import principal_components

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Report = Callable[[int, int], None]

FILE = "neighbours.npz"
DIRECTIONS = 128
CANDIDATES = 64
REST_COSINE = 0.4
"""Cosine between the parts of two neighbours that the projection drops. With it 64 directions and 48 candidates find
the nearest of 99.2% of the images, without it of 97.7%; 128 and 64 find all of 500, and 99.98% of their ten nearest."""

SEARCH_BLOCK = 4096
MEASURE_BLOCK = 256
"""Images at a time: the pixels of their candidates take 39 MB, about twice the processor's cache."""

SAMPLE = 500
"""Images compared with all training images, to measure the recall."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest training images of N images, nearest first; an image is not its own neighbour.

    Attributes:
        index: int32 [N, k], rows of training images.
        rmse: float32 [N, k], their root-mean-square pixel difference in [0, 1].
        first_recall: The share of sampled images whose nearest training image was found.
        recall: The share of the k nearest training images that was found.
    """

    index: Rows
    rmse: Floats
    first_recall: float
    recall: float

    def save(self, directory: Path) -> None:
        """Writes the arrays into one file of the directory."""
        np.savez(directory / FILE, **asdict(self))

    @classmethod
    def load(cls, directory: Path) -> Neighbours:
        """Reads the file that `save` wrote."""
        with np.load(directory / FILE) as content:
            recalls = (float(content["first_recall"]), float(content["recall"]))
            return cls(content["index"], content["rmse"], *recalls)


def nearest(
    data_pixels: Floats,
    train_count: int,
    k: int = 10,
    report: Report = lambda done, total: None,
    first: int = 0,
) -> Neighbours:
    """Finds the nearest training images of every image.

    Args:
        data_pixels: float32 [N, D] in [0, 1], the training images first.
        train_count: How many of them are training images.
        k: How many neighbours; fewer where there are not so many other training images. Defaults to 10.
        report: Called with the number of images done and in all.
        first: The row of the first image to search for. Defaults to 0: all images.
    """
    k = min(k, train_count - 1)
    known, queries = _coordinates(data_pixels)
    queried = np.arange(first, len(data_pixels))
    found = []
    for start in range(0, len(queried), SEARCH_BLOCK):
        rows = queried[start : start + SEARCH_BLOCK]
        candidates, _ = search(queries[rows], known[:train_count], max(CANDIDATES, k + 1))
        found.append(_measure(data_pixels, rows, candidates, k))
        report(start + len(rows), len(queried))
    index, rmse = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Neighbours(index, rmse, *_recall(data_pixels, train_count, queried, rmse))


def search(queries: Floats, known: Floats, k: int) -> tuple[Rows, Floats]:
    """Finds the nearest rows of `known` by Euclidean distance, exactly.

    Args:
        queries: float32 [Q, F].
        known: float32 [M, F].
        k: How many; M where there are fewer.

    Returns:
        Their rows int32 [Q, k] and squared distances float32 [Q, k], nearest first.
    """
    import faiss

    # A reservoir of candidates instead of a heap gives the same result six times as fast for the k used here.
    faiss.cvar.distance_compute_min_k_reservoir = 5
    squared, index = faiss.knn(np.ascontiguousarray(queries), np.ascontiguousarray(known), min(k, len(known)))
    return index.astype(np.int32), squared


def _coordinates(pixels: Floats) -> tuple[Floats, Floats]:
    """Returns coordinates of known images and of queries, float32 [N, DIRECTIONS + 1], that rank as pixels do.

    The last coordinate is the length of the part that the projection drops. The squared distance of two images lacks
    |a|^2 + |b|^2 - 2ab of these parts, where ab is about REST_COSINE |a| |b| among neighbours.
    """
    components = principal_components(pixels)
    known = np.empty((len(pixels), min(DIRECTIONS, pixels.shape[1]) + 1), np.float32)
    known[:, :-1] = components.project(pixels, DIRECTIONS)
    squares = np.einsum("ij,ij->i", pixels, pixels) - 2 * pixels @ components.mean + components.mean @ components.mean
    known[:, -1] = np.sqrt(np.maximum(squares - np.einsum("ij,ij->i", known[:, :-1], known[:, :-1]), 0))
    queries = known.copy()
    queries[:, -1] *= REST_COSINE
    return known, queries


def _measure(pixels: Floats, rows: npt.NDArray[np.int64], candidates: Rows, k: int) -> tuple[Rows, Floats]:
    """Returns the k nearest of each row's candidates and their distances; ties go to the lower row."""
    candidates = np.sort(candidates, axis=1)
    squared = np.empty(candidates.shape, np.float32)
    for start in range(0, len(rows), MEASURE_BLOCK):
        part = slice(start, start + MEASURE_BLOCK)
        difference = pixels[candidates[part]]
        difference -= pixels[rows[part], None]
        squared[part] = np.einsum("ijk,ijk->ij", difference, difference)
    squared[candidates == rows[:, None]] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    distances = np.sqrt(np.take_along_axis(squared, order, axis=1) / pixels.shape[1])
    return np.take_along_axis(candidates, order, axis=1), distances


def _recall(pixels: Floats, train_count: int, queried: npt.NDArray[np.int64], found: Floats) -> tuple[float, float]:
    """Returns the recall of the first and of all neighbours, from the distances found, float32 [N, k], on a sample."""
    k = found.shape[1]
    sample = np.random.default_rng(0).permutation(len(queried))[:SAMPLE]
    rows, found = queried[sample], found[sample]
    # Products of float32 do not rank ties exactly: a few more than needed are measured.
    candidates, _ = search(pixels[rows], pixels[:train_count], k + 6)
    _, true = _measure(pixels, rows, candidates, k)
    return float((found[:, 0] <= true[:, 0]).mean()), float((found <= true[:, -1:]).mean())
