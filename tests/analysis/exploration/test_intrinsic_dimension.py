"""Intrinsic dimension: a planted one is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.exploration.intrinsic_dimension import many_nearest, two_nearest


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


def test_copies_are_left_out() -> None:
    """Distances of zero have no ratio; the others decide."""
    distances = sheet(2)
    copies = np.concatenate([np.zeros((5, 10)), distances])
    assert two_nearest(copies) == two_nearest(distances) and many_nearest(copies) == many_nearest(distances)


def test_too_few_distances_have_no_dimension() -> None:
    """Where nothing can be estimated the answer is NaN."""
    assert np.isnan(two_nearest(np.zeros((3, 2))).value) and np.isnan(many_nearest(np.zeros((3, 2))))
