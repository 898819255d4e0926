"""The ConvNeXt family: a convolutional network with the manners of a transformer.

Liu et al., "A ConvNet for the 2020s", 2022, section 2: a stem of patches, one wide depthwise convolution a block, one
normalisation and one activation, four times the channels inside. Two stages instead of four and filters of 5 x 5
instead of 7 x 7, because 28 pixels leave 14 and 7 places a side where the paper's 224 leave 56 to 7.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from models.plain_cnn import garment_logits, scaled_image

BLOCKS = 2
"""Blocks a stage."""
KERNEL = 5
EXPANSION = 4
FIRST_SCALE = 0.1
EPSILON = 1e-6


def build_convnext(garments: int, *, width: int, dropout: float, side: int | None = 28) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels of the first stage, at 14 x 14; the second, at 7 x 7, has twice as many.
        dropout: Share of the features dropped before the output.
        side: As `models.families.build` has it.
    """
    image, x = scaled_image(side)
    x = normalise(layers.Conv2D(width, 2, strides=2)(x))
    x = stage(x, width)
    x = layers.Conv2D(2 * width, 2, strides=2)(normalise(x))
    x = normalise(stage(x, 2 * width))
    return keras.Model(image, garment_logits(x, garments, dropout), name="convnext")


def stage(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """Blocks that keep the shape [batch, height, width, channels]."""
    for _ in range(BLOCKS):
        y = normalise(layers.DepthwiseConv2D(KERNEL, padding="same")(x))
        y = layers.Dense(EXPANSION * channels, activation="gelu")(y)
        x = layers.Add()([x, LayerScale()(layers.Dense(channels)(y))])
    return x


def normalise(x: keras.KerasTensor) -> keras.KerasTensor:
    """Layer normalisation over the channels."""
    return layers.LayerNormalization(epsilon=EPSILON)(x)


@keras.saving.register_keras_serializable("fashion")
class LayerScale(layers.Layer):
    """Multiplies each channel by a learned number that begins small, so that a block begins close to doing nothing.

    Touvron et al., "Going deeper with Image Transformers", 2021, section 2; the first value is theirs for networks of
    up to 18 blocks. ConvNeXt's own, 1e-6, needs hundreds of epochs to grow.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the weight, [channels]."""
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=keras.initializers.Constant(FIRST_SCALE))

    def call(self, inputs: Any) -> Any:
        """Returns the inputs, [..., channels], scaled."""
        return inputs * keras.ops.cast(self.scale, inputs.dtype)
