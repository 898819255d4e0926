"""The smallest flip is the one that trying everything finds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.experiments.measures.boundary import nearest_donors, rectangles, smallest_flip

SIZE = 8
WEIGHTS = np.random.default_rng(1).normal(size=(SIZE * SIZE, 3))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


def _answer(images: np.ndarray) -> np.ndarray:
    return (images.reshape(len(images), -1) / 255 @ WEIGHTS).astype(np.float32)


@pytest.mark.parametrize("donors", [np.zeros_like(IMAGES), IMAGES[::-1].copy()])
def test_no_cheaper_part_flips_the_answer(donors):
    """By trying every part one by one; where none flips, none is found and the image stays."""
    masks = rectangles(SIZE, SIZE, cell=2)
    to = (_answer(IMAGES).argmax(axis=1) + 1) % 3
    flip = smallest_flip(_answer, IMAGES, to, donors, masks)
    for row, image in enumerate(IMAGES):
        costs = [np.inf]
        for mask in masks:
            edited = np.where(mask, donors[row], image)
            if _answer(edited[None]).argmax() == to[row]:
                costs.append(np.abs(edited.astype(float) - image).sum() / 255)
        assert flip.found[row] == np.isfinite(min(costs))
        if flip.found[row]:
            assert flip.cost[row] == pytest.approx(min(costs))
            np.testing.assert_array_equal(flip.images[row], np.where(masks[flip.part[row]], donors[row], image))
            assert _answer(flip.images[row : row + 1]).argmax() == to[row]
            assert np.abs(flip.change(IMAGES)[row].astype(float)).sum() / 255 == pytest.approx(flip.cost[row])
        else:
            assert flip.part[row] == -1
            assert np.isnan(flip.cost[row])
            np.testing.assert_array_equal(flip.images[row], image)


def test_a_planted_sleeve_is_found():
    """The group hangs on one cell: it is the part that flips, and nothing smaller."""
    image = np.full((1, SIZE, SIZE), 100, np.uint8)
    masks = rectangles(SIZE, SIZE, cell=2, mirrored=False)
    flip = smallest_flip(
        lambda images: np.stack([images[:, 2, 6], np.full(len(images), 50.0)], axis=1),
        image, np.array([1]), np.zeros_like(image), masks,
    )  # fmt: skip
    rows, columns = np.nonzero(masks[flip.part[0]])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 3, 6, 7)
    assert flip.cost[0] == pytest.approx(4 * 100 / 255)


@pytest.mark.parametrize("mirrored", [False, True])
def test_parts_are_all_rectangles_once(mirrored):
    """The smallest first; mirrored, each with its mirror image."""
    masks = rectangles(mirrored=mirrored)
    assert len(np.unique(masks.reshape(len(masks), -1), axis=0)) == len(masks)
    assert (np.diff(masks.sum(axis=(1, 2))) >= 0).all()
    assert masks[-1].all()
    assert len(masks) == (28 * 34 if mirrored else 28 * 28)
    pair = np.zeros((28, 28), bool)
    pair[4:12, :8] = pair[4:12, 20:] = True
    assert (masks == pair).all(axis=(1, 2)).any() == mirrored


def test_donors_are_the_nearest_of_the_wanted_group():
    """Images of group -1 are left out however near."""
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8)
    known = np.array([[0], [1], [2], [9]], np.float32)
    donors = nearest_donors(
        np.array([[0], [1]], np.float32), known, images, np.array([-1, 0, 1, 0]), to=np.array([0, 1])
    )
    assert donors[:, 0, 0].tolist() == [1, 2]
