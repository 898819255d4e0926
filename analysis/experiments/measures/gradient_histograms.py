"""Histograms of oriented gradients, and boosted trees on them: the strongest rung that learns no features.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", 2005, with cells of 7 pixels, unsigned
orientations in 8 bins, and blocks of 2 x 2 cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.taxonomy import Taxonomy

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
CELL, BINS = 7, 8
ROUNDS = 80


def gradient_histograms(images: Floats) -> Floats:
    """Returns float32 [N, features] for square images [N, pixels] whose side is a multiple of 7, of at least 14."""
    side = round(images.shape[1] ** 0.5)
    pixels = images.reshape(-1, side, side)
    down, across = np.gradient(pixels, axis=1), np.gradient(pixels, axis=2)
    strength = np.hypot(down, across)
    place = (np.arctan2(down, across) % np.pi) / np.pi * BINS
    lower = np.floor(place).astype(int)
    cells = side // CELL
    histograms = np.zeros((len(images), cells, cells, BINS), np.float32)
    # Each pixel votes for the two bins next to its orientation, in proportion.
    for offset, share in ((0, 1 - (place - lower)), (1, place - lower)):
        for which in range(BINS):
            votes = strength * share * ((lower + offset) % BINS == which)
            histograms[..., which] += votes.reshape(-1, cells, CELL, cells, CELL).sum(axis=(2, 4))
    windows = np.lib.stride_tricks.sliding_window_view(histograms, (2, 2), axis=(1, 2))
    blocks = windows.reshape(len(images), (cells - 1) ** 2, -1)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3), 0.2)
    return np.asarray(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3)).reshape(len(images), -1)


def gradient_boosting(train: Floats, garments: Classes, test: Floats, taxonomy: Taxonomy) -> Classes:
    """Fits boosted trees to the garments, and answers the group int64 [M] with the largest summed probability.

    Args:
        train: float32 [N, pixels] in [0, 1].
        garments: int64 [N].
        test: float32 [M, pixels].
        taxonomy: Which garments make which group.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=ROUNDS, learning_rate=0.2, early_stopping=False)
    model.fit(gradient_histograms(train), garments)
    membership = np.array(taxonomy.membership())[model.classes_]
    return (model.predict_proba(gradient_histograms(test)) @ membership).argmax(axis=1)
