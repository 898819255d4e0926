"""Augmentations change images as they say, the same for the same random numbers, and targets with them."""

from __future__ import annotations

import numpy as np
import pytest

from models.augmentation import AUGMENTATIONS, Augmentation, cutmix, erase, flip, mixup, scale, shift
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


def test_size_is_kept_on_the_whole_and_changed_by_at_most_what_is_asked() -> None:
    """The ink of a square grows and shrinks by at most the square of the largest change, and does both."""
    squares = np.zeros((300, 28, 28), np.uint8)
    squares[:, 9:19, 9:19] = 200
    ink = scale(squares, 0.2, random()).sum(axis=(1, 2)) / squares[0].sum()
    assert 0.6 < ink.min() < 0.75 and 1.3 < ink.max() < 1.5 and abs(ink.mean() - 1) < 0.05


def test_erasing_touches_a_rectangle_in_a_share_of_the_images() -> None:
    """About the share is changed, in at most a third of the area and its rounding."""
    changed = (erase(IMAGES, 0.5, random()) != IMAGES).mean(axis=(1, 2))
    assert 0.4 < (changed > 0).mean() < 0.6 and changed.max() < 0.42


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixed_targets_are_distributions_of_two_garments(mix: object) -> None:
    """Each target sums up to one and names two garments at most; the images are between or of both."""
    images, targets = mix(IMAGES, TARGETS, 1.0, random())  # type: ignore[operator]
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert images.dtype == np.uint8 and (np.count_nonzero(targets, axis=1) <= 2).all()
    assert np.count_nonzero(targets, axis=1).max() == 2 and (images != IMAGES).any()


def test_cutmix_targets_follow_the_area() -> None:
    """Of two plain grounds the share of grey is the share of the target."""
    black, white = np.zeros((50, 28, 28), np.uint8), np.full((50, 28, 28), 255, np.uint8)
    targets = one_hot(np.repeat([0, 1], 50), 2)
    images, mixed = cutmix(np.concatenate([black, white]), targets, 1.0, random())
    np.testing.assert_allclose(images.mean(axis=(1, 2)) / 255, mixed[:, 1], atol=1e-6)


@pytest.mark.parametrize(
    "augmentation", [*AUGMENTATIONS.values(), Augmentation(scale=0.1, erase=0.3, mixup=0.2, cutmix=1)]
)
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


def test_images_are_small_until_a_share_of_the_training_is_done() -> None:
    """Then they are what they are without; a network that is small for good shrinks them by itself."""
    for augmentation, sides in (
        (Augmentation(side=20, side_until=0.5), [20, 20, 28, 28]),
        (Augmentation(side=20), [28, 28, 28, 28]),
        (Augmentation(), [28, 28, 28, 28]),
    ):
        made = [augmentation(IMAGES, TARGETS, random(), done)[0] for done in (0.0, 0.49, 0.5, 1.0)]
        assert [images.shape[1:] for images in made] == [(side, side) for side in sides]
        np.testing.assert_array_equal(made[-1], Augmentation()(IMAGES, TARGETS, random())[0])


@pytest.mark.parametrize("sizes", [{"side": 3}, {"side": 29}, {"side_until": 0.0}, {"side_until": 1.5}])
def test_impossible_sizes_are_refused(sizes: dict[str, float]) -> None:
    """The message says what is possible."""
    with pytest.raises(ValueError, match=r"a side of 4 to 28 pixels, and side_until in \(0, 1\]\. Received: side "):
        Augmentation(**sizes)  # type: ignore[arg-type]
