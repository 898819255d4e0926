"""The ViT family: the image as a sentence of 49 patches of 4 x 4 pixels, read by a small transformer.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1: learned positions, normalisation before each
half of a block. The features are the mean over the patches instead of a token of their own, as in Beyer et al., "Better
plain ViT baselines for ImageNet-1k", 2022.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.plain_cnn import garment_logits
from models.studied.convnext import normalise

PATCH = 4
SIDE = 28 // PATCH
DEPTH = 5
EXPANSION = 2
HEAD = 16
"""Channels a head looks at, at least."""


def build_vision_transformer(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Numbers a patch.
        dropout: Share of the features dropped before the output.
    """
    image, x = patches(width)
    x = Positions()(x)
    for _ in range(DEPTH):
        x = layers.Add()([x, attention(normalise(x), width)])
        x = layers.Add()([x, perceptron(normalise(x), EXPANSION * width, width)])
    x = layers.Reshape((SIDE, SIDE, width))(normalise(x))
    return keras.Model(image, garment_logits(x, garments, dropout), name="vision_transformer")


def patches(width: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns the input, uint8 [batch, 28, 28], and its patches mapped to vectors, [batch, 49, width]."""
    image = keras.Input((28, 28), dtype="uint8", name="image")
    x = layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 127.5, offset=-1.0)(image))
    x = layers.Conv2D(width, PATCH, strides=PATCH)(x)
    return image, layers.Reshape((SIDE * SIDE, width))(x)


def attention(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """Each patch of [batch, patches, width] asks all patches."""
    heads = max(1, width // HEAD)
    return layers.MultiHeadAttention(heads, width // heads)(x, x)


def perceptron(x: keras.KerasTensor, hidden: int, out: int) -> keras.KerasTensor:
    """Two dense layers over the last axis, with GELU between them."""
    return layers.Dense(out)(layers.Dense(hidden, activation="gelu")(x))


@keras.saving.register_keras_serializable("fashion")
class Positions(layers.Layer):
    """Adds a learned vector to each place of a sequence [batch, places, width]."""

    def build(self, input_shape: Any) -> None:
        """Makes the weight, [places, width]."""
        self.positions = self.add_weight(
            shape=tuple(input_shape[1:]), initializer=keras.initializers.TruncatedNormal(stddev=0.02)
        )

    def call(self, inputs: Any) -> Any:
        """Returns the sequence with its places."""
        return inputs + keras.ops.cast(self.positions, inputs.dtype)
