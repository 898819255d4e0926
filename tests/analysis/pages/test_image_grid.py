"""The grid of images that a notebook displays."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.pages.image_grid import GAP, LINE, image_grid

IMAGES = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)


def test_images_are_enlarged_in_rows() -> None:
    """Every pixel of an image becomes a square; the rest is white."""
    grid = np.asarray(image_grid(IMAGES, columns=3, scale=2).convert("L"))
    assert grid.shape == (2 * (8 + GAP), 3 * (8 + GAP))
    left, top = 8 + GAP, 8 + GAP
    assert (grid[top : top + 8, left : left + 8] == np.kron(IMAGES[4], np.ones((2, 2)))).all()
    assert (grid[top:, left + 8 :] == 255).all()
    assert (grid[:8, left : left + 8] == np.kron(IMAGES[1], np.ones((2, 2)))).all(), "the second is right of the first"


def test_captions_are_drawn_below_their_image() -> None:
    """The longest caption decides the height of a row."""
    plain, captioned = image_grid(IMAGES[:2]), image_grid(IMAGES[:2], ["one", "two\nlines"])
    assert captioned.height == plain.height + 2 * LINE
    below = np.asarray(captioned.convert("L"))[16:]
    assert below[:, :16].min() < 128 and (below[-GAP:] == 255).all()


@pytest.mark.parametrize("captions", [(), []])
def test_no_images_are_an_empty_picture(captions: list[str]) -> None:
    """A filter may leave nothing."""
    assert np.asarray(image_grid(IMAGES[:0], captions)).min() == 255
