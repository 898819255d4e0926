"""The pictures of a training for TensorBoard show counts, errors and sprites in the right cells."""

from __future__ import annotations

import numpy as np

from analysis.training.tensorboard_pictures import CELL, MARGIN, draw_confusion, draw_errors, draw_sprite


def test_shade_of_a_cell_is_the_share_of_its_row() -> None:
    """A small group's errors are as visible as a large one's."""
    picture = draw_confusion(np.array([[1000, 0], [1, 1]]), ["large", "small"])
    corner = 4
    right, wrong, half = (
        picture[MARGIN + row * CELL + corner, MARGIN + column * CELL + corner]
        for row, column in ((0, 0), (0, 1), (1, 0))
    )
    assert tuple(right) == (0, 114, 178) and tuple(wrong) == (255, 255, 255)
    assert right[0] < half[0] < wrong[0]


def test_errors_are_drawn_in_rows_of_six() -> None:
    """Seven errors need two rows, and no error leaves an empty row."""
    images = np.full((7, 28, 28), 255, np.uint8)
    seven, six = (draw_errors(images[:n], ["a predicted\nas b"] * n) for n in (7, 6))
    assert seven.shape[0] == 2 * six.shape[0] and seven.shape[1:] == six.shape[1:]
    assert draw_errors(images[:0], []).shape == six.shape


def test_sprite_holds_the_images_row_by_row() -> None:
    """TensorBoard's projector cuts the sheet into squares from the top left."""
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    sheet = np.asarray(draw_sprite(images))
    assert sheet.shape == (84, 84)
    assert [sheet[28 * (n // 3), 28 * (n % 3)] for n in range(5)] == [0, 1, 2, 3, 4]
