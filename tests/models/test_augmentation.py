"""Augmentations change images as they say, the same for the same random numbers, and targets with them."""

from __future__ import annotations

from collections import Counter

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
def test_flips_and_shifts_of_every_size_are_drawn(pixels: int) -> None:
    """An image comes out flipped and not, at every offset up to the largest, about equally often; the rest is black."""
    image, rng, count = random(9).integers(1, 256, (28, 28), np.uint8), random(), 4000
    steps = range(-pixels, pixels + 1)
    frames = [np.pad(version, pixels) for version in (image, image[:, ::-1])]
    possible = {
        frame[pixels + y : pixels + y + 28, pixels + x : pixels + x + 28].tobytes(): (flipped, y, x)
        for flipped, frame in enumerate(frames)
        for y in steps
        for x in steps
    }
    drawn = Counter(
        possible[changed.tobytes()] for changed in shift(flip(np.repeat(image[None], count, axis=0), rng), pixels, rng)
    )
    assert len(drawn) == len(possible) == 2 * len(steps) ** 2
    expected = count / len(possible)
    assert all(abs(times - expected) < 5 * expected**0.5 for times in drawn.values())


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
