"""Augmentations change images as they say, the same for the same random numbers, and targets with them."""

from __future__ import annotations

import numpy as np
import pytest

from models.augmentation import AUGMENTATIONS, Augmentation, erase, flip, mixup, shift
from models.batches import one_hot
from tests.synthetic import images_and_garments

IMAGES, GARMENTS = images_and_garments(200, 0)
TARGETS = one_hot(GARMENTS, 10)


def random(seed: int = 0) -> np.random.Generator:
    """A generator."""
    return np.random.default_rng(seed)


@pytest.mark.parametrize("pixels", [1, 2])
def test_flipped_and_shifted_images_are_windows_of_the_original(pixels: int) -> None:
    """Every image is the original, flipped or not, cut out of a black ground at most so many pixels off."""
    rng = random()
    for image, changed in zip(IMAGES, shift(flip(IMAGES, rng), pixels, rng), strict=True):
        grounds = [np.pad(version, pixels) for version in (image, image[:, ::-1])]
        steps = range(2 * pixels + 1)
        assert any((changed == g[y : y + 28, x : x + 28]).all() for g in grounds for y in steps for x in steps)


def test_erasing_touches_a_rectangle_in_a_share_of_the_images() -> None:
    """About the share is changed, in at most a third of the area and its rounding."""
    changed = (erase(IMAGES, 0.5, random()) != IMAGES).mean(axis=(1, 2))
    assert 0.4 < (changed > 0).mean() < 0.6 and changed.max() < 0.42


def test_mixed_targets_are_distributions_of_two_garments() -> None:
    """Each target sums up to one and names two garments at most; the images are between or of both."""
    images, targets = mixup(IMAGES, TARGETS, 1.0, random())
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert images.dtype == np.uint8 and (np.count_nonzero(targets, axis=1) <= 2).all()
    assert np.count_nonzero(targets, axis=1).max() == 2 and (images != IMAGES).any()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_augmentation_follows_from_the_random_numbers(augmentation: Augmentation) -> None:
    """The same generator gives the same batch, and the given images stay as they were."""
    before = IMAGES.copy()
    first, again = (augmentation(IMAGES, TARGETS, random(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(IMAGES, before)
    assert first[0].dtype == np.uint8 and first[1].dtype == np.float32


def test_none_changes_nothing() -> None:
    """The name says so."""
    images, targets = AUGMENTATIONS["none"](IMAGES, TARGETS, random())
    assert images is IMAGES and targets is TARGETS
