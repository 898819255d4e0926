"""The smallest edit is the one that an exhaustive search finds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.experiments.measures.counterfactual_edits import rectangles, smallest_edits

SIZE = 8
WEIGHTS = np.random.default_rng(1).normal(size=(SIZE * SIZE, 3))
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


def _predict(images: np.ndarray) -> np.ndarray:
    return (images.reshape(len(images), -1) / 255 @ WEIGHTS).astype(np.float32)


@pytest.mark.parametrize("donors", [np.zeros_like(IMAGES), IMAGES[::-1].copy()])
def test_no_cheaper_part_changes_the_prediction(donors):
    """Checked by trying every part; where none changes the prediction, the image stays."""
    masks = rectangles(SIZE, SIZE, cell=2)
    target = (_predict(IMAGES).argmax(axis=1) + 1) % 3
    edits = smallest_edits(_predict, IMAGES, target, donors, masks)
    for row, image in enumerate(IMAGES):
        costs = [np.inf]
        for mask in masks:
            edited = np.where(mask, donors[row], image)
            if _predict(edited[None]).argmax() == target[row]:
                costs.append(np.abs(edited.astype(float) - image).sum() / 255)
        assert edits.found[row] == np.isfinite(min(costs))
        if edits.found[row]:
            assert edits.cost[row] == pytest.approx(min(costs))
            np.testing.assert_array_equal(edits.images[row], np.where(masks[edits.part[row]], donors[row], image))
            assert _predict(edits.images[row : row + 1]).argmax() == target[row]
            change = edits.images[row].astype(float) - image
            assert np.abs(change).sum() / 255 == pytest.approx(edits.cost[row])
        else:
            assert edits.part[row] == -1
            assert np.isnan(edits.cost[row])
            np.testing.assert_array_equal(edits.images[row], image)


def test_a_planted_sleeve_is_found():
    """Where one cell decides the group, it is the edited part."""
    image = np.full((1, SIZE, SIZE), 100, np.uint8)
    masks = rectangles(SIZE, SIZE, cell=2, mirrored=False)
    edits = smallest_edits(
        lambda images: np.stack([images[:, 2, 6], np.full(len(images), 50.0)], axis=1),
        image, np.array([1]), np.zeros_like(image), masks,
    )  # fmt: skip
    rows, columns = np.nonzero(masks[edits.part[0]])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 3, 6, 7)
    assert edits.cost[0] == pytest.approx(4 * 100 / 255)


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
