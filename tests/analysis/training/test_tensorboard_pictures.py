"""The pictures of a training for TensorBoard show counts, errors and sprites in the right cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.training.tensorboard_pictures import (
    CELL,
    ERRORS,
    MARGIN,
    SCALE,
    PictureLog,
    draw_confusion,
    draw_errors,
    draw_sprite,
)
from models.taxonomy import Taxonomy
from models.training import Task
from tests.synthetic import images_and_garments


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


def test_rows_of_the_confusion_matrix_are_true_groups() -> None:
    """Counts are those of the cell, in white on a dark one, and the names stand beside rows and above columns."""
    counts = np.array([[9, 1], [7, 3]])
    one, other = (draw_confusion(matrix, ["a", "b"]) for matrix in (counts, counts.T))
    assert one.shape == (MARGIN + 2 * CELL, MARGIN + 2 * CELL, 3)
    cells = {
        (row, column): one[MARGIN + row * CELL :, MARGIN + column * CELL :][: CELL - 1, : CELL - 1]
        for row in (0, 1)
        for column in (0, 1)
    }
    shades = {place: int(cell[2, 2, 0]) for place, cell in cells.items()}
    assert shades == {(0, 0): 25, (0, 1): 229, (1, 0): 76, (1, 1): 178}
    lighter = {place for place, cell in cells.items() if cell[:, :, 0].max() > shades[place] + 40}
    darker = {place for place, cell in cells.items() if cell[:, :, 0].min() < shades[place] - 40}
    assert (lighter, darker) == ({(0, 0), (1, 0)}, {(0, 1), (1, 1)}), "the text is white on dark cells, black on others"
    assert (one != other).any()
    renamed = draw_confusion(counts, ["a", "long name"])
    changed = (renamed != draw_confusion(counts, ["a", "b"])).any(axis=2)
    assert changed[MARGIN + CELL :, :MARGIN].any() and changed[:MARGIN, MARGIN + CELL :].any()
    assert not changed[MARGIN : MARGIN + CELL, :MARGIN].any() and not changed[MARGIN:, MARGIN:].any()


def test_an_error_stands_above_its_caption() -> None:
    """The eighth image is the second of the second row, enlarged, and only its caption changes below it."""
    images = np.arange(8, dtype=np.uint8)[:, None, None] * np.full((28, 28), 30, np.uint8)
    drawn = draw_errors(images, ["same"] * 8)
    width, height = drawn.shape[1] // 6, drawn.shape[0] // 2
    tile = drawn[height + 4 : height + 4 + 28 * SCALE, width + 20 : width + 20 + 28 * SCALE]
    assert (tile == 210).all()
    rows, columns = np.nonzero((drawn != draw_errors(images, [*["same"] * 7, "other"])).any(axis=2))
    assert (columns // width == 1).all() and (rows > height + 4 + 28 * SCALE).all()


def test_the_most_confident_errors_are_drawn_first() -> None:
    """Correct images are left out, and the caption has the true group, the predicted one, and its probability."""
    taxonomy = Taxonomy.load()
    rng = np.random.default_rng(0)
    garments = np.arange(60) % 10
    images = rng.integers(0, 256, (60, 28, 28), np.uint8)
    task = Task(images[:0], garments[:0], images, garments, np.array(taxonomy.membership()))
    groups = rng.dirichlet(np.ones(5), 60)
    log = PictureLog.__new__(PictureLog)
    log._task, log._taxonomy = task, taxonomy
    true, predicted = task.validation_groups, groups.argmax(axis=1)
    wrong = sorted(np.flatnonzero(true != predicted), key=lambda i: -groups[i].max())[:ERRORS]
    captions = [
        f"{taxonomy.groups[true[i]]} predicted\nas {taxonomy.groups[predicted[i]]} {groups[i].max():.0%}" for i in wrong
    ]
    assert len(wrong) == ERRORS
    assert np.array_equal(log._draw_errors(groups), draw_errors(images[wrong], captions))


def test_pictures_come_after_every_interval(tmp_path: Path) -> None:
    """With an interval of two, after the second and the fourth epoch."""
    images, garments = images_and_garments(40, 0)
    taxonomy = Taxonomy.load()
    log = PictureLog(tmp_path, Task(images, garments, images, garments, np.array(taxonomy.membership())), taxonomy, 2)
    for epoch in range(5):
        log(epoch, np.eye(10, dtype=np.float32)[garments])
    events = EventAccumulator(str(tmp_path / "validation"), size_guidance={"tensors": 0}).Reload()
    assert [[event.step for event in events.Tensors(tag)] for tag in ("confusion", "errors")] == [[1, 3], [1, 3]]


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
