"""Batches follow from seed and number alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batches import SHIFT, Batches, flip, shift
from tests.synthetic import images_and_garments

IMAGES, GARMENTS = images_and_garments(100, 0)
RANDOM = np.random.default_rng(0)


def batches(**changes: int) -> Batches:
    """Batches of 16 of the 100 images."""
    return Batches(IMAGES, GARMENTS, augmentation="flip_and_shift", **{"batch_size": 16, "seed": 1, **changes})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(0, 11))
def test_resumed_batches_are_those_of_an_undisturbed_training(epoch: int, index: int) -> None:
    """Beginning with a later epoch gives the batches that the endless sequence has there."""
    whole, resumed = batches(), batches(epoch=epoch)
    for one, other in zip(whole[epoch * whole.an_epoch + index], resumed[index], strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_epoch_holds_no_image_twice() -> None:
    """An epoch is a permutation, cut into batches; the next one is another."""
    plain = Batches(np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8), GARMENTS,
                    batch_size=16, seed=1, augmentation="none")  # fmt: skip
    first, second = ([int(i[0, 0]) for n in range(6) for i in plain[epoch * 6 + n][0]] for epoch in (0, 1))
    assert len(set(first)) == len(first) == 96 and first != second


def test_another_seed_gives_other_batches() -> None:
    """The seed decides order and augmentation."""
    assert (batches(seed=1)[0][0] != batches(seed=2)[0][0]).any()


def test_augmentation_keeps_the_image_up_to_flip_and_shift() -> None:
    """Every augmented image is the original, flipped or not, cut out of a black ground at most `SHIFT` pixels off."""
    for image, changed in zip(IMAGES, shift(flip(IMAGES, RANDOM), RANDOM), strict=True):
        candidates = []
        for version in (image, image[:, ::-1]):
            ground = np.pad(version, SHIFT)
            candidates += [ground[y : y + 28, x : x + 28] for y in range(2 * SHIFT + 1) for x in range(2 * SHIFT + 1)]
        assert any((changed == c).all() for c in candidates)


def test_too_few_images_are_refused() -> None:
    """A batch larger than the data says so."""
    with pytest.raises(ValueError, match=r"at least 200\. Received: 100"):
        batches(batch_size=200)
