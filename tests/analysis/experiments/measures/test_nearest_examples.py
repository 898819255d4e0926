"""Neighbours are those of a brute-force search, by features of a network or by pixels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from analysis.experiments.measures.nearest_examples import features, nearest_donors, nearest_groups, pixels
from models.families import build


def test_neighbours_are_those_of_brute_force():
    """The groups are those of the nearest training images, the nearest first."""
    rng = np.random.default_rng(0)
    queries, known = (rng.normal(size=(count, 12)).astype(np.float32) for count in (20, 300))
    groups = rng.integers(0, 4, 300)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - known[None], axis=2)
    rows = np.argsort(distances, axis=1)[:, :7]
    np.testing.assert_array_equal(nearest_groups(queries, known, groups, k=7), groups[rows])


def test_there_are_no_more_neighbours_than_training_images():
    """Of three training images there are three neighbours, not ten."""
    known = np.eye(3, dtype=np.float32)
    assert nearest_groups(known, known, np.arange(3)).shape == (3, 3)


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


def test_donors_are_the_nearest_of_the_target_group():
    """Images of group -1 are excluded however near."""
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8)
    known = np.array([[0], [1], [2], [9]], np.float32)
    donors = nearest_donors(
        np.array([[0], [1]], np.float32), known, images, np.array([-1, 0, 1, 0]), target=np.array([0, 1])
    )
    assert donors[:, 0, 0].tolist() == [1, 2]
