"""The shipped network families, their registry, and flip test-time augmentation around a network.

Every builder returns a network from uint8 images [batch, 28, 28] to logits, float32 [batch, garments], with the pixels
scaled inside. The families that only experiments train are in `models.studied.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import keras
from keras import layers, ops

from pipeline.contract.image_limits import IMAGE_SIDE

QUICK_FEATURES = 64

Tensor: TypeAlias = keras.KerasTensor
Family = Callable[..., keras.Model]
"""From the number of garments and the keywords `width` and `dropout` to a network."""


def build_compact_cnn(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the compact family: one convolution at full resolution, two at half and two at a quarter of it.

    Nearly all multiply-adds lie where there are few pixels, where a convolution, its normalisation and its gradients
    are quick on a CPU. The last features are flattened instead of averaged over the image, so that their position
    counts: a left sleeve differs from a right one.

    Args:
        garments: Number of garments.
        width: Channels of the second convolution; the first has half, the others twice as many.
        dropout: Share of the features dropped before the output.
    """
    image, x = scaled_image()
    x = convolution(convolution(x, width // 2, pooled=True), width)
    x = convolution(convolution(x, 2 * width, pooled=True), 2 * width)
    x = layers.MaxPooling2D()(convolution(x, 2 * width))
    x = layers.Dropout(dropout)(layers.Flatten(name="features")(x))
    # float32 whatever the policy: softmax and cross-entropy in bfloat16 lose what separates close garments.
    return keras.Model(image, layers.Dense(garments, dtype="float32", name="logits")(x), name="compact_cnn")


def build_quick_cnn(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the quick family: two convolutions and a dense layer, to train many networks in a minute.

    The first convolution halves the resolution at once, and the dense layer sees the position of a feature instead of
    its mean over the image, so an epoch is short, and few are needed.

    Args:
        garments: Number of garments.
        width: Channels of the first convolution; the second has twice as many.
        dropout: Share of the features dropped before the output.
    """
    image, x = scaled_image()
    x = layers.Conv2D(width, 5, strides=2, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2D(2 * width, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.MaxPooling2D()(x)))
    x = layers.Dense(QUICK_FEATURES, activation="relu", name="features")(layers.Flatten()(x))
    logits = layers.Dense(garments, dtype="float32", name="logits")(layers.Dropout(dropout)(x))
    return keras.Model(image, logits, name="quick_cnn")


def build_plain_cnn(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the plain family: three stages of two convolutions, at full, half and quarter resolution.

    The first stage is thin: most multiply-adds of a usual small CNN go into its layers at 28 x 28 pixels, where there
    is least to learn. With 16 and 32 channels there instead of 32 and 32 an epoch takes half of the time.

    Args:
        garments: Number of garments.
        width: Channels of the second stage; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
    """
    image, x = scaled_image()
    return keras.Model(image, plain_logits(x, garments, width=width, dropout=dropout), name="plain_cnn")


FAMILIES: Mapping[str, Family] = {
    "compact": build_compact_cnn,
    "plain": build_plain_cnn,
    "quick": build_quick_cnn,
}
"""The builders of the shipped families by name."""


def build(
    family: str, garments: int, *, width: int, dropout: float, families: Mapping[str, Family] = FAMILIES
) -> keras.Model:
    """Builds a network of a family: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        family: A name in `families`.
        garments: Number of garments.
        width: Width of the network; each family's builder says what it counts.
        dropout: Share of the features dropped before the output.
        families: The builders by name. Defaults to the shipped ones.

    Raises:
        ValueError: The family is unknown, or the width or the dropout is out of range.
    """
    if family not in families:
        raise ValueError(f"There is no family {family!r}. Expected: {', '.join(families)}. Received: {family!r}.")
    if width < 8 or width % 8 or not 0 <= dropout < 1:
        raise ValueError(
            "The network cannot be built. Expected: a width that is a multiple of 8, and a dropout in [0, 1). "
            f"Received: width {width}, dropout {dropout}."
        )
    return families[family](garments, width=width, dropout=dropout)


def with_flip_tta(network: keras.Model) -> keras.Model:
    """Returns a network with flip TTA: it averages the logits for an image and for the image flipped left to right.

    A flipped garment is the same garment, and half of the training images are flipped, so both predictions are equally
    good and err differently. On validation the average gains 0.5 points of garment accuracy and 0.3 to 0.6 points of
    One piece F1, for twice the multiply-adds.

    Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012, section
    4.1, average over flips and crops in the same way.

    Args:
        network: From uint8 images [N, height, width] to logits [N, classes].
    """
    image = keras.Input(network.input_shape[1:], dtype="uint8", name="image")
    logits = layers.Average(name="logits", dtype="float32")([network(image), network(ops.flip(image, axis=2))])
    return keras.Model(image, logits, name=f"flip_tta_{network.name}")


def scaled_image() -> tuple[Tensor, Tensor]:
    """Returns the input, uint8 [batch, 28, 28], and its pixels scaled to [-1, 1], [batch, 28, 28, 1]."""
    image = keras.Input((IMAGE_SIDE, IMAGE_SIDE), dtype="uint8", name="image")
    return image, layers.Reshape((IMAGE_SIDE, IMAGE_SIDE, 1))(layers.Rescaling(1 / 127.5, offset=-1.0)(image))


def plain_logits(x: Tensor, garments: int, *, width: int, dropout: float) -> Tensor:
    """Applies the layers of the plain family to scaled pixels [batch, height, width, 1]; arguments as its builder's."""
    x = convolution(convolution(thin_stage(x, width), width), width, pooled=True)
    x = convolution(convolution(x, 2 * width), 2 * width)
    return garment_logits(x, garments, dropout)


def thin_stage(x: Tensor, width: int) -> Tensor:
    """The first stage of the plain family: scaled pixels [batch, H, W, 1] to [batch, H / 2, W / 2, width // 2]."""
    return convolution(convolution(x, max(8, width // 4)), max(8, width // 2), pooled=True)


def convolution(x: Tensor, channels: int, pooled: bool = False) -> Tensor:
    """A 3 x 3 convolution with batch normalisation and ReLU, at half the resolution if pooled.

    Pooling comes before the normalisation, which then has a quarter of the pixels to go over: on a CPU the
    normalisation costs as much as a convolution, and the whole network trains 1.3 times as fast.
    """
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    if pooled:
        x = layers.MaxPooling2D()(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def garment_logits(x: Tensor, garments: int, dropout: float) -> Tensor:
    """Averages the features over the image and maps them to one logit a garment."""
    x = layers.GlobalAveragePooling2D(name="features")(x)
    # float32 whatever the policy: softmax and cross-entropy in bfloat16 lose what separates close garments.
    return layers.Dense(garments, dtype="float32", name="logits")(layers.Dropout(dropout)(x))
