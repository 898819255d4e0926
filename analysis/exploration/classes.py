"""Class balance before and after the regrouping, and the section on classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.evaluation.bootstrap import confusion
from analysis.evaluation.metrics import accuracy, balanced_accuracy, macro_f1, recall
from analysis.exploration import pixel_information
from analysis.exploration.data import Data
from analysis.exploration.pixel_information import (
    Information,
    information_figure,
    information_text,
    measure_information,
)
from analysis.exploration.principal_components import principal_components
from analysis.exploration.typical_images import Samples, SummaryImages, choose, galleries, summary_images
from analysis.pages import figure_style as style
from analysis.pages.section import Block, Listing, Picture, Section
from models.taxonomy import Taxonomy

Counts = npt.NDArray[np.int64]

SHOWN = 8
COMPONENTS = 40
SCORES = (("accuracy", "circle"), ("balanced accuracy", "square-open"), ("macro F1", "x-thin-open"))


@dataclass(frozen=True)
class ClassStatistics:
    """Statistics of the classes.

    Attributes:
        sizes: A row a garment: garment, group, train, test (numbers of images).
        naive: A row for each hypothetical classifier of the test images: classifier, accuracy, balanced accuracy, macro
            F1, least recall; the most accurate first.
        pair: The two groups that a linear model confuses most, the smaller first.
        garment_summary, group_summary: Mean, median and deviation images of each class.
        garment_samples, group_samples: Rows of typical, extreme and random training images, one entry a class.
        information: The mutual information of pixels and classes.
        garments_explain, groups_explain: The share of all pixels' variance between the classes.
    """

    sizes: pd.DataFrame
    naive: pd.DataFrame
    pair: tuple[int, int]
    garment_summary: SummaryImages
    group_summary: SummaryImages
    garment_samples: Sequence[Samples]
    group_samples: Sequence[Samples]
    information: Information
    garments_explain: float
    groups_explain: float


def measure(data: Data) -> ClassStatistics:
    """Measures the classes; images and information are of the training split."""
    rows, taxonomy = data.train_rows, data.taxonomy
    pair = hardest_pair(data)
    garments, groups = len(taxonomy.garments), len(taxonomy.groups)
    table = pixel_information.count_values(data.images[rows], data.garments[rows], garments)
    grouped = pixel_information.merge(table, taxonomy.group_of, groups)
    return ClassStatistics(
        sizes=sizes(data),
        naive=naive_classifiers(np.bincount(data.groups[data.test], minlength=groups), taxonomy, pair),
        pair=pair,
        garment_summary=summary_images(table),
        group_summary=summary_images(grouped),
        garment_samples=[choose(data.pixels, rows[data.garments[rows] == g], SHOWN) for g in range(garments)],
        group_samples=[choose(data.pixels, rows[data.groups[rows] == g], SHOWN) for g in range(groups)],
        information=measure_information(table, grouped, _count_shuffled(data, groups), pair),
        garments_explain=pixel_information.explained_variance(table),
        groups_explain=pixel_information.explained_variance(grouped),
    )


def sizes(data: Data) -> pd.DataFrame:
    """Returns a row for each garment: garment, group, and the numbers of its images in each split, train and test."""
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

    It takes a second and needs no trained model. The discriminant classifies garments by their principal components.
    (The nearest mean image does not work: it confuses narrow garments with the darkest class.)
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rows, pixels = data.train_rows, data.pixels[: len(data.train_rows)]
    coordinates = principal_components(pixels).project(pixels, COMPONENTS)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-3).fit(coordinates, data.garments[rows])
    predicted = np.array(data.taxonomy.group_of, np.int64)[model.predict(coordinates)]
    counts = confusion(data.groups[rows], predicted, len(data.taxonomy.groups))
    first, second = np.triu_indices(len(counts), k=1)
    most = (counts[first, second] + counts[second, first]).argmax()
    one, other = int(first[most]), int(second[most])
    size = counts.sum(axis=1)
    return (one, other) if size[one] <= size[other] else (other, one)


def naive_classifiers(group_sizes: Counts, taxonomy: Taxonomy, pair: tuple[int, int]) -> pd.DataFrame:
    """Returns the scores of hypothetical classifiers: a constant one, and those that fail on one group alone.

    Args:
        group_sizes: int64 [groups], the images to classify.
        taxonomy: The names of the groups.
        pair: A small group and the group that it is confused with; another group is confused with the largest other.
    """
    largest = int(group_sizes.argmax())
    rows = [_score(f"always {taxonomy.groups[largest]}", _confusion(group_sizes, range(len(group_sizes)), largest))]
    for group in range(len(group_sizes)):
        others = np.where(np.arange(len(group_sizes)) == group, -1, group_sizes)
        target = pair[1] if group == pair[0] else int(others.argmax())
        rows.append(_score(f"never {taxonomy.groups[group]}", _confusion(group_sizes, [group], target)))
    half = _confusion(group_sizes, [pair[0]], pair[1], share=0.5)
    rows.append(_score(f"half of {taxonomy.groups[pair[0]]}", half))
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True, kind="stable")


def _confusion(sizes: Counts, groups: Sequence[int], target: int, share: float = 1.0) -> Counts:
    """Returns the confusion matrix of a classifier that is correct except for a share of some groups."""
    counts = np.diag(sizes)
    for group in groups:
        wrong = round(sizes[group] * share)
        counts[group, group] -= wrong
        counts[group, target] += wrong
    return counts


def _score(name: str, counts: Counts) -> dict[str, str | float]:
    return {
        "classifier": name,
        "accuracy": float(accuracy(counts)),
        "balanced accuracy": float(balanced_accuracy(counts)),
        "macro F1": float(macro_f1(counts)),
        "least recall": float(np.nanmin(recall(counts))),
    }


def _count_shuffled(data: Data, groups: int) -> Counts:
    shuffled = np.random.default_rng(0).permutation(data.groups[data.train_rows])
    return pixel_information.count_values(data.images[data.train_rows], shuffled, groups)


def section(data: Data, statistics: ClassStatistics) -> Section:
    """Returns the section "Classes and grouping"."""
    summaries = statistics.garment_summary, statistics.group_summary
    samples = statistics.garment_samples, statistics.group_samples
    explain = statistics.garments_explain, statistics.groups_explain
    return Section(
        "classes",
        "Classes and grouping",
        "\n\n".join(
            [
                _balance_text(data, statistics),
                _accuracy_text(data, statistics),
                information_text(data, statistics.information, statistics.pair, *explain),
            ]
        ),
        "So we do not judge a model by accuracy alone. The Evaluator reports macro F1, balanced accuracy, and the "
        "precision, recall and F1 of every group, each with an interval. Its rules bound macro F1 and the recall of "
        "every group as well as accuracy. The network predicts garments, because each has a shape of its own. The "
        "probability of a group is the sum over its garments.",
        [
            *_size_blocks(data, statistics),
            _score_figure(statistics),
            *galleries(data, *summaries, *samples),
            information_figure(data, statistics.information, statistics.pair),
        ],
    )


def _balance_text(data: Data, statistics: ClassStatistics) -> str:
    taxonomy, sizes, known = data.taxonomy, statistics.sizes, statistics.information
    groups = sizes.groupby("group", sort=False)["test"].sum()
    garments = len(taxonomy.garments)
    members = [len(taxonomy.members(group)) for group in range(len(taxonomy.groups))]
    return (
        f"A garment has {_count_range(sizes['train'])} training and {_count_range(sizes['test'])} test images. A "
        f"group has {_count_range(groups)} test images: the largest, {groups.idxmax()}, "
        f"{groups.max() / max(1, groups.min()):.3g} times as many as the smallest. The regrouping makes "
        f"{sum(count * (count - 1) for count in members)} of the {garments * (garments - 1)} ways to confuse two "
        f"garments harmless. The entropy of the garments is {known.garment_entropy:.2f} bits, that of the groups "
        f"{known.group_entropy:.2f} bits."
    )


def _accuracy_text(data: Data, statistics: ClassStatistics) -> str:
    naive = statistics.naive.set_index("classifier")
    small, large = (data.taxonomy.groups[group] for group in statistics.pair)
    never = naive.loc[f"never {small}"]
    always = naive[naive.index.str.startswith("always ")].iloc[0]
    return (
        "**Accuracy alone is misleading.** A classifier that always predicts "
        f"{str(always.name).removeprefix('always ')} has accuracy {always['accuracy']:.3f} and macro F1 "
        f"{always['macro F1']:.3f}. A model that is perfect but "
        f"predicts {large} for every {small} has accuracy {never['accuracy']:.3f}, balanced accuracy "
        f"{never['balanced accuracy']:.3f} and macro F1 {never['macro F1']:.3f}. It fails on a whole group."
    )


def _size_blocks(data: Data, statistics: ClassStatistics) -> list[Block]:
    figure = style.figure("training images", height=90 + 48 * len(data.taxonomy.groups))
    for (_, size), colour in zip(statistics.sizes.iterrows(), style.garment_colours(data.taxonomy), strict=True):
        figure.add_bar(
            x=[size["train"]], y=[size["group"]], orientation="h", name=size["garment"], text=size["garment"],
            textangle=0, textposition="inside", insidetextanchor="middle", marker_color=colour,
            hovertemplate="%{fullData.name}: %{x:,}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack", showlegend=False)
    figure.update_yaxes(autorange="reversed")
    return [
        Picture("class-balance", figure, "Garments are balanced, groups are not."),
        Listing("class-sizes", statistics.sizes, "Images of each garment in the official splits."),
    ]


def _score_figure(statistics: ClassStatistics) -> Picture:
    naive = statistics.naive
    figure = style.figure("score on the test images", height=110 + 36 * len(naive))
    for name, symbol in SCORES:
        figure.add_scatter(
            x=naive[name].round(4), y=naive["classifier"], mode="markers", name=name,
            marker={"symbol": symbol, "size": 11, "color": style.NEUTRAL, "line": {"width": 2, "color": style.NEUTRAL}},
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1.03])
    figure.update_yaxes(autorange="reversed")
    return Picture(
        "naive-classifiers",
        figure,
        'Hypothetical classifiers. "Always" is constant; "never" and "half of" are correct except for one group, of '
        "which they miss all or half. Accuracy hardly changes when a small group is lost; macro F1 does.",
    )


def _count_range(counts: pd.Series[int]) -> str:
    """Returns "6,000", or "10 to 20" where the counts differ."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
