"""Intrinsic dimension: a planted one is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import gamma
from sklearn.decomposition import PCA

from analysis.exploration.intrinsic_dimension import dimensions, dimensions_by_scale, many_nearest, two_nearest
from analysis.exploration.neighbours import nearest
from tests.analysis.exploration.synthetic_data import make_data


def sheet(dimension: int, count: int = 1500) -> np.ndarray:
    """The ten least distances of points on a bent sheet in 50 dimensions, float64 [count, 10]."""
    rng = np.random.default_rng(dimension)
    flat = rng.uniform(size=(count, dimension))
    bent = np.concatenate([np.sin(flat), np.cos(flat), flat**2], axis=1)
    values = bent @ rng.normal(size=(3 * dimension, 50))
    return np.sort(cdist(values, values), axis=1)[:, 1:11]


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_dimension_of_a_bent_sheet_is_found(dimension: int) -> None:
    """Both estimators see the sheet and not the space around it."""
    distances = sheet(dimension)
    two = two_nearest(distances)
    assert two.low < two.value < two.high and two.high - two.low < 0.25 * dimension
    assert two.value == pytest.approx(dimension, rel=0.12)
    assert many_nearest(distances) == pytest.approx(dimension, rel=0.12)


def test_the_estimates_are_those_of_the_papers() -> None:
    """Ratios of 2 and 8 give 1 / ln 16, an interval by the gamma law, and a mean inverse over all neighbours."""
    distances = np.array([[1.0, 2.0, 4.0], [1.0, 8.0, 8.0]])
    found = two_nearest(distances)
    assert found.value == pytest.approx(1 / np.log(16))
    assert [found.low, found.high] == pytest.approx(gamma.ppf([0.025, 0.975], 2) / np.log(16))
    narrow = two_nearest(distances, level=0.5)
    assert [narrow.low, narrow.high] == pytest.approx(gamma.ppf([0.25, 0.75], 2) / np.log(16))
    inverse = [(np.log(4) + np.log(2)) / 2, (np.log(8) + np.log(1)) / 2]
    assert many_nearest(distances) == pytest.approx(1 / np.mean(inverse))


def test_the_interval_holds_the_dimension_of_independent_ratios() -> None:
    """Of 300 samples of Pareto ratios the 95% interval holds the exponent about as often."""
    random = np.random.default_rng(0)
    found = [two_nearest(np.column_stack([np.ones(40), random.pareto(3, 40) + 1])) for _ in range(300)]
    assert 0.92 < np.mean([one.low <= 3 <= one.high for one in found]) < 0.98
    assert np.mean([one.value for one in found]) == pytest.approx(3, rel=0.03)


def test_dimensions_are_of_the_training_images_of_each_class() -> None:
    """Every row is of its own images, nearest within the class, and the test images do not count."""
    data = make_data(400, 100)
    table = dimensions(data, seed=0)
    assert table.loc[table["kind"] == "garment", "images"].tolist() == [40] * 10
    assert table.iloc[0][["kind", "images"]].tolist() == ["all", 400]
    sizes = np.bincount(data.groups[data.train_rows])
    assert table.loc[table["kind"] == "group", "images"].tolist() == sizes.tolist()
    rows = data.train_rows[data.garments[data.train_rows] == 3]
    distances = np.sort(cdist(data.pixels[rows], data.pixels[rows]), axis=1)[:, 1:11]
    dress = table[table["name"] == "Dress"].iloc[0]
    expected = two_nearest(distances)
    assert dress[["two_nearest", "low", "high"]].tolist() == pytest.approx(
        [expected.value, expected.low, expected.high], rel=1e-3
    )
    assert dress["many_nearest"] == pytest.approx(many_nearest(distances), rel=1e-3) and dress["number"] == 3
    explained = PCA(svd_solver="full").fit(data.pixels[rows]).explained_variance_ratio_.cumsum()
    assert dress["linear"] == int((explained < 0.95).sum()) + 1


def test_scales_are_sixtieths_twentieths_and_sixths_of_the_training_images() -> None:
    """Fewer than 50 images are no scale; the finest is all images by their known neighbours."""
    data = make_data(1200, 50)
    neighbours = nearest(data.pixels, 1200, 5)
    table = dimensions_by_scale(data, neighbours, seed=0)
    assert table["images"].tolist() == [60, 200, 1200]
    expected = two_nearest(neighbours.rmse[:1200])
    assert table.iloc[-1][["two_nearest", "low", "high"]].tolist() == [expected.value, expected.low, expected.high]


def test_copies_are_left_out() -> None:
    """Distances of zero have no ratio; the others decide."""
    distances = sheet(2)
    copies = np.concatenate([np.zeros((5, 10)), distances])
    assert two_nearest(copies) == two_nearest(distances) and many_nearest(copies) == many_nearest(distances)


def test_too_few_distances_have_no_dimension() -> None:
    """Where nothing can be estimated the answer is NaN."""
    assert np.isnan(two_nearest(np.zeros((3, 2))).value) and np.isnan(many_nearest(np.zeros((3, 2))))
