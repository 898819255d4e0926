"""Draws the classes: their sizes, what naive answers would score, their images, and what each pixel tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from plotly.subplots import make_subplots

from analysis.exploration.pixel_statistics import BINS
from analysis.exploration.typicality import REFERENCE, Samples
from analysis.pages import figures as style
from analysis.pages.section import Block, Gallery, Listing, Picture, Row, Section

if TYPE_CHECKING:
    import pandas as pd

    from analysis.exploration.classes import ClassStatistics, Looks
    from analysis.exploration.data import Data

Values = npt.NDArray[np.float64]

SCORES = (("accuracy", "circle"), ("balanced accuracy", "square-open"), ("macro F1", "x-thin-open"))

MEANS = "Training images of each garment, pixel by pixel. The deviation is bright where they differ."
GROUP_MEANS = "The same of each group. The mean of a group of several shapes looks like none of them."
TYPICAL = (
    "The nearest to their garment's mean image, nearest first. The first is the medoid: the sum of its squared "
    "distances to all others is the least."
)
EXTREME = (
    "The loneliest of each garment: the farthest from their fifth nearest image of the same garment. Below each the "
    f"distance, the root mean square of the pixels in [0, 1]; {REFERENCE:,} images drawn are compared with."
)
RANDOM = "Training images drawn at random."
GROUP_SAMPLES = "The most typical and the loneliest images of each group, with their garments."


def section(data: Data, statistics: ClassStatistics) -> Section:
    """Returns the section "Classes and grouping"."""
    return Section(
        "classes",
        "Classes and grouping",
        "\n\n".join([_balance_text(data, statistics), _accuracy_text(data, statistics), _looks_text(data, statistics)]),
        "So we never judge by accuracy alone: the Evaluator reports macro F1, balanced accuracy and the precision, "
        "recall and F1 of every group, each with an interval, and its rules bound macro F1 and the recall of every "
        "group beside accuracy. And the network learns the garments, which have shapes of their own; the probability "
        "of a group is the sum over its garments.",
        [*_sizes(data, statistics), _scores(statistics), *_galleries(data, statistics), _information(data, statistics)],
    )


def _balance_text(data: Data, statistics: ClassStatistics) -> str:
    taxonomy, sizes, known = data.taxonomy, statistics.sizes, statistics.information
    groups = sizes.groupby("group", sort=False)["test"].sum()
    garments = len(taxonomy.garments)
    members = [len(taxonomy.members(group)) for group in range(len(taxonomy.groups))]
    return (
        f"A garment has {_range(sizes['train'])} training and {_range(sizes['test'])} test images. A group has "
        f"{_range(groups)} test images: the largest, {groups.idxmax()}, {groups.max() / max(1, groups.min()):.3g} "
        f"times as many as the smallest. The regrouping forgives {sum(count * (count - 1) for count in members)} of "
        f"the {garments * (garments - 1)} ways to take one garment for another. Of the {known.garment_entropy:.2f} "
        f"bits that say which garment it is, {known.group_entropy:.2f} say which group."
    )


def _accuracy_text(data: Data, statistics: ClassStatistics) -> str:
    answers = statistics.answers.set_index("answers")
    small, large = (data.taxonomy.groups[group] for group in statistics.pair)
    never = answers.loc[f"never {small}"]
    always = answers[answers.index.str.startswith("always ")].iloc[0]
    return (
        f"**What accuracy hides.** Who answers {str(always.name).removeprefix('always ')} to every image has accuracy "
        f"{always['accuracy']:.3f} and macro F1 {always['macro F1']:.3f}. A model that is perfect but takes every "
        f"{small} for {large} has accuracy {never['accuracy']:.3f}, balanced accuracy "
        f"{never['balanced accuracy']:.3f} and macro F1 {never['macro F1']:.3f}, and is of no use for a whole group."
    )


def _looks_text(data: Data, statistics: ClassStatistics) -> str:
    known = statistics.information
    best, best_of_pair = _best_pixel(known.group), _best_pixel(known.pair)
    small, large = (data.taxonomy.groups[group] for group in statistics.pair)
    return (
        f"**What a pixel tells.** Garments explain {statistics.garments_explain:.0%} of the variance of the pixels and "
        f"groups {statistics.groups_explain:.0%}; {1 - statistics.garments_explain:.0%} is within garments. The pixel "
        f"that says most about the group, in {_name(best)}, tells {known.group[best]:.2f} of {known.group_entropy:.2f} "
        f"bits, and {known.silhouette[best]:.2f} of them by being cloth or ground. Over all pixels the silhouette "
        f"holds {_share(known.silhouette.sum(), known.group.sum()):.0%} of what single pixels say; shades and prints "
        f"hold the rest. (For groups shuffled among the images no pixel says more than {known.shuffled:.4f} bits.) "
        f"Between {small} and {large}, the pair that a linear model confuses most, the best pixel is in "
        f"{_name(best_of_pair)} and tells {known.pair[best_of_pair]:.2f} of {known.pair_entropy:.2f} bits, "
        f"{_share(known.pair.max(), known.pair_entropy):.0%}, against "
        f"{_share(known.group.max(), known.group_entropy):.0%} for the groups together."
    )


def _sizes(data: Data, statistics: ClassStatistics) -> list[Block]:
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
        Picture("class-balance", figure, "Garments that were balanced make groups that are not.", documented=True),
        Listing("class-sizes", statistics.sizes, "Images of each garment in the official splits."),
    ]


def _scores(statistics: ClassStatistics) -> Picture:
    answers = statistics.answers
    figure = style.figure("score on the test images", height=110 + 36 * len(answers))
    for name, symbol in SCORES:
        figure.add_scatter(
            x=answers[name].round(4), y=answers["answers"], mode="markers", name=name,
            marker={"symbol": symbol, "size": 11, "color": style.NEUTRAL, "line": {"width": 2, "color": style.NEUTRAL}},
        )  # fmt: skip
    figure.update_xaxes(range=[0, 1.03])
    figure.update_yaxes(autorange="reversed")
    return Picture(
        "naive-answers",
        figure,
        'Imagined classifiers. "Always" gives one answer; "never" and "half of" are right but for one group, of which '
        "they miss all or half. Accuracy hardly minds the loss of a small group; macro F1 does.",
        documented=True,
    )


def _galleries(data: Data, statistics: ClassStatistics) -> list[Block]:
    taxonomy = data.taxonomy
    garments, groups = statistics.garment_samples, statistics.group_samples
    colours = [taxonomy.colours[group] for group in taxonomy.group_of]
    extreme = [
        _row(data, s.extreme, name, colour, [f"{value:.2f}" for value in s.from_others])
        for s, name, colour in zip(garments, taxonomy.garments, colours, strict=True)
    ]
    return [
        Gallery("mean-garments", _mean_rows(statistics.garment_looks, taxonomy.garments), MEANS, documented=True),
        Gallery("mean-groups", _mean_rows(statistics.group_looks, taxonomy.groups), GROUP_MEANS),
        Gallery("typical-garments", _rows(data, [s.typical for s in garments], taxonomy.garments, colours), TYPICAL),
        Gallery("extreme-garments", extreme, EXTREME, documented=True),
        Gallery("random-garments", _rows(data, [s.random for s in garments], taxonomy.garments, colours), RANDOM),
        Gallery("group-samples", _group_rows(data, groups), GROUP_SAMPLES),
    ]


def _information(data: Data, statistics: ClassStatistics) -> Picture:
    information = statistics.information
    small, large = (data.taxonomy.groups[group] for group in statistics.pair)
    figure = make_subplots(1, 2, horizontal_spacing=0.04, subplot_titles=["the group", f"{small} or<br>{large}"])
    figure.update_layout(template=style.TEMPLATE, height=360, margin={"l": 8, "r": 8, "t": 60, "b": 60})
    panels = ((information.group, information.group_entropy), (information.pair, information.pair_entropy))
    for column, (bits, entropy) in enumerate(panels, start=1):
        share = np.round(100 * bits / entropy, 1) if entropy else bits
        figure.add_heatmap(
            z=share.tolist(), colorscale=style.SEQUENTIAL, zmin=0, zmax=_largest(panels), row=1, col=column,
            hovertemplate="row %{y}, column %{x}: %{z}%<extra></extra>", showscale=column == 2, x0=1, y0=1,
            colorbar={"orientation": "h", "thickness": 10, "y": -0.02, "yanchor": "top", "x": 0.5, "len": 0.9,
                      "title": {"text": "% of what there is to know", "side": "bottom"}},
        )  # fmt: skip
        figure.update_xaxes(showticklabels=False, ticks="", showgrid=False, constrain="domain", row=1, col=column)
        anchor = "x" if column == 1 else "x2"
        figure.update_yaxes(
            showticklabels=False,
            ticks="",
            showgrid=False,
            autorange="reversed",
            scaleanchor=anchor,
            constrain="domain",
            row=1,
            col=column,
        )
    return Picture(
        "pixel-information",
        figure,
        f"What a single pixel tells about the group, and about {small} against {large} alone: mutual information over "
        f"the entropy, each pixel in {BINS} grey levels, training images.",
        documented=True,
    )


def _largest(panels: Sequence[tuple[Values, float]]) -> float:
    return max(100 * _share(bits.max(), entropy) for bits, entropy in panels)


def _mean_rows(looks: Looks, names: Sequence[str]) -> list[Row]:
    # The deviation is at most half the range of grey levels: doubled it uses the whole.
    kinds = (("Mean", looks.means), ("Median", looks.medians), ("Deviation, doubled", 2 * looks.deviations))
    return [Row(title, np.rint(np.clip(values, 0, 255)).astype(np.uint8), names) for title, values in kinds]


def _rows(
    data: Data, chosen: Sequence[npt.NDArray[np.int64]], names: Sequence[str], colours: Sequence[str]
) -> list[Row]:
    return [_row(data, rows, name, colour) for rows, name, colour in zip(chosen, names, colours, strict=True)]


def _group_rows(data: Data, samples: Sequence[Samples]) -> list[Row]:
    made = []
    for name, colour, sample in zip(data.taxonomy.groups, data.taxonomy.colours, samples, strict=True):
        for kind, rows in (("typical", sample.typical), ("lonely", sample.extreme)):
            made.append(_row(data, rows, f"{name}, {kind}", colour, [data.garment_name(row) for row in rows]))
    return made


def _row(data: Data, rows: npt.NDArray[np.int64], title: str, colour: str, notes: Sequence[str] = ()) -> Row:
    return Row(title, data.images[rows], notes, colour)


def _range(counts: pd.Series[int]) -> str:
    """Says "6,000", or "10 to 20" where the counts differ."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _best_pixel(bits: Values) -> tuple[int, int]:
    row, column = np.unravel_index(bits.argmax(), bits.shape)
    return int(row), int(column)


def _name(pixel: tuple[int, int]) -> str:
    return f"row {pixel[0] + 1}, column {pixel[1] + 1}"


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
