"""TensorBoard output of a training besides Keras's own: pictures of confusion and errors, and the projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tensorboard.plugins import projector

from models.probabilities import group_confusion, softmax
from models.taxonomy import Taxonomy
from models.training import PREDICT_BATCH, Task

Pixels = NDArray[np.uint8]
VALIDATION = "validation"
"""The directory that Keras's TensorBoard callback writes validation scores to."""
ERRORS = 24
"""Misclassified images a picture."""
CELL, MARGIN = 72, 110
"""Pixels of a cell of the confusion matrix and of the margin for the names."""
SCALE = 3
"""Enlargement of a misclassified image."""


class PictureLog:
    """Draws the confusion matrix and the most confident errors on validation after an epoch.

    Args:
        logs: The directory that TensorBoard reads.
        task: Its validation images are drawn.
        taxonomy: The names of the groups.
        interval: Epochs between two pictures.
    """

    def __init__(self, logs: Path, task: Task, taxonomy: Taxonomy, interval: int) -> None:
        self._task, self._taxonomy, self._interval = task, taxonomy, interval
        self._writer = tf.summary.create_file_writer(str(logs / VALIDATION))

    def __call__(self, epoch: int, logits: NDArray[np.float32]) -> None:
        """Writes the two pictures after every `interval` epochs, for validation logits [M, garments]."""
        if (epoch + 1) % self._interval:
            return
        groups = softmax(logits) @ self._task.membership
        confusion = group_confusion(groups, self._task.validation_groups)
        with self._writer.as_default(step=epoch):
            tf.summary.image("confusion", draw_confusion(confusion, self._taxonomy.groups)[None])
            tf.summary.image("errors", self._draw_errors(groups)[None])
        self._writer.flush()

    def _draw_errors(self, groups: NDArray[np.float64]) -> Pixels:
        true, predicted = self._task.validation_groups, groups.argmax(axis=1)
        errors = np.flatnonzero(true != predicted)
        worst = errors[np.argsort(-groups[errors, predicted[errors]], kind="stable")][:ERRORS]
        names = self._taxonomy.groups
        captions = [
            f"{names[true[i]]} predicted\nas {names[predicted[i]]} {groups[i, predicted[i]]:.0%}" for i in worst
        ]
        return draw_errors(self._task.validation_images[worst], captions)


def write_projector(logs: Path, model: keras.Model, task: Task, taxonomy: Taxonomy, count: int) -> None:
    """Writes the features of the first validation images, with names and a sprite, for TensorBoard's projector.

    Args:
        logs: The directory that TensorBoard reads.
        model: A trained network with a layer "features".
        task: Its validation images are embedded.
        taxonomy: The names.
        count: Number of images; 0 for none.
    """
    if count == 0:
        return
    images, garments = task.validation_images[:count], task.validation_garments[:count]
    embed = keras.Model(model.input, model.get_layer("features").output)
    vectors = embed.predict(images, batch_size=PREDICT_BATCH, verbose=0)
    # The projector looks where there are event files, and reads paths relative to them.
    logs = logs / VALIDATION
    logs.mkdir(parents=True, exist_ok=True)
    np.savetxt(logs / "features.tsv", vectors, fmt="%.5g", delimiter="\t")
    rows = [f"{taxonomy.groups[taxonomy.group_of[g]]}\t{taxonomy.garments[g]}" for g in garments]
    (logs / "names.tsv").write_text("\n".join(["group\tgarment", *rows]) + "\n", encoding="utf-8")
    draw_sprite(images).save(logs / "sprite.png")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "validation features"
    embedding.tensor_path, embedding.metadata_path = "features.tsv", "names.tsv"
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([28, 28])
    projector.visualize_embeddings(str(logs), config)


def draw_confusion(confusion: NDArray[np.int64], names: Sequence[str]) -> Pixels:
    """Draws counts of true (rows) against predicted (columns) groups; returns uint8 [height, width, 3].

    The shade is the share of the row, so that a small group's errors are as visible as a large one's.

    Args:
        confusion: int64 [groups, groups].
        names: The names of the groups.
    """
    side = MARGIN + CELL * len(names)
    picture = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        middle = MARGIN + row * CELL + CELL // 2
        draw.text((MARGIN - 8, middle), name, "black", font, anchor="rm")
        draw.text((middle, MARGIN - 8), name, "black", font, anchor="ms")
        for column in range(len(names)):
            left, top = MARGIN + column * CELL, MARGIN + row * CELL
            share = shares[row, column]
            # White to Okabe and Ito's blue.
            colour = tuple(int(255 + (end - 255) * share) for end in (0, 114, 178))
            draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=colour)
            text_colour = "white" if share > 0.5 else "black"
            count = f"{confusion[row, column]:,}"
            draw.text((left + CELL // 2, top + CELL // 2), count, text_colour, font, anchor="mm")
    draw.text((8, 8), "rows: true group\ncolumns: predicted", "black", font)
    return np.asarray(picture)


def draw_errors(images: Pixels, captions: Sequence[str], columns: int = 6) -> Pixels:
    """Draws images [N, 28, 28] in a grid, each above its caption of two lines; returns uint8 [height, width, 3]."""
    width, height = 28 * SCALE + 40, 28 * SCALE + 40
    rows = max(1, -(-len(images) // columns))
    picture = Image.new("RGB", (columns * width, rows * height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * width, index // columns * height
        tile = Image.fromarray(image).resize((28 * SCALE, 28 * SCALE), Image.Resampling.NEAREST)
        picture.paste(tile, (left + 20, top + 4))
        draw.text((left + width // 2, top + 28 * SCALE + 8), caption, "black", font, anchor="ma", align="center")
    return np.asarray(picture)


def draw_sprite(images: Pixels) -> Image.Image:
    """Puts images [N, 28, 28] on one square sheet, row by row, as the projector reads it."""
    side = int(np.ceil(np.sqrt(len(images))))
    sheet = np.zeros((side * side, 28, 28), np.uint8)
    sheet[: len(images)] = images
    rows = sheet.reshape(side, side, 28, 28).transpose(0, 2, 1, 3)
    return Image.fromarray(rows.reshape(side * 28, side * 28))
