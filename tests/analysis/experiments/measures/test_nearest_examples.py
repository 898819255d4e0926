"""Neighbours are those of a brute-force search, by features of a network or by pixels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from analysis.experiments.measures.nearest_examples import features, nearest_examples, pixels
from models.families import build

GROUP_OF = (0, 0, 1, 2)


def test_neighbours_are_those_of_brute_force():
    """Rows, distances, garments and groups, nearest first."""
    rng = np.random.default_rng(0)
    queries, known = (rng.normal(size=(count, 12)).astype(np.float32) for count in (20, 300))
    garments = rng.integers(0, 4, 300)
    found = nearest_examples(queries, known, garments, GROUP_OF, k=7)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - known[None], axis=2)
    rows = np.argsort(distances, axis=1)[:, :7]
    np.testing.assert_array_equal(found.rows, rows)
    assert found.distance == pytest.approx(np.take_along_axis(distances, rows, axis=1), abs=1e-4)
    np.testing.assert_array_equal(found.garments, garments[rows])
    np.testing.assert_array_equal(found.groups, np.array(GROUP_OF)[garments[rows]])


def test_there_are_no_more_neighbours_than_training_images():
    """Of three training images there are three neighbours, not ten."""
    known = np.eye(3, dtype=np.float32)
    assert nearest_examples(known, known, np.arange(3), GROUP_OF).rows.shape == (3, 3)


def test_features_are_those_of_the_named_layer():
    """The logits follow from them by the last layer's weights."""
    keras.utils.set_random_seed(0)
    network = build("quick", 10, width=8, dropout=0.0)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    kernel, bias = network.get_layer("logits").get_weights()
    logits = keras.ops.convert_to_numpy(network(images))
    assert features(network, images) @ kernel + bias == pytest.approx(logits, abs=1e-4)
    with pytest.raises(ValueError, match="No such layer"):
        features(network, images, "no layer")


def test_pixels_as_features_are_between_0_and_1():
    """Black is 0 and white is 1."""
    assert pixels(np.array([[[0, 255], [51, 0]]], np.uint8)) == pytest.approx(np.array([[0, 1, 0.2, 0]]))
