"""The quick family: two convolutions and a dense layer, for studies that train many networks in a minute.

The first convolution halves the resolution at once, and the dense layer sees where a feature lies instead of its mean
over the image: a pass is short, and few are needed.
"""

from __future__ import annotations

import keras
from keras import layers

FEATURES = 64


def build_quick_cnn(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels of the first convolution; the second has twice as many.
        dropout: Share of the features dropped before the output.
    """
    image = keras.Input((28, 28), dtype="uint8", name="image")
    x = layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 127.5, offset=-1.0)(image))
    x = layers.Conv2D(width, 5, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2D(2 * width, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.MaxPooling2D()(x)))
    x = layers.Dense(FEATURES, activation="relu", name="features")(layers.Flatten()(x))
    logits = layers.Dense(garments, dtype="float32", name="logits")(layers.Dropout(dropout)(x))
    return keras.Model(image, logits, name="quick_cnn")
