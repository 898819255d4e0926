"""A small SavedModel with the signatures and outputs of the real export, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples
from tests.synthetic import images_and_garments

SHARPNESS = 4.0
SET_THRESHOLD = 0.2


def export_tiny(
    path: Path, train: Examples | None = None, seed: int = 0, noise: float = 0.0, taxonomy: Taxonomy | None = None
) -> Path:
    """Exports a softmax over the distances to the ten mean garments.

    Args:
        path: The directory of the SavedModel, made when missing.
        train: The examples whose train split gives the means. Defaults to 400 synthetic garments.
        seed: Seed of those garments; another seed gives another, equally good model.
        noise: The standard deviation of noise on the means, which makes the model worse. Defaults to none.
        taxonomy: The groups of the garments. Defaults to the five groups.

    Returns:
        `path`.
    """
    import keras
    import tensorflow as tf

    images, garments = _training_data(train, seed)
    flat = images.reshape(len(images), -1) / 255.0
    means = np.stack([flat[garments == garment].mean(axis=0) for garment in range(10)])
    means = means + np.random.default_rng(seed).normal(0, noise, means.shape)
    model = _centroids(tf, means, taxonomy or Taxonomy.load())
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", model.images, [tf.TensorSpec((None, 28, 28), tf.uint8, "image")])
    archive.add_endpoint("serving_bytes", model.encoded, [tf.TensorSpec((None,), tf.string, "image_bytes")])
    archive.add_endpoint("serving_examples", model.examples, [tf.TensorSpec((None,), tf.string, "examples")])
    archive.write_out(str(path), verbose=False)
    return path


def _training_data(train: Examples | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if train is None:
        return images_and_garments(400, seed)
    from analysis.data.examples import read_arrays

    columns = read_arrays(train.split("train"), ["image", "garment"])
    return columns["image"], columns["garment"]


def _centroids(tf: Any, means: np.ndarray, taxonomy: Taxonomy) -> Any:
    """Returns the model; its class is defined here because only some tests import TensorFlow."""

    class Centroids(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.means = tf.Variable(means, dtype=tf.float32, trainable=False)
            self.membership = tf.constant(taxonomy.membership(), tf.float32)

        def images(self, image: Any) -> dict[str, Any]:
            flat = tf.reshape(tf.cast(image, tf.float32) / 255.0, [-1, 784])
            distance = tf.reduce_sum(self.means**2, axis=1) - 2 * flat @ tf.transpose(self.means)
            garment = tf.nn.softmax(-distance / SHARPNESS)
            group = garment @ self.membership
            chosen = group >= SET_THRESHOLD
            return {
                "group": tf.gather(tf.constant(taxonomy.groups), tf.argmax(group, 1)),
                "group_probabilities": group,
                "garment": tf.gather(tf.constant(taxonomy.garments), tf.argmax(garment, 1)),
                "garment_probabilities": garment,
                "confidence": tf.reduce_max(group, 1),
                "prediction_set": chosen,
                "abstain": tf.reduce_sum(tf.cast(chosen, tf.int32), 1) != 1,
            }

        def encoded(self, image_bytes: Any) -> dict[str, Any]:
            return self.images(tf.reshape(tf.io.decode_raw(image_bytes, tf.uint8), [-1, 28, 28]))

        def examples(self, examples: Any) -> dict[str, Any]:
            return self.encoded(tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})["image"])

    return Centroids()
