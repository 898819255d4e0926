"""Studied augmentations change size and mix images as documented; smaller images are means of areas."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from models.augmentation import Augmentation
from models.batches import one_hot
from models.studied.augmentation import Shrink, StudiedAugmentation, cutmix, scale, shrink
from models.studied.families import FAMILIES, RESIZABLE, build
from models.studied.multiply_adds import multiply_adds
from tests.synthetic import images_and_garments

IMAGES, GARMENTS = images_and_garments(50, 0)
TARGETS = one_hot(GARMENTS, 10)
NOISE = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)


@pytest.mark.parametrize("images", [IMAGES, NOISE], ids=["garments", "noise"])
def test_half_the_side_is_the_mean_of_two_by_two(images: np.ndarray) -> None:
    """Each pixel is the rounded mean of four."""
    means = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(shrink(images, 14), np.rint(means).astype(np.uint8))


@pytest.mark.parametrize("side", [28, 27, 20, 14, 5])
def test_brightness_and_type_do_not_change(side: int) -> None:
    """All pixels have the same weight; a uniform image stays uniform."""
    smaller = shrink(NOISE, side)
    assert smaller.shape == (50, side, side) and smaller.dtype == np.uint8
    assert abs(smaller.mean() - NOISE.mean()) < 0.05
    assert (shrink(np.full((1, 28, 28), 255, np.uint8), side) == 255).all()


@pytest.mark.parametrize("side", [20, 14])
def test_layer_shrinks_as_the_function_does(side: int) -> None:
    """A network that works at a side predicts as one that receives images of that side, with the same weights."""
    np.testing.assert_array_equal(np.asarray(Shrink(side)(NOISE)), shrink(NOISE, side))
    fixed, free = (build("plain", 10, width=8, dropout=0.0, side=s) for s in (side, None))
    free.set_weights(fixed.get_weights())
    logits = np.asarray(fixed(IMAGES, training=False))
    np.testing.assert_allclose(logits, np.asarray(free(shrink(IMAGES, side), training=False)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", RESIZABLE)
def test_weights_are_the_same_for_every_side(family: str) -> None:
    """A seed gives the same initial weights for every side; smaller images need fewer multiply-adds."""
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


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(RESIZABLE)))
@pytest.mark.parametrize("side", [20, None])
def test_family_of_one_size_is_rejected(family: str, side: int | None) -> None:
    """The message names the family and those that can be resized."""
    with pytest.raises(ValueError, match=rf"family '{family}' depend on the size.* plain, .*Received: '{family}'"):
        build(family, 10, width=8, dropout=0.0, side=side)


def random(seed: int = 0) -> np.random.Generator:
    """A generator of random numbers."""
    return np.random.default_rng(seed)


def test_scaling_keeps_the_mean_size_and_the_largest_change() -> None:
    """The foreground of a square grows and shrinks by at most the square of the largest change, and does both."""
    squares = np.zeros((300, 28, 28), np.uint8)
    squares[:, 9:19, 9:19] = 200
    foreground = scale(squares, 0.2, random()).sum(axis=(1, 2)) / squares[0].sum()
    assert 0.6 < foreground.min() < 0.75 and 1.3 < foreground.max() < 1.5 and abs(foreground.mean() - 1) < 0.05


def test_cutmix_targets_are_distributions_of_two_garments() -> None:
    """Each target sums up to one and has at most two garments; the images are changed."""
    images, targets = cutmix(IMAGES, TARGETS, 1.0, random())
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert images.dtype == np.uint8 and np.count_nonzero(targets, axis=1).max() == 2 and (images != IMAGES).any()


def test_cutmix_targets_follow_the_area() -> None:
    """Between a black and a white image, the mean brightness is the share of the target."""
    black, white = np.zeros((50, 28, 28), np.uint8), np.full((50, 28, 28), 255, np.uint8)
    targets = one_hot(np.repeat([0, 1], 50), 2)
    images, mixed = cutmix(np.concatenate([black, white]), targets, 1.0, random())
    np.testing.assert_allclose(images.mean(axis=(1, 2)) / 255, mixed[:, 1], atol=1e-6)


def test_augmentation_is_determined_by_the_random_numbers() -> None:
    """The same generator gives the same batch, and the input images do not change."""
    augmentation, before = StudiedAugmentation(scale=0.1, erase=0.3, mixup=0.2, cutmix=1), IMAGES.copy()
    first, again = (augmentation(IMAGES, TARGETS, random(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(IMAGES, before)
    assert first[0].dtype == np.uint8 and first[1].dtype == np.float32


@pytest.mark.parametrize("options", [{}, {"erase": 0.3, "mixup": 0.2}, {"flip": False, "shift": 2}])
def test_shipped_options_mean_the_same(options: dict[str, Any]) -> None:
    """Without studied options the batch is that of the shipped augmentation, bit by bit."""
    for one, other in zip(
        Augmentation(**options)(IMAGES, TARGETS, random()),
        StudiedAugmentation(**options)(IMAGES, TARGETS, random()),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_images_are_small_until_a_share_of_the_training_is_done() -> None:
    """After that share they have full size; for `side_until` 1 the network shrinks them itself."""
    for augmentation, sides in (
        (StudiedAugmentation(side=20, side_until=0.5), [20, 20, 28, 28]),
        (StudiedAugmentation(side=20), [28, 28, 28, 28]),
        (StudiedAugmentation(), [28, 28, 28, 28]),
    ):
        batches = [augmentation(IMAGES, TARGETS, random(), done)[0] for done in (0.0, 0.49, 0.5, 1.0)]
        assert [images.shape[1:] for images in batches] == [(side, side) for side in sides]
        np.testing.assert_array_equal(batches[-1], Augmentation()(IMAGES, TARGETS, random())[0])


@pytest.mark.parametrize("sizes", [{"side": 3}, {"side": 29}, {"side_until": 0.0}, {"side_until": 1.5}])
def test_impossible_sizes_are_rejected(sizes: dict[str, float]) -> None:
    """The message says what is possible."""
    with pytest.raises(ValueError, match=r"a side of 4 to 28 pixels, and side_until in \(0, 1\]\. Received: side "):
        StudiedAugmentation(**sizes)  # type: ignore[arg-type]
