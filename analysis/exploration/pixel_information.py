"""Statistics of each pixel by class: mean, median, variance and mutual information, with their figure.

All follow exactly from one table of counts: how often each pixel has which value in which class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from plotly.subplots import make_subplots

from analysis.exploration.data import Data
from analysis.pages import figure_style as style
from analysis.pages.section import Picture

Images = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

LEVELS = 256
BINS = 16
"""Bins of 16 grey levels. The first is background: it ends at `slicing_features.FOREGROUND_THRESHOLD`."""
BLOCK = 4096


def count_values(images: Images, classes: Classes, count: int) -> Counts:
    """Returns how many images of each class have each value at each pixel, int64 [count, pixels, 256].

    Args:
        images: uint8 [N, height, width].
        classes: int64 [N], below `count`.
        count: The number of classes.
    """
    flat = images.reshape(len(images), -1)
    table = np.zeros((count, flat.shape[1] * LEVELS), np.int64)
    offsets = np.arange(flat.shape[1], dtype=np.int64) * LEVELS
    for index in range(count):
        members = np.flatnonzero(classes == index)
        for start in range(0, len(members), BLOCK):
            cells = offsets + flat[members[start : start + BLOCK]]
            table[index] += np.bincount(cells.ravel(), minlength=table.shape[1])
    return table.reshape(count, -1, LEVELS)


def merge(table: Counts, classes: Sequence[int], count: int) -> Counts:
    """Returns the table of `count` coarser classes; `classes` holds the new class of each old one."""
    merged = np.zeros((count, *table.shape[1:]), np.int64)
    np.add.at(merged, np.asarray(classes), table)
    return merged


def means(table: Counts) -> Values:
    """Returns the mean of each pixel in each class, [classes, pixels]; 0 for a class without images."""
    return table @ np.arange(LEVELS) / np.maximum(table.sum(axis=-1), 1)


def medians(table: Counts) -> Values:
    """Returns the (lower) median of each pixel in each class, [classes, pixels]."""
    below = table.cumsum(axis=-1)
    return (2 * below >= below[..., -1:]).argmax(axis=-1).astype(np.float64)


def variances(table: Counts) -> Values:
    """Returns the variance of each pixel in each class, [classes, pixels], in squared grey levels."""
    squares = table @ np.arange(LEVELS) ** 2 / np.maximum(table.sum(axis=-1), 1)
    return np.maximum(squares - means(table) ** 2, 0.0)


def explained_variance(table: Counts) -> float:
    """Returns the share of all pixels' variance that lies between the classes: eta squared, in [0, 1]."""
    shares = table.sum(axis=(1, 2)) / max(1, table.sum())
    within = float((shares @ variances(table)).sum())
    total = float(variances(table.sum(axis=0, keepdims=True)).sum())
    return 1 - within / total if total else 0.0


def binned(table: Counts, bins: int = BINS) -> Counts:
    """Returns the counts over `bins` equally wide ranges of grey levels instead of 256 values."""
    return table.reshape(*table.shape[:-1], bins, -1).sum(axis=-1)


def silhouettes(table: Counts) -> Counts:
    """Returns the counts of background and foreground instead of 256 values."""
    fine = binned(table)
    return np.stack([fine[..., 0], fine[..., 1:].sum(axis=-1)], axis=-1)


def information(table: Counts) -> Values:
    """Returns the mutual information of each pixel's value and the class, in bits, [pixels].

    Cover and Thomas 2006, "Elements of Information Theory", equation 2.45. The plug-in estimate is never below zero
    and too high by about (values - 1)(classes - 1) / (2 N ln 2): compare with that of shuffled classes.
    """
    classes, values = table.sum(axis=-1), table.sum(axis=0)
    return entropy(classes.T) + entropy(values) - entropy(table.transpose(1, 0, 2).reshape(table.shape[1], -1))


def entropy(counts: Counts) -> Values:
    """Returns the entropy of the distribution along the last axis, in bits."""
    from scipy.special import entr

    return entr(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)).sum(axis=-1) / np.log(2)


@dataclass(frozen=True)
class Information:
    """Mutual information of a pixel and the class, over the training images, in bits.

    Attributes:
        group: float64 [28, 28], with the group, the pixel in 16 levels.
        silhouette: float64 [28, 28], with the group, the pixel as background or foreground.
        pair: float64 [28, 28], with the group, among the images of the pair of groups alone.
        shuffled: The largest of all pixels with shuffled groups: the level of chance.
        group_entropy: Entropy of the groups.
        garment_entropy: Entropy of the garments.
        pair_entropy: Entropy of the two groups of the pair.
    """

    group: Values
    silhouette: Values
    pair: Values
    shuffled: float
    group_entropy: float
    garment_entropy: float
    pair_entropy: float


def measure_information(table: Counts, grouped: Counts, shuffled: Counts, pair: tuple[int, int]) -> Information:
    """Measures the information in pixels, from the values counted by garment, by group, and by shuffled group."""
    two = grouped[list(pair)]
    entropies = [float(entropy(counts[:, 0].sum(axis=-1))) for counts in (grouped, table, two)]
    return Information(
        as_images(information(binned(grouped))),
        as_images(information(silhouettes(grouped))),
        as_images(information(binned(two))),
        float(information(binned(shuffled)).max()),
        *entropies,
    )


def as_images(values: Values) -> Values:
    """Returns values of pixels [..., pixels] as square images [..., side, side]."""
    side = round(values.shape[-1] ** 0.5)
    return values.reshape(*values.shape[:-1], side, -1)


def information_text(
    data: Data, known: Information, pair: tuple[int, int], garments_explain: float, groups_explain: float
) -> str:
    """Returns the paragraph on the information in pixels, as Markdown."""
    best, best_of_pair = _best_pixel(known.group), _best_pixel(known.pair)
    small, large = (data.taxonomy.groups[group] for group in pair)
    return (
        f"**Information in a pixel.** Garments explain {garments_explain:.0%} of the variance of the pixels and "
        f"groups {groups_explain:.0%}; {1 - garments_explain:.0%} is within garments. The most informative pixel on "
        f"the group, in {_pixel_name(best)}, has {known.group[best]:.2f} of {known.group_entropy:.2f} bits, "
        f"{known.silhouette[best]:.2f} of them by being foreground or background. Over all pixels the silhouette has "
        f"{_share(known.silhouette.sum(), known.group.sum()):.0%} of the information in single pixels; shades and "
        f"prints have the rest. (With shuffled groups no pixel has more than {known.shuffled:.4f} bits.) Between "
        f"{small} and {large}, the pair that a linear model confuses most, the best pixel is in "
        f"{_pixel_name(best_of_pair)} and has {known.pair[best_of_pair]:.2f} of {known.pair_entropy:.2f} bits, "
        f"{_share(known.pair.max(), known.pair_entropy):.0%}, against "
        f"{_share(known.group.max(), known.group_entropy):.0%} for the groups together."
    )


def information_figure(data: Data, information: Information, pair: tuple[int, int]) -> Picture:
    """Returns the figure of the information in each pixel on the group, and on the pair alone."""
    small, large = (data.taxonomy.groups[group] for group in pair)
    figure = make_subplots(1, 2, horizontal_spacing=0.04, subplot_titles=["the group", f"{small} or<br>{large}"])
    figure.update_layout(template=style.TEMPLATE, height=360, margin={"l": 8, "r": 8, "t": 60, "b": 60})
    panels = ((information.group, information.group_entropy), (information.pair, information.pair_entropy))
    for column, (bits, entropy) in enumerate(panels, start=1):
        share = np.round(100 * bits / entropy, 1) if entropy else bits
        figure.add_heatmap(
            z=share.tolist(), colorscale=style.SEQUENTIAL, zmin=0, zmax=_largest_share(panels), row=1, col=column,
            hovertemplate="row %{y}, column %{x}: %{z}%<extra></extra>", showscale=column == 2, x0=1, y0=1,
            colorbar={"orientation": "h", "thickness": 10, "y": -0.02, "yanchor": "top", "x": 0.5, "len": 0.9,
                      "title": {"text": "% of the entropy", "side": "bottom"}},
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
        f"Information in a single pixel on the group, and on {small} against {large} alone: mutual information over "
        f"the entropy, each pixel in {BINS} grey levels, training images.",
    )


def _largest_share(panels: Sequence[tuple[Values, float]]) -> float:
    return max(100 * _share(bits.max(), entropy) for bits, entropy in panels)


def _best_pixel(bits: Values) -> tuple[int, int]:
    row, column = np.unravel_index(bits.argmax(), bits.shape)
    return int(row), int(column)


def _pixel_name(pixel: tuple[int, int]) -> str:
    return f"row {pixel[0] + 1}, column {pixel[1] + 1}"


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
