"""Smaller images are means of areas, in memory and inside a network alike."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.families import FAMILIES, OF_ANY_SIDE, build
from models.resolution import Shrink, shrink
from models.studied.cost import multiply_adds
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(50, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)


@pytest.mark.parametrize("images", [IMAGES, NOISE], ids=["garments", "noise"])
def test_half_the_side_is_the_mean_of_two_by_two(images: np.ndarray) -> None:
    """Nothing else comes in, and it is rounded."""
    means = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(shrink(images, 14), np.rint(means).astype(np.uint8))


@pytest.mark.parametrize("side", [28, 27, 20, 14, 5])
def test_brightness_and_type_are_kept(side: int) -> None:
    """Every pixel counts as much as any other; an even ground stays what it is."""
    smaller = shrink(NOISE, side)
    assert smaller.shape == (50, side, side) and smaller.dtype == np.uint8
    assert abs(smaller.mean() - NOISE.mean()) < 0.05
    assert (shrink(np.full((1, 28, 28), 255, np.uint8), side) == 255).all()


@pytest.mark.parametrize("side", [20, 14])
def test_network_shrinks_as_memory_does(side: int) -> None:
    """A network that works at a side answers as one that is given images of it, with the same weights."""
    np.testing.assert_array_equal(np.asarray(Shrink(side)(NOISE)), shrink(NOISE, side))
    fixed, free = (build("plain", 10, width=8, dropout=0.0, side=s) for s in (side, None))
    free.set_weights(fixed.get_weights())
    answers = np.asarray(fixed(IMAGES, training=False))
    np.testing.assert_allclose(answers, np.asarray(free(shrink(IMAGES, side), training=False)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", OF_ANY_SIDE)
def test_weights_are_the_same_for_every_side(family: str) -> None:
    """A seed gives the same first weights whatever the side; an answer costs the less the smaller it is."""
    networks = {}
    for side in (28, 20, None):
        keras.utils.set_random_seed(3)
        networks[side] = build(family, 10, width=8, dropout=0.1, side=side)
    for side in (20, None):
        for one, other in zip(networks[28].get_weights(), networks[side].get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert networks[28].input_shape == networks[20].input_shape == (None, 28, 28)
    assert multiply_adds(networks[20]) < 0.6 * multiply_adds(networks[28])


def test_small_network_is_saved_and_loaded(tmp_path: object) -> None:
    """A .keras file holds its side."""
    small = build("plain", 10, width=8, dropout=0.0, side=20)
    small.save(file := f"{tmp_path}/small.keras")
    again = keras.models.load_model(file)
    np.testing.assert_array_equal(np.asarray(again(IMAGES)), np.asarray(small(IMAGES)))


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(OF_ANY_SIDE)))
@pytest.mark.parametrize("side", [20, None])
def test_family_of_one_size_is_refused(family: str, side: int | None) -> None:
    """The message names it and those that may be resized."""
    with pytest.raises(ValueError, match=rf"family '{family}' depend on the size.* plain, .*Received: '{family}'"):
        build(family, 10, width=8, dropout=0.0, side=side)
