"""The compact family: one convolution at full resolution, two at half, two at a quarter, and the place is kept.

Nearly all of the multiply-adds lie where there are few pixels, where a convolution, its normalisation and its gradients
are quick on a CPU; the last features are laid side by side instead of averaged over the image, so that a sleeve left
and a sleeve right are two things.
"""

from __future__ import annotations

import keras
from keras import layers

from models.plain_cnn import convolution


def build_compact_cnn(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels of the second convolution; the first has half, the others twice as many.
        dropout: Share of the features dropped before the output.
    """
    image = keras.Input((28, 28), dtype="uint8", name="image")
    x = layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 127.5, offset=-1.0)(image))
    x = convolution(convolution(x, width // 2, pooled=True), width)
    x = convolution(convolution(x, 2 * width, pooled=True), 2 * width)
    x = layers.MaxPooling2D()(convolution(x, 2 * width))
    x = layers.Dropout(dropout)(layers.Flatten(name="features")(x))
    # float32 whatever the policy: softmax and cross-entropy in bfloat16 lose what separates close garments.
    return keras.Model(image, layers.Dense(garments, dtype="float32", name="logits")(x), name="compact_cnn")
