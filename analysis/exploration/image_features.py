"""Readable features of an image (brightness, size, symmetry, sharpness), and principal components beside them.

The features that evaluation is sliced by come from `analysis.data.slicing_features`; the others are added here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.data.slicing_features import (
    FOREGROUND_THRESHOLD,
    brightness,
    elongation,
    foreground_coverage,
    symmetry,
    taper,
)
from analysis.evaluation.ladder import unit_pixels
from analysis.exploration.principal_components import PrincipalComponents, principal_components

if TYPE_CHECKING:
    import pandas as pd

Images = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]

BLOCK = 4096
"""Images at a time: the float32 pixels of a block are 13 MB."""
SIDE = 7
"""Columns at either side, which sleeves reach and a dress without sleeves does not."""
COMPONENTS = 40
FITTED = 10_000


def contrast(images: Images) -> Values:
    """Returns the standard deviation of the foreground pixels of each image, in grey levels; 0 without foreground."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    foreground = flat >= FOREGROUND_THRESHOLD
    covered = np.maximum(foreground.sum(axis=1), 1)
    flat *= foreground
    mean = flat.sum(axis=1) / covered
    square = np.einsum("ij,ij->i", flat, flat) / covered
    return np.sqrt(np.maximum(square - mean**2, 0.0)).astype(np.float64)


def sharpness(images: Images) -> Values:
    """Returns the standard deviation of each image's Laplacian, in grey levels.

    Its square is the focus measure of Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".
    """
    levels = images.astype(np.int16)
    middle = levels[:, 1:-1, 1:-1]
    around = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1] + levels[:, 1:-1, :-2] + levels[:, 1:-1, 2:]
    laplacian = (4 * middle - around).reshape(len(images), -1).astype(np.float32)
    return laplacian.std(axis=1).astype(np.float64)


def height(images: Images) -> Values:
    """Returns the height of each garment's bounding box in pixels; 0 without foreground."""
    box = bounding_boxes(images)
    return (box[:, 1] - box[:, 0]).astype(np.float64)


def width(images: Images) -> Values:
    """Returns the width of each garment's bounding box in pixels; 0 without foreground."""
    box = bounding_boxes(images)
    return (box[:, 3] - box[:, 2]).astype(np.float64)


def centre_row(images: Images) -> Values:
    """Returns the row of each image's centre of mass, 0 at the top; the middle for a black image."""
    return _centre(images.sum(axis=2, dtype=np.float64))


def centre_column(images: Images) -> Values:
    """Returns the column of each image's centre of mass, 0 on the left; the middle for a black image."""
    return _centre(images.sum(axis=1, dtype=np.float64))


def bounding_boxes(images: Images) -> npt.NDArray[np.int64]:
    """Returns top, bottom, left and right of the foreground, int64 [N, 4], ends exclusive; zeros without foreground."""
    foreground = images >= FOREGROUND_THRESHOLD
    return np.column_stack([*_span(np.asarray(foreground.any(axis=2))), *_span(np.asarray(foreground.any(axis=1)))])


@dataclass(frozen=True)
class Feature:
    """A feature of an image: its name, its unit, and the function from uint8 [N, 28, 28] to [N]."""

    name: str
    unit: str
    measure: Callable[[Images], Values]

    @property
    def title(self) -> str:
        """The title of an axis."""
        return f"{self.name} ({self.unit})"


FEATURES = (
    Feature("brightness", "grey level, 0 to 255", brightness),
    Feature("foreground coverage", "share of pixels", foreground_coverage),
    Feature("contrast", "grey levels", contrast),
    Feature("sharpness", "grey levels", sharpness),
    Feature("symmetry", "0 to 1", symmetry),
    Feature("height", "pixels", height),
    Feature("width", "pixels", width),
    Feature("aspect", "height / width", elongation),
    Feature("taper", "shoulders / hem", taper),
    Feature("centre row", "pixels from the top", centre_row),
    Feature("centre column", "pixels from the left", centre_column),
)


def measure_features(images: Images) -> pd.DataFrame:
    """Returns the features of images, uint8 [N, 28, 28]: a row for each image, a column for each of `FEATURES`."""
    import pandas as pd

    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    return pd.DataFrame({f.name: np.concatenate([f.measure(block) for block in blocks]) for f in FEATURES})


def _span(present: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the index of the first True of each row and the index after the last; zeros for none."""
    any_present = present.any(axis=1)
    first, stop = present.argmax(axis=1), present.shape[1] - present[:, ::-1].argmax(axis=1)
    return np.where(any_present, first, 0), np.where(any_present, stop, 0)


def _centre(mass: Values) -> Values:
    total = mass.sum(axis=1)
    middle = (mass.shape[1] - 1) / 2
    return np.where(total > 0, mass @ np.arange(mass.shape[1]) / np.maximum(total, 1.0), middle)


def side_coverage(images: Images) -> Values:
    """Returns the share of each image's foreground pixels in the outer `SIDE` columns, in [0, 1]."""
    foreground = images >= FOREGROUND_THRESHOLD
    outer = foreground[:, :, :SIDE].sum(axis=(1, 2)) + foreground[:, :, -SIDE:].sum(axis=(1, 2))
    return outer / np.maximum(foreground.sum(axis=(1, 2)), 1)


@dataclass(frozen=True)
class ImageColumns:
    """Converts images to rows of readable features followed by coordinates along fixed principal directions.

    Two-sample tests compare these few dozen columns instead of 784 pixels.
    """

    directions: PrincipalComponents

    @classmethod
    def fit(cls, images: Images) -> ImageColumns:
        """Fits the principal directions to uint8 [N, 28, 28]; of many images, to evenly spaced ones."""
        return cls(principal_components(unit_pixels(images[:: max(1, len(images) // FITTED)])))

    def transform(self, images: Images, features: pd.DataFrame | None = None) -> Rows:
        """Returns the rows, float32 [N, features + components]; measures the features if `features` is None."""
        measured = measure_features(images) if features is None else features
        projected = self.directions.project(unit_pixels(images), COMPONENTS)
        return np.column_stack([measured.to_numpy(np.float32), projected])

    @staticmethod
    def features(rows: Rows) -> Rows:
        """Returns the readable features of rows that `transform` returned."""
        return rows[:, : len(FEATURES)]

    @staticmethod
    def components(rows: Rows) -> Rows:
        """Returns the principal components of rows that `transform` returned."""
        return rows[:, len(FEATURES) :]
