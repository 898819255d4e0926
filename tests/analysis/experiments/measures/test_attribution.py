"""Attributions add up to the change in the odds, and regions cover the image once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from analysis.experiments.measures.attribution import (
    attribution_by_region,
    float_network,
    gradient,
    group_logits,
    integrated_gradients,
    regions,
)
from models.families import build, with_flip_tta
from models.taxonomy import Taxonomy

MEMBERSHIP = np.array(Taxonomy.load().membership())
PAIRS = np.array([[2, 0], [0, 2], [1, 3]])
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
BLACK = np.zeros((1, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def network():
    """A small network with first weights."""
    keras.utils.set_random_seed(0)
    return build("quick", 10, width=8, dropout=0.1)


@pytest.fixture(scope="module")
def linear():
    """Logits that are weights times pixels."""
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28), dtype="uint8")
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Rescaling(1 / 255)(image))))


def test_a_float_copy_predicts_like_the_network_and_has_gradients(network):
    """Also when the network is nested in another, as with flip TTA."""
    for model in (network, with_flip_tta(network)):
        copy = float_network(model)
        pixels = IMAGES.astype(np.float32)
        assert group_logits(copy, pixels, MEMBERSHIP) == pytest.approx(
            group_logits(model, IMAGES, MEMBERSHIP), abs=1e-4
        )
        assert np.abs(group_logits(copy, pixels * 0.999, MEMBERSHIP) - group_logits(copy, pixels, MEMBERSHIP)).max() > 0
        assert (gradient(copy, pixels, MEMBERSHIP, PAIRS) != 0).any(axis=(1, 2)).all()


def test_a_group_is_as_probable_as_its_garments_together(network):
    """The groups' logits give the sums of the garments' probabilities."""
    garments = keras.ops.convert_to_numpy(keras.ops.softmax(network(IMAGES)))
    groups = keras.ops.convert_to_numpy(keras.ops.softmax(group_logits(network, IMAGES, MEMBERSHIP)))
    assert groups == pytest.approx(garments @ MEMBERSHIP, abs=1e-5)


def _log_odds(network: keras.Model, images: np.ndarray) -> np.ndarray:
    logits = group_logits(network, images, MEMBERSHIP).astype(np.float64)
    return logits[:, PAIRS[:, 0]] - logits[:, PAIRS[:, 1]]


@pytest.mark.parametrize("baselines", [BLACK, IMAGES[::-1, ::-1][:2].copy()], ids=["black", "other images"])
def test_attributions_add_up_to_the_change_in_the_odds(network, baselines):
    """To 1% of the change from the mean of the baselines."""
    values = integrated_gradients(float_network(network), IMAGES, MEMBERSHIP, PAIRS, baselines, steps=256)
    change = np.diag(_log_odds(network, IMAGES)) - _log_odds(network, baselines).mean(axis=0)
    assert np.abs(values.sum(axis=(1, 2)) - change).sum() < 0.01 * np.abs(change).sum()


def test_attributions_of_a_linear_network_are_its_weights_times_the_pixels(linear):
    """However many steps; with a baseline, times the difference from it."""
    weights = linear.get_weights()[0].reshape(28, 28, 5)
    pairs = np.array([[2, 0], [0, 2], [1, 3]])
    expected = np.stack([weights[:, :, a] - weights[:, :, b] for a, b in pairs]) / 255
    copy = float_network(linear)
    black = integrated_gradients(copy, IMAGES, np.eye(5), pairs, BLACK, steps=3)
    assert black == pytest.approx(expected * IMAGES, abs=1e-5)
    other = integrated_gradients(copy, IMAGES, np.eye(5), pairs, IMAGES[:1], steps=2)
    assert other == pytest.approx(expected * (IMAGES.astype(np.float64) - IMAGES[0]), abs=1e-5)


def test_pixels_that_are_black_in_image_and_baseline_get_no_attribution(network):
    """The axiom of the dummy pixel."""
    images = IMAGES.copy()
    images[:, :10] = 0
    values = integrated_gradients(float_network(network), images, MEMBERSHIP, PAIRS, BLACK, steps=4)
    assert not values[:, :10].any()
    assert values[:, 10:].any()


THIRDS = ("upper third", "middle third", "lower third")
SETS = (THIRDS, ("sides", "centre"), ("silhouette edge", "interior", "background"))


def _squares() -> np.ndarray:
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 8:20, 10:18] = 200
    return images


def test_every_pixel_lies_in_one_region_of_each_set():
    """Also in images without foreground and without background."""
    images = np.concatenate([_squares(), np.zeros((1, 28, 28), np.uint8), np.full((1, 28, 28), 255, np.uint8)])
    masks = regions(images)
    for names in SETS:
        assert (sum(masks[name].astype(int) for name in names) == 1).all()
    assert masks["background"][4].all()
    assert masks["interior"][5].all()


def test_the_edge_of_a_square_is_one_pixel_to_either_side():
    """14 x 10 pixels around less 10 x 6 inside."""
    masks = regions(_squares())
    assert (masks["silhouette edge"].sum(axis=(1, 2)) == 14 * 10 - 10 * 6).all()
    assert (masks["interior"].sum(axis=(1, 2)) == 10 * 6).all()


def test_sums_over_regions_keep_the_sign() -> None:
    """A map with -3 in the lower third and 1 in the upper one; each set of regions adds up to the whole map."""
    maps = np.zeros((4, 28, 28))
    maps[:3, 2, 14], maps[:3, 26, 0] = 1, -3
    sums = attribution_by_region(maps, _squares())
    assert sums["lower third"].tolist() == [-3, -3, -3, 0] and sums["upper third"].tolist() == [1, 1, 1, 0]
    for names in SETS:
        assert sum(sums[name] for name in names).tolist() == [-2, -2, -2, 0]
