"""Classes before and after the regrouping: their sizes, their looks, what a pixel tells, what accuracy hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.evaluation.bootstrap import confusion
from analysis.evaluation.metrics import accuracy, balanced_accuracy, macro_f1, recall
from analysis.exploration import pixel_statistics
from analysis.exploration.principal_components import principal_components
from analysis.exploration.typicality import Samples, choose

if TYPE_CHECKING:
    import pandas as pd

    from analysis.exploration.data import Data
    from models.taxonomy import Taxonomy

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SHOWN = 8
COMPONENTS = 40


@dataclass(frozen=True)
class Looks:
    """The mean, median and standard deviation of each class's training images, float64 [classes, 28, 28], in levels."""

    means: Values
    medians: Values
    deviations: Values


@dataclass(frozen=True)
class Information:
    """What a pixel tells about the classes of the training images, in bits.

    Attributes:
        group: float64 [28, 28], about the group, the pixel in 16 levels.
        silhouette: float64 [28, 28], about the group, the pixel only ground or cloth.
        garment: float64 [28, 28], about the garment.
        pair: float64 [28, 28], about which of the pair, among the images of the two groups alone.
        shuffled: The largest of all pixels about shuffled groups: what chance finds.
        group_entropy: Of the groups: all there is to know.
        garment_entropy: Of the garments.
        pair_entropy: Of the two groups of the pair.
    """

    group: Values
    silhouette: Values
    garment: Values
    pair: Values
    shuffled: float
    group_entropy: float
    garment_entropy: float
    pair_entropy: float


@dataclass(frozen=True)
class ClassStatistics:
    """What there is to know about the classes.

    Attributes:
        sizes: A row a garment: garment, group, train, test (numbers of images).
        answers: A row an imagined classifier of the test images: answers, accuracy, balanced accuracy, macro F1, least
            recall; the most accurate first.
        pair: The two groups that are hardest to tell apart, the smaller first.
        garment_looks, group_looks: Their mean images and so on.
        garment_samples, group_samples: Rows of typical, extreme and random training images, one entry a class.
        information: What pixels tell.
        garments_explain, groups_explain: The share of all pixels' variance that lies between them.
    """

    sizes: pd.DataFrame
    answers: pd.DataFrame
    pair: tuple[int, int]
    garment_looks: Looks
    group_looks: Looks
    garment_samples: Sequence[Samples]
    group_samples: Sequence[Samples]
    information: Information
    garments_explain: float
    groups_explain: float


def measure(data: Data) -> ClassStatistics:
    """Measures the classes; images, looks and information are of the training split."""
    rows, taxonomy = data.train_rows, data.taxonomy
    pair = hardest_pair(data)
    garments, groups = len(taxonomy.garments), len(taxonomy.groups)
    table = pixel_statistics.count_values(data.images[rows], data.garments[rows], garments)
    grouped = pixel_statistics.merge(table, taxonomy.group_of, groups)
    return ClassStatistics(
        sizes=sizes(data),
        answers=naive_answers(np.bincount(data.groups[data.test], minlength=groups), taxonomy, pair),
        pair=pair,
        garment_looks=looks(table),
        group_looks=looks(grouped),
        garment_samples=[choose(data.pixels, rows[data.garments[rows] == g], SHOWN) for g in range(garments)],
        group_samples=[choose(data.pixels, rows[data.groups[rows] == g], SHOWN) for g in range(groups)],
        information=measure_information(table, grouped, _shuffled(data, groups), pair),
        garments_explain=pixel_statistics.explained_variance(table),
        groups_explain=pixel_statistics.explained_variance(grouped),
    )


def sizes(data: Data) -> pd.DataFrame:
    """Returns a row a garment: garment, group, train and test, the numbers of its images in each split."""
    import pandas as pd

    taxonomy = data.taxonomy
    count = len(taxonomy.garments)
    return pd.DataFrame(
        {
            "garment": taxonomy.garments,
            "group": [taxonomy.groups[group] for group in taxonomy.group_of],
            "train": np.bincount(data.garments[~data.test], minlength=count),
            "test": np.bincount(data.garments[data.test], minlength=count),
        }
    )


def hardest_pair(data: Data) -> tuple[int, int]:
    """Returns the two groups that a linear discriminant confuses most on the training images, the smaller one first.

    It is known in a second, before any model is trained. The discriminant tells the garments apart by their principal
    components. (The nearest mean image would not do: it takes thin garments for whatever is darkest.)
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rows, pixels = data.train_rows, data.pixels[: len(data.train_rows)]
    places = principal_components(pixels).project(pixels, COMPONENTS)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-3).fit(places, data.garments[rows])
    answers = np.array(data.taxonomy.group_of, np.int64)[model.predict(places)]
    counts = confusion(data.groups[rows], answers, len(data.taxonomy.groups))
    first, second = np.triu_indices(len(counts), k=1)
    most = (counts[first, second] + counts[second, first]).argmax()
    one, other = int(first[most]), int(second[most])
    size = counts.sum(axis=1)
    return (one, other) if size[one] <= size[other] else (other, one)


def naive_answers(group_sizes: Counts, taxonomy: Taxonomy, pair: tuple[int, int]) -> pd.DataFrame:
    """Returns what imagined classifiers would score: one that says nothing, and those that are right but for one group.

    Args:
        group_sizes: int64 [groups], the images to be classified.
        taxonomy: Names the groups.
        pair: A small group, and the one that it is mistaken for; every other group is mistaken for the largest other.
    """
    import pandas as pd

    largest = int(group_sizes.argmax())
    rows = [_score(f"always {taxonomy.groups[largest]}", _misanswer(group_sizes, range(len(group_sizes)), largest))]
    for group in range(len(group_sizes)):
        others = np.where(np.arange(len(group_sizes)) == group, -1, group_sizes)
        target = pair[1] if group == pair[0] else int(others.argmax())
        rows.append(_score(f"never {taxonomy.groups[group]}", _misanswer(group_sizes, [group], target)))
    half = _misanswer(group_sizes, [pair[0]], pair[1], share=0.5)
    rows.append(_score(f"half of {taxonomy.groups[pair[0]]}", half))
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True, kind="stable")


def looks(table: Counts) -> Looks:
    """Returns the mean, median and deviation images from `pixel_statistics.count_values`."""
    means, medians = pixel_statistics.means(table), pixel_statistics.medians(table)
    deviations = np.sqrt(pixel_statistics.variances(table))
    return Looks(*(_as_images(values) for values in (means, medians, deviations)))


def measure_information(table: Counts, grouped: Counts, shuffled: Counts, pair: tuple[int, int]) -> Information:
    """Returns what pixels tell, from the values counted by garment, by group, and by shuffled group."""
    information, binned = pixel_statistics.information, pixel_statistics.binned
    two = grouped[list(pair)]
    entropies = [float(pixel_statistics.entropy(counts[:, 0].sum(axis=-1))) for counts in (grouped, table, two)]
    return Information(
        _as_images(information(binned(grouped))),
        _as_images(information(pixel_statistics.silhouettes(grouped))),
        _as_images(information(binned(table))),
        _as_images(information(binned(two))),
        float(information(binned(shuffled)).max()),
        *entropies,
    )


def _shuffled(data: Data, groups: int) -> Counts:
    mixed = np.random.default_rng(0).permutation(data.groups[data.train_rows])
    return pixel_statistics.count_values(data.images[data.train_rows], mixed, groups)


def _as_images(values: Values) -> Values:
    side = round(values.shape[-1] ** 0.5)
    return values.reshape(*values.shape[:-1], side, -1)


def _misanswer(sizes: Counts, groups: Sequence[int], target: int, share: float = 1.0) -> Counts:
    """Returns the confusion matrix of a classifier that is right, but takes a share of some groups for another."""
    counts = np.diag(sizes)
    for group in groups:
        wrong = round(sizes[group] * share)
        counts[group, group] -= wrong
        counts[group, target] += wrong
    return counts


def _score(name: str, counts: Counts) -> dict[str, str | float]:
    return {
        "answers": name,
        "accuracy": float(accuracy(counts)),
        "balanced accuracy": float(balanced_accuracy(counts)),
        "macro F1": float(macro_f1(counts)),
        "least recall": float(np.nanmin(recall(counts))),
    }
