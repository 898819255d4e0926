"""Augmentations change images as they say, the same for the same random numbers, and targets with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

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


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_erased_rectangles_are_noise_of_a_fiftieth_to_a_third_of_the_area(share: float) -> None:
    """A share of the images is erased, anywhere in the image, with noise of all grey levels."""
    plain = np.full((3000, 28, 28), 77, np.uint8)
    erased = erase(plain, share, random(1))
    changed = erased != 77
    assert changed.any(axis=(1, 2)).mean() == pytest.approx(share, abs=0.03)
    if share == 1.0:
        noise = erased[changed]
        assert noise.mean() == pytest.approx(127.5, abs=2) and noise.min() == 0 and noise.max() == 255
        # A rectangle inside the image has 2% to a third of its pixels; centres at the edges lose up to three quarters.
        inside = [image for image in changed if not image[[0, -1]].any() and not image[:, [0, -1]].any()]
        areas = np.array([image.any(axis=1).sum() * image.any(axis=0).sum() for image in inside]) / 784
        assert 0.01 < areas.min() < 0.04 and 0.25 < areas.max() < 0.36
        assert changed.mean(axis=0).min() > 0.03, "every pixel is erased at times"
    else:
        assert (erased[~changed] == 77).all()


def test_mixup_blends_images_and_targets_alike() -> None:
    """A pixel's grey level follows from the shares of the two garments in the target, near the ends for alpha 0.2."""
    levels = np.arange(10) * 20 + 40
    images, targets = mixup(levels[GARMENTS][:, None, None] * np.ones((1, 28, 28), np.uint8), TARGETS, 0.2, random())
    np.testing.assert_allclose(images[:, 3, 3], targets @ levels, atol=0.51)
    shares = np.concatenate([mixup(IMAGES, TARGETS, 0.2, random(seed))[1].max(axis=1) for seed in range(5)])
    mixed = np.concatenate([mixup(IMAGES, TARGETS, 1.0, random(seed))[1].max(axis=1) for seed in range(5)])
    assert np.mean(shares > 0.9) > 0.6 > 0.4 > np.mean(mixed > 0.9)


def test_shipped_augmentations_are_what_they_are_called() -> None:
    """Each adds to flips and shifts of a pixel what its name says."""
    assert dict(AUGMENTATIONS) == {
        "none": Augmentation(flip=False, shift=0, erase=0.0, mixup=0.0),
        "flip": Augmentation(flip=True, shift=0, erase=0.0, mixup=0.0),
        "flip_and_shift": Augmentation(flip=True, shift=1, erase=0.0, mixup=0.0),
        "flip_shift_erase": Augmentation(flip=True, shift=1, erase=0.25, mixup=0.0),
        "flip_shift_mixup": Augmentation(flip=True, shift=1, erase=0.0, mixup=0.2),
    }


@pytest.mark.parametrize(
    ("augmentation", "change"),
    [
        (Augmentation(flip=True, shift=0), lambda rng: flip(IMAGES, rng)),
        (Augmentation(flip=False, shift=2), lambda rng: shift(IMAGES, 2, rng)),
        (Augmentation(flip=False, shift=0, erase=0.5), lambda rng: erase(IMAGES, 0.5, rng)),
        (Augmentation(), lambda rng: shift(flip(IMAGES, rng), 1, rng)),
    ],
)
def test_each_setting_makes_its_own_change(augmentation: Augmentation, change: Any) -> None:
    """Nothing else is changed, and targets only by mixup."""
    images, targets = augmentation(IMAGES, TARGETS, random(5))
    np.testing.assert_array_equal(images, change(random(5)))
    assert targets is TARGETS and (images != IMAGES).any()


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
