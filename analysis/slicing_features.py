"""Figures of an image that say which kind of image it is: what evaluation is sliced by.

All are cheap, vectorised over uint8 [N, 28, 28], and readable off the picture, so that a weak slice can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

INK_THRESHOLD = 16
"""A pixel from here on counts as cloth; the data set's ground is exactly 0 with a fringe of resampling noise below."""


def brightness(images: Images) -> Values:
    """Returns the mean pixel of each image in [0, 255]."""
    return images.reshape(len(images), -1).mean(axis=1, dtype=np.float64)


def ink_coverage(images: Images) -> Values:
    """Returns the share of each image's pixels that the garment covers, in [0, 1]."""
    return (images >= INK_THRESHOLD).reshape(len(images), -1).mean(axis=1, dtype=np.float64)


def symmetry(images: Images) -> Values:
    """Returns the left-right symmetry in [0, 1]: 1 minus the mirrored difference over its largest possible value."""
    flipped = images[:, :, ::-1]
    # max - min is |a - b| without leaving uint8, which is four times as fast as in float.
    difference = (np.maximum(images, flipped) - np.minimum(images, flipped)).reshape(len(images), -1)
    total = 2.0 * images.reshape(len(images), -1).sum(axis=1, dtype=np.float64)
    return 1.0 - difference.sum(axis=1, dtype=np.float64) / np.maximum(total, 1.0)


def elongation(images: Images) -> Values:
    """Returns height over width of each garment's bounding box; 1 for an image without ink."""
    ink = images >= INK_THRESHOLD
    height, width = _extent(ink.any(axis=2)), _extent(ink.any(axis=1))
    return np.where(height > 0, height / np.maximum(width, 1), 1.0)


def texture(images: Images) -> Values:
    """Returns the mean step between vertical neighbours inside the garment, in [0, 255]: prints, stripes, buttons."""
    above, below = images[:, :-1], images[:, 1:]
    inside = (above >= INK_THRESHOLD) & (below >= INK_THRESHOLD)
    step = np.where(inside, np.maximum(above, below) - np.minimum(above, below), 0)
    return step.sum(axis=(1, 2), dtype=np.float64) / np.maximum(inside.sum(axis=(1, 2)), 1)


FEATURES: dict[str, Callable[[Images], Values]] = {
    "brightness": brightness,
    "ink": ink_coverage,
    "symmetry": symmetry,
    "elongation": elongation,
    "texture": texture,
}
"""Every figure by the name that its slice carries."""


def quantile_edges(values: Values, bins: int) -> Values:
    """Returns the `bins - 1` inner edges that cut `values` into equally large parts, as far as ties allow."""
    return np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])


def assign_bins(values: Values, edges: Values) -> npt.NDArray[np.int64]:
    """Returns the bin of each value, 0 to `len(edges)`; a value on an edge belongs above it."""
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _extent(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Returns the length from the first to the last True of each row, [N]; 0 for none."""
    first, last = present.argmax(axis=1), present.shape[1] - present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), last - first, 0).astype(np.int64)
