"""The training images that a network takes an image to be like, and whether they say what it answered.

By the network's own features they echo what it learnt; by pixels they are a witness that it did not train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.metrics import wilson_interval
from analysis.exploration.neighbours import search

if TYPE_CHECKING:
    import keras

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]

BATCH = 2048


@dataclass(frozen=True)
class NearestExamples:
    """The k training images nearest to each of N images, nearest first.

    Attributes:
        rows: int32 [N, k], of the training images.
        distance: float32 [N, k], Euclidean, in the unit of the features.
        garments: int64 [N, k], theirs.
        groups: int64 [N, k], theirs.
    """

    rows: npt.NDArray[np.int32]
    distance: Floats
    garments: Indices
    groups: Indices


def features(network: keras.Model, images: Images, layer: str = "features") -> Floats:
    """Returns what a layer of a network makes of images uint8 [N, height, width]: float32 [N, F].

    Raises:
        ValueError: The network has no layer of that name (Keras's own message lists those that there are).
    """
    import keras

    embed = keras.Model(network.inputs[0], network.get_layer(layer).output)
    blocks = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    parts = [keras.ops.convert_to_numpy(keras.ops.cast(embed(block, training=False), "float32")) for block in blocks]
    return np.concatenate(parts).reshape(len(images), -1)


def pixels(images: Images) -> Floats:
    """Returns images as features, float32 [N, height x width] in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def nearest_examples(
    queries: Floats, known: Floats, known_garments: Indices, group_of: tuple[int, ...], k: int = 10
) -> NearestExamples:
    """Finds the nearest training images, comparing with all of them.

    Args:
        queries: float32 [N, F], features of the images that are asked about; none of them a training image.
        known: float32 [M, F], features of the training images.
        known_garments: int64 [M].
        group_of: The group of each garment, as of `Taxonomy`.
        k: How many; M where there are fewer. Defaults to 10.
    """
    rows, squared = search(queries, known, k)
    garments = known_garments[rows]
    return NearestExamples(rows, np.sqrt(np.maximum(squared, 0)), garments, np.array(group_of, np.int64)[garments])


def agreement(nearest: NearestExamples, truth: Indices, answers: Indices) -> pd.DataFrame:
    """Says for each image what its neighbours say.

    Args:
        nearest: Of N images.
        truth: int64 [N], their groups.
        answers: int64 [N], the groups that the network answered.

    Returns:
        One row an image: of_truth, of_answer (shares of the neighbours of that group), other (share of a group other
        than the true one), all_of_answer, all_of_truth (whether every neighbour is), distance (the mean).
    """
    of_truth = (nearest.groups == truth[:, None]).mean(axis=1)
    of_answer = (nearest.groups == answers[:, None]).mean(axis=1)
    return pd.DataFrame(
        {
            "of_truth": of_truth,
            "of_answer": of_answer,
            "other": 1 - of_truth,
            "all_of_answer": of_answer == 1,
            "all_of_truth": of_truth == 1,
            "distance": nearest.distance.mean(axis=1, dtype=np.float64),
        }
    )


def summary(table: pd.DataFrame, subsets: Mapping[str, Masks]) -> pd.DataFrame:
    """Sums `agreement` up over subsets of the images, such as the mistakes.

    Args:
        table: As `agreement` returns it.
        subsets: bool [N] by name; an empty one has no row.

    Returns:
        One row a subset: subset, images, of_truth, of_answer (means), unanimous (the share of images whose neighbours
        all are of the answered group: the training data says so too), low, high (95%, Wilson), against (the share whose
        neighbours all are of the true group), against_low, against_high, distance (the median).
    """
    rows = []
    for name, chosen in subsets.items():
        part = table[chosen]
        if not len(part):
            continue
        means = part["of_truth"].mean(), part["of_answer"].mean()
        counted = [_counted(part[column].to_numpy()) for column in ("all_of_answer", "all_of_truth")]
        rows.append((name, len(part), *means, *counted[0], *counted[1], part["distance"].median()))
    columns = ["subset", "images", "of_truth", "of_answer", "unanimous", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "against", "against_low", "against_high", "distance"])


def _counted(marked: Masks) -> tuple[float, float, float]:
    low, high = wilson_interval(int(marked.sum()), len(marked))
    return float(marked.mean()), max(float(low), 0.0), min(float(high), 1.0)
