"""Principal components: those of scikit-learn, with a fixed sign."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from analysis.exploration.principal_components import directions_for, principal_components, variances
from tests.analysis.exploration.synthetic_data import make_data


def test_components_are_those_of_scikit_learn() -> None:
    """Shares of the variance and coordinates agree, up to the signs."""
    pixels = make_data(300, 10).pixels[:, ::4]
    found, expected = principal_components(pixels), PCA(20, svd_solver="full").fit(pixels.astype(np.float64))
    assert found.explained[:20] == pytest.approx(expected.explained_variance_ratio_, abs=1e-5)
    assert np.abs(found.project(pixels, 5)) == pytest.approx(np.abs(expected.transform(pixels)[:, :5]), abs=2e-3)
    assert variances(pixels) == pytest.approx(found.variances, abs=1e-4)


def test_directions_for_a_share_are_counted() -> None:
    """Exactly enough directions are taken: half of the variance on the first is half explained by one."""
    assert [directions_for(np.array([4.0, 2.0, 1.0, 1.0]), share) for share in (0.5, 0.6, 0.75, 1.0)] == [1, 2, 2, 4]


def test_images_without_variance_explain_nothing() -> None:
    """Equal images have no direction, and do not divide by zero."""
    assert principal_components(np.ones((5, 9), np.float32)).explained.sum() == 0
