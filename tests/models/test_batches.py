"""Batches depend on the seed and their number only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.augmentation import AUGMENTATIONS
from models.batches import Batches, one_hot
from models.studied.augmentation import StudiedAugmentation
from pipeline.contract.errors import UserError
from tests.synthetic import images_and_garments

IMAGES, GARMENTS = images_and_garments(100, 0)
TARGETS = one_hot(GARMENTS, 10)
NUMBERED = np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)


def batches(images: np.ndarray = IMAGES, **changes: Any) -> Batches:
    """Batches of 16 of the 100 images."""
    return Batches(images, TARGETS, **{"batch_size": 16, "seed": 1, **changes})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.integers(0, 15))
def test_prefetching_can_start_at_any_batch(start: int, more: int) -> None:
    """A resumed training sees the batches that an uninterrupted one sees there."""
    whole = list(batches().prefetch(0, start + more))[start:]
    for one, other in zip(whole, batches().prefetch(start, start + more), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_an_epoch_holds_no_image_twice() -> None:
    """An epoch is a permutation, cut into batches; the next one is another."""
    plain = batches(NUMBERED, augmentation=AUGMENTATIONS["none"])
    first, second = ([int(i[0, 0]) for n in range(6) for i in plain[epoch * 6 + n][0]] for epoch in (0, 1))
    assert len(set(first)) == len(first) == 96 and first != second


def test_shares_decide_how_often_an_image_is_drawn() -> None:
    """An image with all of the weight is the only one that is drawn."""
    only = batches(NUMBERED, augmentation=AUGMENTATIONS["none"], shares=np.eye(100)[7])
    assert {int(image[0, 0]) for image in only[0][0]} == {7}
    shares = np.where(np.arange(100) < 50, 3.0, 1.0)
    drawn = batches(NUMBERED, batch_size=100, augmentation=AUGMENTATIONS["none"], shares=shares)
    assert 0.7 < np.mean([drawn[epoch][0][:, 0, 0] < 50 for epoch in range(40)]) < 0.8


def test_another_seed_gives_other_batches() -> None:
    """The seed determines order and augmentation."""
    order = [batches(NUMBERED, seed=seed, augmentation=AUGMENTATIONS["none"])[0][0] for seed in (1, 2)]
    assert (order[0] != order[1]).any()


def test_every_batch_is_augmented_in_its_own_way() -> None:
    """Batches of one repeated image differ between the steps of an epoch, between epochs and between seeds."""
    repeated = np.repeat(IMAGES[:1], 100, axis=0)
    one, other = (batches(repeated, seed=seed, epochs=3) for seed in (1, 2))
    drawn = [one[index][0].tobytes() for index in range(18)] + [other[0][0].tobytes()]
    assert len(set(drawn)) == 19


def test_targets_follow_their_images() -> None:
    """An image keeps its own target through shuffling and drawing."""
    for shares in (None, np.arange(100.0)):
        images, targets = batches(NUMBERED, augmentation=AUGMENTATIONS["none"], shares=shares)[3]
        assert (targets.argmax(axis=1) == GARMENTS[images[:, 0, 0]]).all()


def test_augmentation_knows_the_share_of_the_training() -> None:
    """Of two epochs of six batches a quarter is three."""
    small = batches(augmentation=StudiedAugmentation(side=14, side_until=0.25), epochs=2)
    assert [images.shape[1] for images, _ in small.prefetch(0, 12)] == [14] * 3 + [28] * 9


def test_too_few_images_are_rejected() -> None:
    """A batch larger than the data is an error that names both numbers."""
    with pytest.raises(UserError, match="(?s)at least 101 images.*Received: 100"):
        batches(batch_size=101)
    assert len(batches(batch_size=100)[0][0]) == 100


def test_one_hot_targets() -> None:
    """The whole weight is on the labelled garment."""
    assert (TARGETS.argmax(axis=1) == GARMENTS).all() and (TARGETS.sum(axis=1) == 1).all()
