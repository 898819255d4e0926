"""What TensorBoard shows of a training: scalars, the graph, pictures of mistakes and confusion, and the projector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.plugins import projector

from analysis.training.pictures import confusion_picture, mistakes_picture, sprite
from models.probabilities import softmax
from models.scores import group_confusion
from models.taxonomy import Taxonomy
from models.training import PREDICT_BATCH, Task

MISTAKES = 24
VALIDATION = "validation"
"""The directory that Keras's TensorBoard callback writes validation scores to."""


class Pictures:
    """Draws the confusion matrix and the most confident mistakes on validation after an epoch.

    Args:
        logs: The directory that TensorBoard reads.
        task: Its validation images are drawn.
        taxonomy: The groups' names.
        every: Epochs between two pictures.
    """

    def __init__(self, logs: Path, task: Task, taxonomy: Taxonomy, every: int) -> None:
        self._task, self._taxonomy, self._every = task, taxonomy, every
        self._writer = tf.summary.create_file_writer(str(logs / VALIDATION))

    def __call__(self, epoch: int, logits: NDArray[np.float32]) -> None:
        """Writes the two pictures every so many epochs, for validation logits [M, garments]."""
        if (epoch + 1) % self._every:
            return
        task = self._task
        probabilities = softmax(logits)
        confusion = group_confusion(probabilities @ task.membership, task.validation_groups)
        with self._writer.as_default(step=epoch):
            tf.summary.image("confusion", confusion_picture(confusion, self._taxonomy.groups)[None])
            tf.summary.image("mistakes", self._mistakes(probabilities @ task.membership)[None])
        self._writer.flush()

    def _mistakes(self, groups: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        task = self._task
        true, predicted = task.validation_groups, groups.argmax(axis=1)
        wrong = np.flatnonzero(true != predicted)
        worst = wrong[np.argsort(-groups[wrong, predicted[wrong]], kind="stable")][:MISTAKES]
        names = self._taxonomy.groups
        captions = [f"{names[true[i]]} taken for\n{names[predicted[i]]} {groups[i, predicted[i]]:.0%}" for i in worst]
        return mistakes_picture(task.validation_images[worst], captions)


def write_projector(logs: Path, model: keras.Model, task: Task, taxonomy: Taxonomy, count: int) -> None:
    """Writes the pooled features of the first validation images, with names and a sprite, for TensorBoard's projector.

    Args:
        logs: The directory that TensorBoard reads.
        model: A trained network with a layer "features".
        task: Its validation images are embedded.
        taxonomy: The names.
        count: How many images; 0 for none.
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
    sprite(images).save(logs / "sprite.png")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "validation features"
    embedding.tensor_path, embedding.metadata_path = "features.tsv", "names.tsv"
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([28, 28])
    projector.visualize_embeddings(str(logs), config)
