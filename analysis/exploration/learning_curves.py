"""Learning curves: the error of three kinds of model on ever more training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.data.near_duplicates import cut_validation
from analysis.evaluation.ladder import unit_pixels
from analysis.exploration.data import Data, Indices

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

Report = Callable[[int, int, str], None]
HELD_OUT = 0.1
LARGEST = 2 / 3
SMALLEST = 1000
NEIGHBOUR_BLOCK = 1000
PREDICT_BATCH = 1000
DIRECTIONS = 100
IMAGES_SEEN = 330
"""A network sees `IMAGES_SEEN * n**0.5` images while it learns from n: few take more epochs, many take more steps."""
EPOCHS = (2, 24)
"""Fewest and most epochs: two on the largest sizes are what fits into four minutes for everything.

The fitted floor depends on them: 2 epochs on 40,000 images and 5 on 10,000 gave 2.5% of the groups, 3 and 4 gave 0.2%.
So the section calls the floor the least certain figure.
"""


@dataclass(frozen=True)
class Draw:
    """One random split into training images and held-out images.

    Attributes:
        images: uint8 [M, 28, 28], for training, in an order in which every prefix is stratified by garment.
        garments: int64 [M].
        held_out: uint8 [K, 28, 28]; none of them has a near-duplicate among `images`.
        truth: int64 [K], the garments of the held-out images.
        membership: float64 [garments, groups] of 0 and 1.
        seed: Of the learners.
    """

    images: npt.NDArray[np.uint8]
    garments: Indices
    held_out: npt.NDArray[np.uint8]
    truth: Indices
    membership: npt.NDArray[np.float64]
    seed: int


Learner = Callable[[Draw, Sequence[int]], Iterator[Floats]]
"""Yields garment probabilities [K, garments] of the held-out images after training on the first n, for each n."""


def curves(
    data: Data,
    *,
    repeats: int = 3,
    seed: int,
    report: Report = lambda done, total, note: None,
    learners: Mapping[str, Learner] | None = None,
) -> pd.DataFrame:
    """Measures learning curves on the official training split, with a new cut for every repeat.

    Args:
        data: The images.
        repeats: Draws of held-out and training images. Defaults to 3.
        seed: Of the draws and of the trainings.
        report: Called after every model with the models done and in all, and the name of the last.
        learners: Models by name. Defaults to `LEARNERS`.

    Returns:
        A row for each model, size and repeat: model, images, repeat, garment_error, group_error, in [0, 1].
    """
    learners = LEARNERS if learners is None else learners
    sizes = training_sizes(len(data.train_rows))
    total, rows = repeats * len(learners) * len(sizes), []
    for repeat in range(repeats):
        drawn = draw(data, seed + repeat)
        for name, learner in learners.items():
            for images, probabilities in zip(sizes, learner(drawn, sizes), strict=True):
                rows.append((name, images, repeat, *_errors(drawn, probabilities)))
                report(len(rows), total, f"{name}, {images:,} images")
    return pd.DataFrame(rows, columns=["model", "images", "repeat", "garment_error", "group_error"])


def training_sizes(count: int) -> list[int]:
    """Returns sizes from about 1,000 on that double up to two thirds of `count`; only the last if that is less."""
    largest = int(count * LARGEST)
    doublings = max(0, int(np.log2(max(largest, 1) / SMALLEST)))
    return [largest >> k for k in range(doublings, -1, -1)]


def draw(data: Data, seed: int) -> Draw:
    """Holds out a tenth of the training split, whole near-duplicate clusters, and orders the rest."""
    rows = data.train_rows
    is_held_out = cut_validation(data.garments[rows], data.clusters[rows], HELD_OUT, seed)
    known, held_out = rows[~is_held_out], rows[is_held_out]
    known = known[stratified_order(data.garments[known], seed)]
    return Draw(
        data.images[known],
        data.garments[known],
        data.images[held_out],
        data.garments[held_out],
        np.array(data.taxonomy.membership()),
        seed,
    )


def stratified_order(garments: Indices, seed: int) -> Indices:
    """Returns a random order, int64 [M], in which every prefix is stratified by garment."""
    random = np.random.default_rng(seed)
    position = np.zeros(len(garments))
    for garment in np.unique(garments):
        members = random.permutation(np.flatnonzero(garments == garment))
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
    return np.argsort(position, kind="stable")


def nearest_neighbour(drawn: Draw, sizes: Sequence[int]) -> Iterator[Floats]:
    """Predicts the garment of the nearest image by pixels; each size continues the search of the size before."""
    known, unknown = unit_pixels(drawn.images), unit_pixels(drawn.held_out)
    best, predicted = np.full(len(unknown), np.inf, np.float32), np.zeros(len(unknown), np.int64)
    one_hot = np.eye(len(drawn.membership), dtype=np.float32)
    begin = 0
    for size in sizes:
        lengths = (known[begin:size] ** 2).sum(axis=1)
        for start in range(0, len(unknown), NEIGHBOUR_BLOCK):
            part = slice(start, start + NEIGHBOUR_BLOCK)
            distance = lengths - 2 * unknown[part] @ known[begin:size].T
            nearest = distance.argmin(axis=1)
            least = distance[np.arange(len(nearest)), nearest]
            closer = least < best[part]
            predicted[part] = np.where(closer, drawn.garments[begin + nearest], predicted[part])
            best[part] = np.minimum(best[part], least)
        begin = size
        yield one_hot[predicted]


def logistic_regression(drawn: Draw, sizes: Sequence[int]) -> Iterator[Floats]:
    """Fits multinomial logistic regression to the hundred strongest principal components, as the baselines do."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    known, unknown = unit_pixels(drawn.images), unit_pixels(drawn.held_out)
    for size in sizes:
        components = PCA(min(DIRECTIONS, size - 1), whiten=True, svd_solver="covariance_eigh")
        model = make_pipeline(components, LogisticRegression(C=0.01, max_iter=200))
        model.fit(known[:size], drawn.garments[:size])
        probabilities = np.zeros((len(unknown), len(drawn.membership)), np.float32)
        probabilities[:, model.classes_] = model.predict_proba(unknown)
        yield probabilities


def small_network(drawn: Draw, sizes: Sequence[int]) -> Iterator[Floats]:
    """Trains a small convolutional network; the fewer the images, the more epochs."""
    from analysis.exploration.cross_validation import SmallNetwork
    from models.probabilities import softmax

    training = SmallNetwork(len(drawn.membership), drawn.seed)
    for size in sizes:
        network = training.train(drawn.images[:size], drawn.garments[:size], epochs_for(size))
        yield softmax(network.predict(drawn.held_out, batch_size=PREDICT_BATCH, verbose=0)).astype(np.float32)


LEARNERS: dict[str, Learner] = {
    "1-nearest neighbour": nearest_neighbour,
    "logistic regression": logistic_regression,
    "small network": small_network,
}


def epochs_for(size: int) -> int:
    """Returns the number of epochs of a network on `size` images."""
    return int(np.clip(round(IMAGES_SEEN * size**0.5 / size), *EPOCHS))


def _errors(drawn: Draw, probabilities: Floats) -> tuple[float, float]:
    """Returns the error rates on garments and on groups."""
    groups = drawn.membership[drawn.truth].argmax(axis=1)
    garment_error = (probabilities.argmax(axis=1) != drawn.truth).mean()
    group_error = ((probabilities @ drawn.membership).argmax(axis=1) != groups).mean()
    return float(garment_error), float(group_error)
