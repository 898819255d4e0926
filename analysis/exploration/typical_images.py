"""Mean images, typical images and isolated images of each class, with their galleries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.exploration import pixel_information
from analysis.exploration.data import Data
from analysis.exploration.pixel_information import as_images
from analysis.pages.section import Block, Gallery, Row

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

REFERENCE = 1500
"""Images of the class that an image is compared with: 60,000 x 1,500 distances take two seconds, all pairs fifteen."""
NEIGHBOUR = 5
BLOCK = 4096
MEANS = "Training images of each garment, pixel by pixel. The deviation is bright where they differ."
GROUP_MEANS = (
    "Training images of each group, pixel by pixel. The mean of a group of several shapes looks like none of them."
)
TYPICAL = (
    "Training images nearest to the mean image of their garment, nearest first. The first is the medoid, with the "
    "least sum of squared distances to all others."
)
EXTREME = (
    "The most isolated images of each garment: the farthest from their fifth nearest image of the same garment. Under "
    f"each: this distance (RMSE of pixels in [0, 1]), among {REFERENCE:,} random images."
)
RANDOM = "Training images drawn at random."
GROUP_SAMPLES = "The most typical and the most isolated images of each group, with their garments."


@dataclass(frozen=True)
class Samples:
    """Sample images of one class, by row of the pixels.

    Attributes:
        typical: int64 [n], the nearest to the mean image first. The first one is the medoid under squared distance:
            the sum of squared distances to all others is least where the distance to the mean is.
        extreme: int64 [n], the most isolated first: the farthest from its fifth nearest image of the class.
        random: int64 [n], drawn without replacement.
        from_others: float32 [n], the distance of the extreme images to their fifth nearest.

    Distances are root-mean-square over the pixels, in [0, 1].
    """

    typical: Indices
    extreme: Indices
    random: Indices
    from_others: Pixels


def choose(pixels: Pixels, members: Indices, count: int, seed: int = 0) -> Samples:
    """Chooses `count` images of each kind, fewer where the class has fewer.

    Args:
        pixels: float32 [N, pixels] in [0, 1].
        members: int64 [M], the rows of the class.
        count: How many of each kind.
        seed: Of the random ones and of the images compared with. Defaults to 0.
    """
    rng = np.random.default_rng(seed)
    own = pixels[members]
    from_mean = np.sqrt(((own - own.mean(axis=0)) ** 2).mean(axis=1)) if len(own) else np.empty(0, np.float32)
    reference = np.sort(rng.permutation(len(own))[:REFERENCE])
    isolated = isolation(own, reference)
    typical, extreme = np.argsort(from_mean, kind="stable")[:count], np.argsort(-isolated, kind="stable")[:count]
    drawn = rng.permutation(members)[:count]
    return Samples(members[typical], members[extreme], drawn, isolated[extreme])


def isolation(pixels: Pixels, reference: Indices) -> Pixels:
    """Returns the distance of each row to its fifth nearest among the reference rows, itself excluded.

    It grows as the density falls (Loftsgaarden and Quesenberry 1965, "A nonparametric estimate of a multivariate
    density function"). With five others or fewer it is the distance to the farthest.

    Args:
        pixels: float32 [M, pixels].
        reference: int64 [R], rows of `pixels`.
    """
    if len(reference) < 2:
        return np.zeros(len(pixels), np.float32)
    known = pixels[reference]
    lengths = np.einsum("ij,ij->i", known, known)
    itself = np.full(len(pixels), -1)
    itself[reference] = np.arange(len(reference))
    parts = [
        _nearest_squares(pixels[start : start + BLOCK], known, lengths, itself[start : start + BLOCK])
        for start in range(0, len(pixels), BLOCK)
    ]
    return np.sqrt(np.concatenate(parts) / np.float32(pixels.shape[1])).astype(np.float32)


def _nearest_squares(block: Pixels, known: Pixels, lengths: Pixels, itself: Indices) -> Pixels:
    squares = np.einsum("ij,ij->i", block, block)[:, None] + lengths - 2 * block @ known.T
    rows = np.flatnonzero(itself >= 0)
    squares[rows, itself[rows]] = np.inf
    rank = min(NEIGHBOUR, len(known) - 1) - 1
    return np.maximum(np.partition(squares, rank, axis=1)[:, rank], 0.0)


@dataclass(frozen=True)
class SummaryImages:
    """Mean, median and standard deviation of each class's training images, float64 [classes, 28, 28], in [0, 255]."""

    means: Values
    medians: Values
    deviations: Values


def summary_images(table: Counts) -> SummaryImages:
    """Returns the mean, median and deviation images from `pixel_information.count_values`."""
    means, medians = pixel_information.means(table), pixel_information.medians(table)
    deviations = np.sqrt(pixel_information.variances(table))
    return SummaryImages(*(as_images(values) for values in (means, medians, deviations)))


def galleries(
    data: Data,
    garment_summary: SummaryImages,
    group_summary: SummaryImages,
    garments: Sequence[Samples],
    groups: Sequence[Samples],
) -> list[Block]:
    """Returns the galleries of mean, typical, isolated and random images of each class."""
    taxonomy = data.taxonomy
    colours = [taxonomy.colours[group] for group in taxonomy.group_of]
    extreme = [
        _image_row(data, s.extreme, name, colour, [f"{value:.2f}" for value in s.from_others])
        for s, name, colour in zip(garments, taxonomy.garments, colours, strict=True)
    ]
    return [
        Gallery("mean-garments", _mean_rows(garment_summary, taxonomy.garments), MEANS),
        Gallery("mean-groups", _mean_rows(group_summary, taxonomy.groups), GROUP_MEANS),
        Gallery(
            "typical-garments", _sample_rows(data, [s.typical for s in garments], taxonomy.garments, colours), TYPICAL
        ),
        Gallery("extreme-garments", extreme, EXTREME),
        Gallery(
            "random-garments", _sample_rows(data, [s.random for s in garments], taxonomy.garments, colours), RANDOM
        ),
        Gallery("group-samples", _group_rows(data, groups), GROUP_SAMPLES),
    ]


def _mean_rows(summary: SummaryImages, names: Sequence[str]) -> list[Row]:
    # The deviation is at most half the range of grey levels; doubled, it uses the whole range.
    kinds = (("Mean", summary.means), ("Median", summary.medians), ("Deviation, doubled", 2 * summary.deviations))
    return [Row(title, np.rint(np.clip(values, 0, 255)).astype(np.uint8), names) for title, values in kinds]


def _sample_rows(
    data: Data, chosen: Sequence[npt.NDArray[np.int64]], names: Sequence[str], colours: Sequence[str]
) -> list[Row]:
    return [_image_row(data, rows, name, colour) for rows, name, colour in zip(chosen, names, colours, strict=True)]


def _group_rows(data: Data, samples: Sequence[Samples]) -> list[Row]:
    gallery = []
    for name, colour, sample in zip(data.taxonomy.groups, data.taxonomy.colours, samples, strict=True):
        for kind, rows in (("typical", sample.typical), ("isolated", sample.extreme)):
            gallery.append(_image_row(data, rows, f"{name}, {kind}", colour, [data.garment_name(row) for row in rows]))
    return gallery


def _image_row(data: Data, rows: npt.NDArray[np.int64], title: str, colour: str, notes: Sequence[str] = ()) -> Row:
    return Row(title, data.images[rows], notes, colour)
