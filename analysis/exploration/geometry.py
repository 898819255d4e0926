"""How the images lie to each other: directions, dimension, which garments overlap, how well simple models do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.bootstrap import confusion, from_confusion
from analysis.evaluation.metrics import OVERALL, Metric, of_class, recall
from analysis.exploration.data import Data, Indices
from analysis.exploration.intrinsic_dimension import many_nearest, two_nearest
from analysis.exploration.neighbours import Floats, Neighbours, Rows, search
from analysis.exploration.principal_components import (
    PrincipalComponents,
    directions_for,
    principal_components,
    variances,
)

DIMENSION_SAMPLE = 2000
"""Images that a dimension is estimated from: the same number everywhere, for the estimate depends on it."""

NEIGHBOURS = 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Geometry:
    """What `measure` found.

    Attributes:
        components: The principal components of all training images.
        dimensions: A row for all images, each group and each garment: `kind`, `name`, `place` (its number), `images`,
            `two_nearest` with `low` and `high`, `many_nearest`, and `linear`, the directions for 95% of its variance.
        scales: `images` and `two_nearest` with `low` and `high`, of ever more of the training images.
        nearest_garment: float64 [garments, garments]: of all images of a garment (down), the share whose nearest
            training image is of each garment (across).
        purity: A row for each garment, of the test images: the mean share of the ten nearest training images that have
            the same garment or group, by pixels and by the network: `pixels_garment`, `pixels_group`,
            `network_garment`, `network_group`, each with its standard error `..._error`.
        separability: A row for each model on the official test split: `model`, `accuracy` and `macro_f1`, each with
            `..._low` and `..._high`, `worst_pair` and `worst_share`: the two groups most confused, of all errors.
        recalls: `model`, `group`, `recall`, `low`, `high`.
    """

    components: PrincipalComponents
    dimensions: pd.DataFrame
    scales: pd.DataFrame
    nearest_garment: npt.NDArray[np.float64]
    purity: pd.DataFrame
    separability: pd.DataFrame
    recalls: pd.DataFrame


def measure(
    data: Data, neighbours: Neighbours, features: Floats, answers: Mapping[str, Indices], seed: int = 0
) -> Geometry:
    """Measures the geometry of the images.

    Args:
        data: The images.
        neighbours: The nearest training images of all.
        features: float32 [N, F], a network's features of all images; it has not been trained on the test images.
        answers: By name of a model, the group int64 [n_test] that it gives each test image, the weakest model first.
        seed: Of samples and resamples. Defaults to 0.
    """
    separability, recalls = separate(data, answers, seed)
    return Geometry(
        components=principal_components(data.pixels[data.train_rows]),
        dimensions=dimensions(data, seed),
        scales=_scales(data, neighbours, seed),
        nearest_garment=nearest_garments(data, neighbours),
        purity=purity(data, neighbours, features),
        separability=separability,
        recalls=recalls,
    )


def dimensions(data: Data, seed: int) -> pd.DataFrame:
    """Estimates the intrinsic dimension of the training images, of each group and of each garment."""
    rng = np.random.default_rng(seed)
    table = []
    for kind, name, place, rows in _kinds(data):
        sample = data.pixels[rng.permutation(rows)[:DIMENSION_SAMPLE]]
        distances = _distances_within(sample)
        two = two_nearest(distances)
        linear = directions_for(variances(sample), 0.95)
        table.append((kind, name, place, len(sample), two.value, two.low, two.high, many_nearest(distances), linear))
    columns = ["kind", "name", "place", "images", "two_nearest", "low", "high", "many_nearest", "linear"]
    return pd.DataFrame(table, columns=columns)


def nearest_garments(data: Data, neighbours: Neighbours) -> npt.NDArray[np.float64]:
    """Returns the shares [garments, garments]: of a garment's images (down), whose nearest training image is what."""
    count = len(data.taxonomy.garments)
    table = confusion(data.garments, data.garments[neighbours.index[:, 0]], count)
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def purity(data: Data, neighbours: Neighbours, features: Floats) -> pd.DataFrame:
    """Measures how far the test images' nearest training images share their garment and group, by two distances."""
    train, test = data.train_rows, data.test_rows
    in_network = search(features[test], features[train], NEIGHBOURS)[0]
    found = {"pixels": neighbours.index[test, :NEIGHBOURS], "network": in_network}
    shares = {
        f"{space}_{kind}": (classes[index] == classes[test, None]).mean(axis=1)
        for space, index in found.items()
        for kind, classes in (("garment", data.garments), ("group", data.groups))
    }
    by_garment = pd.DataFrame(shares).groupby(data.garments[test])
    table = by_garment.mean().join(by_garment.sem().add_suffix("_error"))
    table.insert(0, "garment", [data.taxonomy.garments[garment] for garment in table.index])
    return table.rename_axis("place").reset_index()


def separate(data: Data, answers: Mapping[str, Indices], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judges models by their groups of the official test split.

    Returns:
        The tables `separability` and `recalls` of a Geometry.
    """
    truth, groups = data.groups[data.test_rows], data.taxonomy.groups
    per_group: dict[str, Metric] = {name: of_class(recall, place) for place, name in enumerate(groups)}
    metrics = {"accuracy": OVERALL["accuracy"], "macro_f1": OVERALL["macro_f1"]} | per_group
    overall, recalls = [], []
    for model, answered in answers.items():
        counts = confusion(truth, answered, len(groups))
        found = from_confusion(metrics, counts, RESAMPLES, seed)
        figures = [
            x for name in ("accuracy", "macro_f1") for x in (found[name].value, found[name].low, found[name].high)
        ]
        overall.append((model, *figures, *_worst_pair(counts, groups)))
        recalls += [(model, name, found[name].value, found[name].low, found[name].high) for name in groups]
    names = [f"{name}{end}" for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high")]
    return (
        pd.DataFrame(overall, columns=["model", *names, "worst_pair", "worst_share"]),
        pd.DataFrame(recalls, columns=["model", "group", "recall", "low", "high"]),
    )


def _worst_pair(counts: npt.NDArray[np.int64], groups: tuple[str, ...]) -> tuple[str, float]:
    """Returns the two groups that are most often taken for each other, and their share of all errors."""
    errors = np.triu(counts + counts.T, k=1)
    first, second = divmod(int(errors.argmax()), len(groups))
    return f"{groups[first]} and {groups[second]}", float(errors.max() / max(errors.sum(), 1))


def _kinds(data: Data) -> Iterator[tuple[str, str, int, Indices]]:
    """Yields kind, name, number and training rows of all images, of each group and of each garment."""
    train = data.train_rows
    yield "all", "All images", 0, train
    for place, name in enumerate(data.taxonomy.groups):
        yield "group", name, place, train[data.groups[train] == place]
    for place, name in enumerate(data.taxonomy.garments):
        yield "garment", name, place, train[data.garments[train] == place]


def _scales(data: Data, neighbours: Neighbours, seed: int) -> pd.DataFrame:
    """Estimates the dimension from fewer and fewer images: the fewer, the coarser the scale that it is of."""
    train = data.train_rows
    order = np.random.default_rng(seed).permutation(train)
    table = []
    for count in (len(train) // 60, len(train) // 20, len(train) // 6):
        two = two_nearest(_distances_within(data.pixels[order[:count]]))
        table.append((count, two.value, two.low, two.high))
    two = two_nearest(neighbours.rmse[train])
    table.append((len(train), two.value, two.low, two.high))
    return pd.DataFrame(table, columns=["images", "two_nearest", "low", "high"])


def _distances_within(values: Floats) -> Floats:
    """Returns the distances of each row to its nearest others, float32 [n, up to NEIGHBOURS]."""
    index: Rows
    index, squared = search(values, values, NEIGHBOURS + 1)
    # A copy may stand before the image itself: the own row is taken out by name, or else the last.
    own = index == np.arange(len(values))[:, None]
    own[~own.any(axis=1), -1] = True
    return np.sqrt(np.maximum(squared[~own].reshape(len(values), -1), 0))
