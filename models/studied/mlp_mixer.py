"""The mixer family: dense layers alone, in turn across the patches of an image and across their channels.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, section 2, with the proportions of its table
1: half as many hidden units as channels across the patches, four times as many across the channels.
"""

from __future__ import annotations

import keras
from keras import layers

from models.plain_cnn import garment_logits
from models.studied.convnext import normalise
from models.studied.vision_transformer import SIDE, patches, perceptron

DEPTH = 4


def build_mlp_mixer(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the network: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        garments: How many garments.
        width: Channels, the numbers a patch of 4 x 4 pixels becomes.
        dropout: Share of the features dropped before the output.
    """
    image, x = patches(width)
    for _ in range(DEPTH):
        across = perceptron(layers.Permute((2, 1))(normalise(x)), width // 2, SIDE * SIDE)
        x = layers.Add()([x, layers.Permute((2, 1))(across)])
        x = layers.Add()([x, perceptron(normalise(x), 4 * width, width)])
    x = layers.Reshape((SIDE, SIDE, width))(normalise(x))
    return keras.Model(image, garment_logits(x, garments, dropout), name="mlp_mixer")
