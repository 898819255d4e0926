"""Export of a trained network as a SavedModel with several signatures and the same named outputs for each.

Only this module and `models.image_files` import TensorFlow, so that any Keras backend can train.

| signature | input |
| --- | --- |
| `serving_default` | `image`: uint8 [N, 28, 28] |
| `serving_bytes` | `image_bytes`: string [N], PNG, JPEG, GIF or BMP, at most 20 MB and 50 million pixels each |
| `serving_examples` | `examples`: string [N], serialized tf.Example with the bytes feature `image` |
| `serving_text` | `image_bytes` as above and `description`: string [N], empty for none; if there is a text model |

Outputs of each: `group` string [N], `group_probabilities` float32 [N, groups], `garment` string [N],
`garment_probabilities` float32 [N, garments], `confidence` float32 [N] (the calibrated probability of the group),
`prediction_set` bool [N, groups] (conformal), `abstain` bool [N] (the set holds not exactly one group).

The signature `taxonomy` describes garments instead of images, so that a client can name every probability. Its input is
`garment_index`, int64 [N]. Its outputs are `garment` string [N], `group_index` int64 [N], `group` string [N] and
`colour` string [N], the group's hex colour.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from models.calibration import Calibration
from models.image_files import fit_images
from models.logit_scaling import NEGATIVE_LOGIT, LevelScaling
from models.taxonomy import Taxonomy
from pipeline.contract.image_limits import IMAGE_SIDE

Predict = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
"""From images, uint8 [N, 28, 28], and evidence, float32 [N, garments], to all outputs."""


def export_model(
    model: keras.Model,
    calibration: Calibration,
    taxonomy: Taxonomy,
    directory: Path,
    text_evidence: keras.Model | None = None,
) -> None:
    """Writes the SavedModel.

    Args:
        model: From uint8 images [N, 28, 28] to garment logits [N, garments], of policy float32.
        calibration: Applied to the logits.
        taxonomy: Names of the garments and groups.
        directory: The directory to write.
        text_evidence: From descriptions, string [N], to the evidence that is added to the garments' log-probabilities,
            [N, garments] (`models.text_evidence.fit_evidence_model`). Defaults to none, without a signature
            `serving_text`.
    """

    def predict(image: tf.Tensor, evidence: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        return _outputs(model(image, training=False), calibration, taxonomy, evidence)

    def predict_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(fit_images(image_bytes))

    def predict_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(parse_images(examples))

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function, spec in (
        ("serving_default", predict, tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE), tf.uint8, name="image")),
        ("serving_bytes", predict_bytes, tf.TensorSpec((None,), tf.string, name="image_bytes")),
        ("serving_examples", predict_examples, tf.TensorSpec((None,), tf.string, name="examples")),
    ):
        archive.add_endpoint(name=name, fn=function, input_signature=[spec])
    _add_taxonomy_signature(archive, taxonomy)
    if text_evidence is not None:
        _add_text_signature(archive, predict, text_evidence)
    archive.write_out(str(directory), verbose=False)


def _add_taxonomy_signature(archive: keras.export.ExportArchive, taxonomy: Taxonomy) -> None:
    def describe(garment_index: tf.Tensor) -> dict[str, tf.Tensor]:
        group_index = tf.gather(tf.constant(taxonomy.group_of, tf.int64), garment_index)
        return {
            "garment": tf.gather(tf.constant(taxonomy.garments), garment_index),
            "group_index": group_index,
            "group": tf.gather(tf.constant(taxonomy.groups), group_index),
            "colour": tf.gather(tf.constant(taxonomy.colours), group_index),
        }

    # One row a garment, in and out: a server that joins requests into batches requires it.
    spec = tf.TensorSpec((None,), tf.int64, name="garment_index")
    archive.add_endpoint(name="taxonomy", fn=describe, input_signature=[spec])


def _add_text_signature(archive: keras.export.ExportArchive, predict: Predict, text_evidence: keras.Model) -> None:
    def predict_text(image_bytes: tf.Tensor, description: tf.Tensor) -> dict[str, tf.Tensor]:
        # One description for many images would be broadcast.
        tf.debugging.assert_equal(tf.shape(image_bytes), tf.shape(description), "A description for each image.")
        return predict(fit_images(image_bytes), text_evidence(description, training=False))

    inputs = [tf.TensorSpec((None,), tf.string, name=name) for name in ("image_bytes", "description")]
    archive.track(text_evidence)
    archive.add_endpoint(name="serving_text", fn=predict_text, input_signature=inputs)


def parse_images(examples: tf.Tensor) -> tf.Tensor:
    """Returns the images, uint8 [N, 28, 28], of serialized tf.Examples, string [N]."""
    features = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature((), tf.string)})
    return tf.reshape(tf.io.decode_raw(features["image"], tf.uint8), (-1, IMAGE_SIDE, IMAGE_SIDE))


def _outputs(
    logits: tf.Tensor, calibration: Calibration, taxonomy: Taxonomy, evidence: tf.Tensor | None
) -> dict[str, Any]:
    garments = calibrated_garments(logits, calibration.scaling, evidence)
    groups = tf.matmul(garments, tf.constant(calibration.scaling.membership, tf.float32))
    prediction_set = groups >= tf.constant(calibration.thresholds, tf.float32)
    return {
        "group": tf.gather(tf.constant(taxonomy.groups), tf.argmax(groups, axis=1)),
        "group_probabilities": groups,
        "garment": tf.gather(tf.constant(taxonomy.garments), tf.argmax(garments, axis=1)),
        "garment_probabilities": garments,
        "confidence": tf.reduce_max(groups, axis=1),
        "prediction_set": prediction_set,
        "abstain": tf.reduce_sum(tf.cast(prediction_set, tf.int32), axis=1) != 1,
    }


def calibrated_garments(logits: tf.Tensor, scaling: LevelScaling, evidence: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the garments' probabilities, float32 [N, garments]: the softmax of `scaling.apply`, in the graph.

    Args:
        logits: float32 [N, garments].
        scaling: Applied to the logits.
        evidence: float32 [N, garments], added after the scaling. Defaults to none.
    """
    members = tf.constant(scaling.membership.T > 0)
    # The largest logit is subtracted first, so that float32 keeps the digits that separate close classes.
    shifted = (logits - tf.reduce_max(logits, axis=1, keepdims=True))[:, None, :]
    by_group = tf.where(members, shifted, NEGATIVE_LOGIT)
    top = tf.reduce_max(by_group, axis=2, keepdims=True)
    below = by_group - top
    groups = tf.nn.log_softmax(tf.math.log(tf.reduce_sum(tf.exp(below), axis=2)) + top[:, :, 0])
    weights = tf.constant(scaling.between.weights, tf.float32)
    between = tf.nn.log_softmax(tf.matmul(groups, weights) + tf.constant(scaling.between.intercept, tf.float32))
    inside = tf.nn.log_softmax(below / scaling.within)
    garments = tf.reduce_sum(tf.where(members, between[:, :, None] + inside, 0.0), axis=1)
    return tf.nn.softmax(garments if evidence is None else garments + evidence)
