"""The residual family: the plain family's stem and stages, with a squeeze-and-excite residual block a stage.

Residual blocks: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3. Squeeze-and-excite: Hu et
al., "Squeeze-and-Excitation Networks", 2018, section 3.
"""

from __future__ import annotations

import keras
from keras import layers

from models.plain_cnn import convolution, garment_logits, stem


def build_residual_cnn(garments: int, *, width: int, dropout: float, side: int | None = 28) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels of the second stage; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
        side: As `models.families.build` has it.
    """
    image, x = stem(width, side)
    x = layers.MaxPooling2D()(residual_block(convolution(x, width), width))
    x = residual_block(convolution(x, 2 * width), 2 * width)
    return keras.Model(image, garment_logits(x, garments, dropout), name="residual_cnn")


def residual_block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """Adds a convolution of `x`, weighed channel by channel, to `x`."""
    y = convolution(x, channels)
    weights = layers.GlobalAveragePooling2D(keepdims=True)(y)
    weights = layers.Dense(channels // 8, activation="relu")(weights)
    weights = layers.Dense(channels, activation="sigmoid")(weights)
    return layers.Add()([x, layers.Multiply()([y, weights])])
