"""Features of drawn shapes equal their known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from analysis.evaluation.ladder import unit_pixels
from analysis.exploration.image_features import (
    FEATURES,
    ImageColumns,
    bounding_boxes,
    contrast,
    measure_features,
    sharpness,
    side_coverage,
)


def drawn(rows: slice, columns: slice, value: int = 200) -> np.ndarray:
    """One image with a filled rectangle: uint8 [1, 28, 28]."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, rows, columns] = value
    return image


def test_a_rectangle_is_measured_as_drawn() -> None:
    """Box, proportions, covered share, centre and symmetry of a rectangle are those it was drawn with."""
    row = measure_features(drawn(slice(4, 24), slice(9, 19))).iloc[0]
    assert (row["height"], row["width"], row["aspect"]) == (20, 10, 2)
    assert (row["centre row"], row["centre column"], row["symmetry"]) == (13.5, 13.5, 1)
    assert row["foreground coverage"] == pytest.approx(200 / 784) and row["brightness"] == pytest.approx(
        200 * 200 / 784
    )


def test_each_feature_is_measured_in_its_own_column() -> None:
    """Of a wide rectangle in a corner no two of height, width, aspect, centre row and centre column are exchanged."""
    row = measure_features(drawn(slice(2, 6), slice(8, 24), 100)).iloc[0]
    assert (row["height"], row["width"], row["aspect"]) == (4, 16, 0.25)
    assert (row["centre row"], row["centre column"]) == (3.5, 15.5)
    assert row["taper"] == pytest.approx(16 * 2 / 6) and row["contrast"] == pytest.approx(0, abs=1e-3)
    assert row["symmetry"] == pytest.approx(1 - 8 / 32), "four of sixteen columns have no counterpart on the other side"
    black = measure_features(np.zeros((1, 28, 28), np.uint8)).iloc[0]
    assert black[["height", "width", "contrast", "sharpness", "brightness"]].tolist() == [0] * 5
    assert black[["centre row", "centre column", "aspect"]].tolist() == [13.5, 13.5, 1]


def test_pixels_from_the_threshold_on_are_foreground() -> None:
    """16 is the least level of the garment; 15 is noise."""
    assert bounding_boxes(drawn(slice(3, 4), slice(5, 7), 16)).tolist() == [[3, 4, 5, 7]]
    assert bounding_boxes(drawn(slice(3, 4), slice(5, 7), 15)).tolist() == [[0, 0, 0, 0]]


def test_the_sides_are_the_seven_outer_columns() -> None:
    """A bar over all columns has half of its pixels there, one inside has none, an image without foreground none."""
    images = np.concatenate([drawn(slice(5, 9), columns) for columns in (slice(0, 28), slice(7, 21), slice(6, 22))])
    assert side_coverage(images).tolist() == [0.5, 0, 2 / 16]
    assert side_coverage(np.zeros((1, 28, 28), np.uint8)).tolist() == [0]


def test_columns_are_the_features_and_then_the_components() -> None:
    """Two-sample tests split the rows again; features that were measured before are used as they are."""
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    columns = ImageColumns.fit(images)
    rows = columns.transform(images)
    assert rows.shape == (60, len(FEATURES) + 40) and rows.dtype == np.float32
    assert ImageColumns.features(rows) == pytest.approx(measure_features(images).to_numpy(), rel=1e-5)
    expected = columns.directions.project(unit_pixels(images), 40)
    assert (ImageColumns.components(rows) == expected).all()
    known = measure_features(images) + 1
    assert ImageColumns.features(columns.transform(images, known)) == pytest.approx(known.to_numpy(), rel=1e-5)


def test_the_box_ends_where_the_foreground_ends() -> None:
    """Top and left are the first row and column with foreground, bottom and right come after the last."""
    assert bounding_boxes(drawn(slice(3, 10), slice(20, 28))).tolist() == [[3, 10, 20, 28]]


def test_noise_at_the_fringe_is_not_the_garment() -> None:
    """Pixels below the foreground threshold do not widen the box."""
    image = drawn(slice(5, 10), slice(5, 10))
    image[0, 0, 0] = 15
    assert bounding_boxes(image).tolist() == [[5, 10, 5, 10]]


def test_contrast_is_of_the_garment_alone() -> None:
    """A plain garment has none whatever its size; two halves of 100 and 200 have their standard deviation, 50."""
    assert contrast(drawn(slice(0, 5), slice(0, 5)))[0] == pytest.approx(0, abs=1e-3)
    halves = drawn(slice(0, 10), slice(0, 10), 100) | drawn(slice(10, 20), slice(0, 10), 200)
    assert contrast(halves)[0] == pytest.approx(50, abs=1e-3)


def test_sharpness_is_the_deviation_of_the_laplacian() -> None:
    """One bright pixel gives 4, -1, -1, -1, -1 times its value, which sum to nothing."""
    expected = 200 * np.sqrt(20 / 26**2)
    assert sharpness(drawn(slice(10, 11), slice(10, 11)))[0] == pytest.approx(expected, rel=1e-5)


@given(hnp.arrays(np.uint8, (3, 28, 28)))
def test_every_figure_is_finite(images: np.ndarray) -> None:
    """Whatever the picture, a black one included, there is a number for every feature."""
    images[0] = 0
    table = measure_features(images)
    assert table.shape == (3, len(FEATURES)) and np.isfinite(table.to_numpy()).all()


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is the same however many images are measured at a time."""
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28)).astype(np.uint8)
    whole = measure_features(images)
    monkeypatch.setattr("analysis.exploration.image_features.BLOCK", 3)
    assert measure_features(images).equals(whole)
