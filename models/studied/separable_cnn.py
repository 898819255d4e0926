"""The separable family: depthwise-separable convolutions, each a filter a channel and then a mix of the channels.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, section 3,
for the order of the layers: a full convolution, then separable ones that double the channels where they halve the
resolution. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, for two differences: nothing
between filter and mix (section 4.7), and sums around the blocks that keep their shape (section 3).
"""

from __future__ import annotations

import keras
from keras import layers

from models.plain_cnn import convolution, garment_logits, scaled_image

BLOCKS = 2
"""Blocks that keep their shape, after each halving of the resolution."""


def build_separable_cnn(garments: int, *, width: int, dropout: float, side: int | None = 28) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels of the second stage; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
        side: As `models.families.build` has it.
    """
    image, x = scaled_image(side)
    x = separable(convolution(x, max(8, width // 4)), max(8, width // 2))
    for channels in (width, 2 * width):
        x = separable(x, channels, strides=2)
        for _ in range(BLOCKS):
            x = layers.Add()([x, separable(x, channels)])
    return keras.Model(image, garment_logits(x, garments, dropout), name="separable_cnn")


def separable(x: keras.KerasTensor, channels: int, strides: int = 1) -> keras.KerasTensor:
    """A 3 x 3 depthwise-separable convolution with batch normalisation and ReLU.

    Args:
        x: [batch, height, width, any].
        channels: How many come out.
        strides: 2 halves the resolution. Defaults to 1.
    """
    x = layers.SeparableConv2D(
        channels,
        3,
        strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        pointwise_initializer="he_normal",
    )(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
