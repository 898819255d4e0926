"""What models of rising strength say of the test images: the audits ask which errors they share, and why."""

from __future__ import annotations

import numpy as np

from analysis.evaluation.ladder import logistic_regression, nearest_centroid
from analysis.exploration.cross_validation import OutOfFold
from analysis.exploration.data import Data, Indices
from analysis.exploration.neighbours import Neighbours
from models.probabilities import softmax


def answer(
    data: Data, neighbours: Neighbours, out_of_fold: OutOfFold, trained: Indices | None = None
) -> dict[str, Indices]:
    """Returns the groups that each model gives the test images, int64 [n_test], the weakest model first.

    Args:
        data: The images.
        neighbours: The nearest training images: the first is 1-nearest-neighbour's answer.
        out_of_fold: The small networks, whose mean probability answers.
        trained: The answers of a model that was trained elsewhere; None where there is none.
    """
    known, garments, unknown = data.pixels[data.train_rows], data.garments[data.train_rows], data.pixels[data.test_rows]
    probabilities = np.mean([softmax(logits) for logits in out_of_fold.test_logits], axis=0)
    networks = probabilities @ np.array(data.taxonomy.membership())
    answers = {
        "nearest centroid": nearest_centroid(known, garments, unknown, data.taxonomy),
        "logistic regression": logistic_regression(known, garments, unknown, data.taxonomy),
        "1-nearest neighbour": data.groups[neighbours.index[data.test_rows, 0]],
        "small networks": networks.argmax(axis=1).astype(np.int64),
    }
    return answers if trained is None else {**answers, "trained model": trained}
