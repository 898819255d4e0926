"""A garment and its mirror image get one answer."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from models.families import build
from models.mirrored import mirrored
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(8, 0)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A small network with the first weights."""
    return build("plain", 10, width=8, dropout=0.1)


def test_averages_the_image_and_its_mirror_image(network: keras.Model) -> None:
    """The logits are the mean of the network's for both, and the same for either."""
    expected = (np.asarray(network(IMAGES)) + np.asarray(network(IMAGES[:, :, ::-1]))) / 2
    averaging = mirrored(network)
    np.testing.assert_allclose(averaging(IMAGES), expected, atol=1e-6)
    np.testing.assert_allclose(averaging(IMAGES[:, :, ::-1]), expected, atol=1e-6)


def test_shares_the_weights_and_survives_saving(network: keras.Model, tmp_path: Path) -> None:
    """No weight is doubled, and the loaded network answers the same."""
    averaging = mirrored(network)
    assert averaging.count_params() == network.count_params()
    averaging.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(IMAGES), averaging(IMAGES), atol=1e-6)
