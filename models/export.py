"""Exports a trained network as a SavedModel that answers three kinds of requests with the same named outputs.

The only module of `models/` that needs TensorFlow: what is served are TensorFlow graphs, whatever backend trained.

| signature | input |
| --- | --- |
| `serving_default` | `image`: uint8 [N, 28, 28] |
| `serving_bytes` | `image_bytes`: string [N], PNG, JPEG, GIF or BMP of any size |
| `serving_examples` | `examples`: string [N], serialized tf.Example with the bytes feature `image` |

Outputs of each: `group` string [N], `group_probabilities` float32 [N, groups], `garment` string [N],
`garment_probabilities` float32 [N, garments], `confidence` float32 [N] (the calibrated probability of the group),
`prediction_set` bool [N, groups] (conformal), `abstain` bool [N] (the set holds not exactly one group).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from models.calibration import Calibration
from models.taxonomy import Taxonomy

SIDE = 28
GROUND_TOLERANCE = 0.05 * 255
"""How much brighter than the ground a pixel of the item is; the data set's authors trimmed with 5% as well."""


def export_model(model: keras.Model, calibration: Calibration, taxonomy: Taxonomy, directory: Path) -> None:
    """Writes the SavedModel.

    Args:
        model: From uint8 images [N, 28, 28] to garment logits [N, garments], of policy float32.
        calibration: What is applied to the logits.
        taxonomy: Names, and which garment belongs to which group.
        directory: Where to.
    """

    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _answers(model(image, training=False), calibration, taxonomy)

    def answer_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(fit_image, image_bytes, fn_output_signature=tf.TensorSpec((SIDE, SIDE), tf.uint8)))

    def answer_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(parse_images(examples))

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, function, spec in (
        ("serving_default", answer, tf.TensorSpec((None, SIDE, SIDE), tf.uint8, name="image")),
        ("serving_bytes", answer_bytes, tf.TensorSpec((None,), tf.string, name="image_bytes")),
        ("serving_examples", answer_examples, tf.TensorSpec((None,), tf.string, name="examples")),
    ):
        archive.add_endpoint(name=name, fn=function, input_signature=[spec])
    archive.write_out(str(directory), verbose=False)


def parse_images(examples: tf.Tensor) -> tf.Tensor:
    """Returns the images, uint8 [N, 28, 28], of serialized tf.Examples, string [N]."""
    features = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature((), tf.string)})
    return tf.reshape(tf.io.decode_raw(features["image"], tf.uint8), (-1, SIDE, SIDE))


def fit_image(encoded: tf.Tensor) -> tf.Tensor:
    """Turns an encoded image into what the network knows: a bright item that fills a dark 28 x 28 square.

    A grey image of 28 x 28 pixels is taken as it is. Any other one goes the way that the data set's own images went
    (Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, section 2), but for their sharpening: greyed, a light ground
    inverted, the empty margin trimmed, scaled until the longer edge has 28 pixels, centred on black. Transparent pixels
    count as white.

    Args:
        encoded: string [], a PNG, JPEG, GIF (its first frame) or BMP.

    Returns:
        uint8 [28, 28].
    """
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    image.set_shape((None, None, None))
    ready = tf.reduce_all(tf.shape(image) == (SIDE, SIDE, 1))
    return tf.cond(
        ready,
        lambda: tf.reshape(image, (SIDE, SIDE)),
        lambda: _fill_square(_trim(_dark_ground(_grey(image)))),
    )


def _grey(image: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 1 to 4] to luminance in 0..255, float32 [h, w]; a second or fourth channel is opacity."""
    pixels, channels = tf.cast(image, tf.float32), tf.shape(image)[2]
    transparent = channels % 2 == 0
    colours = channels - tf.cast(transparent, tf.int32)
    # ITU-R BT.601, as JPEG has it.
    weights = tf.cond(colours == 1, lambda: tf.constant([1.0]), lambda: tf.constant([0.299, 0.587, 0.114]))
    grey = tf.tensordot(pixels[:, :, :colours], weights, 1)
    opacity = tf.cond(transparent, lambda: pixels[:, :, -1] / 255.0, lambda: tf.ones_like(grey))
    return grey * opacity + 255.0 * (1.0 - opacity)


def _dark_ground(grey: tf.Tensor) -> tf.Tensor:
    return tf.cond(_ground(grey) > 127.5, lambda: 255.0 - grey, lambda: grey)


def _ground(grey: tf.Tensor) -> tf.Tensor:
    """The median of the outermost pixels."""
    edge = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    return tf.sort(edge)[tf.shape(edge)[0] // 2]


def _trim(grey: tf.Tensor) -> tf.Tensor:
    item = grey > _ground(grey) + GROUND_TOLERANCE
    rows, columns = tf.where(tf.reduce_any(item, 1))[:, 0], tf.where(tf.reduce_any(item, 0))[:, 0]
    return tf.cond(
        tf.reduce_any(item),
        lambda: grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
        lambda: grey,
    )


def _fill_square(grey: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.shape(grey), tf.float32)
    target = tf.maximum(tf.cast(tf.round(size * SIDE / tf.reduce_max(size)), tf.int32), 1)
    scaled = tf.image.resize(grey[:, :, None], target, antialias=True)
    centred = tf.image.resize_with_crop_or_pad(scaled, SIDE, SIDE)[:, :, 0]
    return tf.cast(tf.round(tf.clip_by_value(centred, 0.0, 255.0)), tf.uint8)


def _answers(logits: tf.Tensor, calibration: Calibration, taxonomy: Taxonomy) -> dict[str, Any]:
    garments = tf.nn.softmax(logits / calibration.temperature)
    groups = tf.matmul(garments, tf.constant(taxonomy.membership(), tf.float32))
    chosen = groups >= calibration.threshold
    return {
        "group": tf.gather(tf.constant(taxonomy.groups), tf.argmax(groups, axis=1)),
        "group_probabilities": groups,
        "garment": tf.gather(tf.constant(taxonomy.garments), tf.argmax(garments, axis=1)),
        "garment_probabilities": garments,
        "confidence": tf.reduce_max(groups, axis=1),
        "prediction_set": chosen,
        "abstain": tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1) != 1,
    }
