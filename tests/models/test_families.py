"""The shipped families reject impossible values, and flip TTA averages over an image and its flip."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from models.families import FAMILIES, build, with_flip_tta
from models.training import policy
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(8, 0)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A small network with its initial weights."""
    return build("plain", 10, width=8, dropout=0.1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_family_maps_pixels_to_float32_logits(family: str, precision: str) -> None:
    """uint8 images in, float32 logits out, whatever the precision inside."""
    with policy(precision):
        model = build(family, 10, width=16, dropout=0.1)
    logits = model(np.zeros((3, 28, 28), np.uint8))
    assert model.input.dtype == "uint8" and tuple(logits.shape) == (3, 10)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


@pytest.mark.parametrize(
    ("family", "channels", "features"),
    [("compact", [8, 16, 32, 32, 32], 3 * 3 * 32), ("quick", [16, 32], 64), ("plain", [8, 8, 16, 16, 32, 32], 32)],
)
def test_the_width_counts_the_channels_that_its_family_names(family: str, channels: list[int], features: int) -> None:
    """Of a network of width 16 with five outputs and the dropout before them."""
    model = build(family, 5, width=16, dropout=0.25)
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == channels
    assert model.get_layer("features").output.shape[-1] == features and model.output.shape == (None, 5)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.25]


@pytest.mark.parametrize(
    ("family", "width", "dropout", "message"),
    [
        ("unet", 16, 0.1, "Expected: compact, plain, quick. Received: 'unet'"),
        ("plain", 13, 0.1, "Received: width 13"),
        ("plain", 0, 0.1, "Received: width 0"),
        ("plain", 16, -0.1, "dropout -0.1"),
        ("plain", 16, 1.0, "dropout in .* Received: width 16, dropout 1.0"),
    ],
)
def test_unknown_family_and_impossible_values_are_rejected(
    family: str, width: int, dropout: float, message: str
) -> None:
    """The message names what is possible and what was received."""
    with pytest.raises(ValueError, match=message):
        build(family, 10, width=width, dropout=dropout)


def test_flip_tta_averages_the_image_and_its_flip(network: keras.Model) -> None:
    """The logits are the mean of the network's for both, and the same for either."""
    expected = (np.asarray(network(IMAGES)) + np.asarray(network(IMAGES[:, :, ::-1]))) / 2
    averaging = with_flip_tta(network)
    np.testing.assert_allclose(averaging(IMAGES), expected, atol=1e-6)
    np.testing.assert_allclose(averaging(IMAGES[:, :, ::-1]), expected, atol=1e-6)


def test_flip_tta_shares_the_weights_and_survives_saving(network: keras.Model, tmp_path: Path) -> None:
    """No weight is doubled, and the loaded network predicts the same."""
    averaging = with_flip_tta(network)
    assert averaging.count_params() == network.count_params()
    averaging.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(loaded(IMAGES), averaging(IMAGES), atol=1e-6)
