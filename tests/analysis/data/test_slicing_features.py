"""Slicing features of images with known values, and the bins of the features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.data.slicing_features import (
    FEATURES,
    assign_bins,
    brightness,
    elongation,
    foreground_coverage,
    quantile_edges,
    symmetry,
    taper,
)

images = hnp.arrays(np.uint8, (3, 28, 28))


def picture(rows: slice, columns: slice, value: int = 200) -> np.ndarray:
    """Returns one image with a filled rectangle: uint8 [1, 28, 28]."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, rows, columns] = value
    return image


def test_brightness_is_the_mean_pixel() -> None:
    """A quarter of the picture at 200 has brightness 50."""
    assert brightness(picture(slice(0, 14), slice(0, 14)))[0] == 50


def test_foreground_coverage_is_the_covered_share() -> None:
    """Resampling noise below the threshold does not count as foreground."""
    assert foreground_coverage(picture(slice(0, 14), slice(0, 14)))[0] == 0.25
    assert foreground_coverage(picture(slice(0, 14), slice(0, 14), value=5))[0] == 0


def test_symmetry_is_one_for_a_mirror_image_and_zero_for_one_side() -> None:
    """The image has the largest symmetry if both halves are equal, the smallest if one half is empty."""
    assert symmetry(picture(slice(4, 20), slice(10, 18)))[0] == 1
    assert symmetry(picture(slice(4, 20), slice(0, 14)))[0] == 0


def test_elongation_is_height_over_width() -> None:
    """A tall garment is above 1, a wide one below."""
    assert elongation(picture(slice(2, 26), slice(10, 16)))[0] == 4
    assert elongation(picture(slice(10, 15), slice(4, 24)))[0] == 0.25


def test_partly_symmetric_images_have_the_share_that_is_mirrored() -> None:
    """A bar of four columns of which two are mirrored differs in half of its light."""
    assert symmetry(picture(slice(4, 20), slice(12, 16)))[0] == 1
    assert symmetry(picture(slice(4, 20), slice(10, 14)))[0] == 0
    assert symmetry(picture(slice(4, 20), slice(11, 15)))[0] == pytest.approx(0.5)
    assert symmetry(np.zeros((1, 28, 28), np.uint8))[0] == 1


def test_an_image_without_foreground_is_neither_tall_nor_wide() -> None:
    """Noise below the threshold is background; a level of 16 is foreground."""
    assert elongation(picture(slice(0, 9), slice(0, 3), 15))[0] == 1
    assert elongation(picture(slice(0, 9), slice(0, 3), 16))[0] == 3
    assert foreground_coverage(picture(slice(0, 14), slice(0, 14), 16))[0] == 0.25


def test_the_rows_of_shoulders_and_hem_are_fixed() -> None:
    """Rows 4 to 9 against 18 to 25; the rows around them do not count, and a missing hem counts as one pixel."""
    shoulders, hem = picture(slice(4, 10), slice(0, 12)), picture(slice(18, 26), slice(0, 8))
    others = (
        picture(slice(0, 4), slice(0, 28)) | picture(slice(10, 18), slice(0, 28)) | picture(slice(26, 28), slice(0, 28))
    )
    assert taper(shoulders | hem | others)[0] == pytest.approx(1.5)
    assert taper(shoulders)[0] == 12 and taper(hem)[0] == 0
    # A row more or less at either end would change the means.
    edges = picture(slice(4, 5), slice(0, 6)) | picture(slice(9, 10), slice(0, 6))
    assert taper(edges)[0] == pytest.approx(2)


def test_values_on_an_edge_are_in_the_bin_above() -> None:
    """Edges are quantiles of the values, without the extremes."""
    edges = quantile_edges(np.array([0.0, 1, 2, 3, 4]), 2)
    assert edges.tolist() == [2] and assign_bins(np.array([1.9, 2.0, 2.1]), edges).tolist() == [0, 1, 1]


def test_taper_is_shoulders_over_hem() -> None:
    """A shape twice as wide above as below has taper 2."""
    both = picture(slice(0, 14), slice(6, 22)) | picture(slice(14, 28), slice(10, 18))
    assert taper(both)[0] == 2


@given(images)
def test_every_figure_is_finite(batch: np.ndarray) -> None:
    """Every image has finite features, a black one included."""
    batch[0] = 0
    for feature in FEATURES:
        values = feature.measure(batch)
        assert values.shape == (3,) and np.isfinite(values).all()


@given(hnp.arrays(np.float64, st.integers(50, 200), elements=st.floats(0, 1), unique=True), st.integers(2, 10))
def test_bins_have_equal_sizes(values: np.ndarray, bins: int) -> None:
    """Without ties, the bins of the data that the edges come from differ by at most two."""
    sizes = np.bincount(assign_bins(values, quantile_edges(values, bins)), minlength=bins)
    assert len(sizes) == bins and np.ptp(sizes) <= 2


def test_edges_apply_to_other_data() -> None:
    """Values beyond the edges are in the outer bins."""
    edges = quantile_edges(np.arange(100.0), 10)
    assert assign_bins(np.array([-5.0, 50.0, 500.0]), edges).tolist() == [0, 5, 9]


def test_ties_share_a_bin() -> None:
    """Equal values are in the same bin."""
    assert len(set(assign_bins(np.ones(50), quantile_edges(np.ones(50), 5)).tolist())) == 1


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.column)
def test_column_names_match_the_number_of_bins(feature: object) -> None:
    """A decile has ten bins, a quintile five."""
    assert feature.bins == {"decile": 10, "quintile": 5}[feature.column.split("_")[1]]
