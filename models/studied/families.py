"""The network families that only experiments train: residual, separable, ConvNeXt, ViT and MLP-Mixer.

`build` builds every family, shipped or studied. Those that average over the image before the output also work at other
image sizes than 28 pixels a side, with the same weights. `whitening_kernel` initialises a first convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from models import families as shipped
from models.families import Family, Tensor, convolution, garment_logits, plain_logits, thin_stage
from models.studied.augmentation import Shrink
from pipeline.contract.image_limits import IMAGE_SIDE

SEPARABLE_BLOCKS = 2
"""Blocks that keep their shape, after each halving of the resolution."""
CONVNEXT_BLOCKS, CONVNEXT_KERNEL, CONVNEXT_EXPANSION = 2, 5, 4
INITIAL_LAYER_SCALE = 0.1
LAYER_NORM_EPSILON = 1e-6
PATCH = 4
PATCHES = IMAGE_SIDE // PATCH
"""Patches a side of the image."""
WHITENING_IMAGES, MIN_EIGENVALUE = 1000, 5e-4
VIT_DEPTH, VIT_EXPANSION, VIT_HEAD_CHANNELS, MIXER_DEPTH = 5, 2, 16, 4


def residual_logits(x: Tensor, garments: int, *, width: int, dropout: float) -> Tensor:
    """Applies the residual family: the plain family's stages, with a squeeze-and-excite residual block each.

    Residual blocks: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3. Squeeze-and-excite: Hu
    et al., "Squeeze-and-Excitation Networks", 2018, section 3.

    Args:
        x: Scaled pixels [batch, height, width, 1].
        garments: Number of garments.
        width: Channels of the second stage; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
    """
    x = thin_stage(x, width)
    x = layers.MaxPooling2D()(residual_block(convolution(x, width), width))
    x = residual_block(convolution(x, 2 * width), 2 * width)
    return garment_logits(x, garments, dropout)


def residual_block(x: Tensor, channels: int) -> Tensor:
    """Adds a convolution of `x`, weighted channel by channel, to `x`."""
    y = convolution(x, channels)
    weights = layers.GlobalAveragePooling2D(keepdims=True)(y)
    weights = layers.Dense(channels // 8, activation="relu")(weights)
    weights = layers.Dense(channels, activation="sigmoid")(weights)
    return layers.Add()([x, layers.Multiply()([y, weights])])


def separable_logits(x: Tensor, garments: int, *, width: int, dropout: float) -> Tensor:
    """Applies the separable family: depthwise-separable convolutions.

    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, section
    3, for the order of the layers: a full convolution, then separable ones that double the channels where they halve
    the resolution. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, for two differences:
    nothing between the depthwise and the pointwise filter (section 4.7), and residual connections around the blocks
    that keep their shape (section 3).

    Args:
        x: Scaled pixels [batch, height, width, 1].
        garments: Number of garments.
        width: Channels of the second stage; the first has half, the third twice as many.
        dropout: Share of the features dropped before the output.
    """
    x = separable_convolution(convolution(x, max(8, width // 4)), max(8, width // 2))
    for channels in (width, 2 * width):
        x = separable_convolution(x, channels, strides=2)
        for _ in range(SEPARABLE_BLOCKS):
            x = layers.Add()([x, separable_convolution(x, channels)])
    return garment_logits(x, garments, dropout)


def separable_convolution(x: Tensor, channels: int, strides: int = 1) -> Tensor:
    """A 3 x 3 depthwise-separable convolution with batch normalisation and ReLU; strides of 2 halve the resolution."""
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


def convnext_logits(x: Tensor, garments: int, *, width: int, dropout: float) -> Tensor:
    """Applies the ConvNeXt family: a convolutional network with the design of a transformer.

    Liu et al., "A ConvNet for the 2020s", 2022, section 2: a stem of patches, one wide depthwise convolution a block,
    one normalisation and one activation, four times the channels inside. Two stages instead of four and filters of
    5 x 5 instead of 7 x 7, because 28 pixels leave feature maps of 14 and 7 a side where the paper's 224 leave 56 to 7.

    Args:
        x: Scaled pixels [batch, height, width, 1].
        garments: Number of garments.
        width: Channels of the first stage, at 14 x 14; the second, at 7 x 7, has twice as many.
        dropout: Share of the features dropped before the output.
    """
    x = layer_normalisation(layers.Conv2D(width, 2, strides=2)(x))
    x = convnext_stage(x, width)
    x = layers.Conv2D(2 * width, 2, strides=2)(layer_normalisation(x))
    x = layer_normalisation(convnext_stage(x, 2 * width))
    return garment_logits(x, garments, dropout)


def convnext_stage(x: Tensor, channels: int) -> Tensor:
    """Blocks that keep the shape [batch, height, width, channels]."""
    for _ in range(CONVNEXT_BLOCKS):
        y = layer_normalisation(layers.DepthwiseConv2D(CONVNEXT_KERNEL, padding="same")(x))
        y = layers.Dense(CONVNEXT_EXPANSION * channels, activation="gelu")(y)
        x = layers.Add()([x, LayerScale()(layers.Dense(channels)(y))])
    return x


def layer_normalisation(x: Tensor) -> Tensor:
    """Layer normalisation over the channels."""
    return layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON)(x)


@keras.saving.register_keras_serializable("fashion")
class LayerScale(layers.Layer):
    """Multiplies each channel by a learned factor that begins small, so that a block begins close to the identity.

    Touvron et al., "Going deeper with Image Transformers", 2021, section 2; the initial value is theirs for networks of
    up to 18 blocks. ConvNeXt's own, 1e-6, needs hundreds of epochs to grow.
    """

    def build(self, input_shape: Any) -> None:
        """Creates the weight, [channels]."""
        initial = keras.initializers.Constant(INITIAL_LAYER_SCALE)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=initial)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs, [..., channels], scaled."""
        return inputs * ops.cast(self.scale, inputs.dtype)


def build_vision_transformer(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the ViT family: a small transformer over the 49 patches of 4 x 4 pixels of an image.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1: learned positions, normalisation before each
    half of a block. The features are the mean over the patches instead of a class token, as in Beyer et al., "Better
    plain ViT baselines for ImageNet-1k", 2022.

    Args:
        garments: Number of garments.
        width: Channels of a patch.
        dropout: Share of the features dropped before the output.
    """
    image, x = embedded_patches(width)
    x = PositionEmbedding()(x)
    heads = max(1, width // VIT_HEAD_CHANNELS)
    for _ in range(VIT_DEPTH):
        y = layer_normalisation(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
        x = layers.Add()([x, perceptron(layer_normalisation(x), VIT_EXPANSION * width, width)])
    x = layers.Reshape((PATCHES, PATCHES, width))(layer_normalisation(x))
    return keras.Model(image, garment_logits(x, garments, dropout), name="vit")


def build_mlp_mixer(garments: int, *, width: int, dropout: float) -> keras.Model:
    """Builds the mixer family: dense layers alone, alternately across the patches of an image and their channels.

    Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, section 2, with the proportions of its
    table 1: half as many hidden units as channels across the patches, four times as many across the channels.

    Args:
        garments: Number of garments.
        width: Channels of a patch.
        dropout: Share of the features dropped before the output.
    """
    image, x = embedded_patches(width)
    for _ in range(MIXER_DEPTH):
        across = perceptron(layers.Permute((2, 1))(layer_normalisation(x)), width // 2, PATCHES * PATCHES)
        x = layers.Add()([x, layers.Permute((2, 1))(across)])
        x = layers.Add()([x, perceptron(layer_normalisation(x), 4 * width, width)])
    x = layers.Reshape((PATCHES, PATCHES, width))(layer_normalisation(x))
    return keras.Model(image, garment_logits(x, garments, dropout), name="mixer")


def embedded_patches(width: int) -> tuple[Tensor, Tensor]:
    """Returns the input, uint8 [batch, 28, 28], and its patches mapped to vectors, [batch, 49, width]."""
    image, x = shipped.scaled_image()
    x = layers.Conv2D(width, PATCH, strides=PATCH)(x)
    return image, layers.Reshape((PATCHES * PATCHES, width))(x)


def perceptron(x: Tensor, hidden: int, out: int) -> Tensor:
    """Two dense layers over the last axis, with GELU between them."""
    return layers.Dense(out)(layers.Dense(hidden, activation="gelu")(x))


@keras.saving.register_keras_serializable("fashion")
class PositionEmbedding(layers.Layer):
    """Adds a learned vector to each position of a sequence [batch, positions, width]."""

    def build(self, input_shape: Any) -> None:
        """Creates the weight, [positions, width]."""
        self.positions = self.add_weight(
            shape=tuple(input_shape[1:]), initializer=keras.initializers.TruncatedNormal(stddev=0.02)
        )

    def call(self, inputs: Any) -> Any:
        """Returns the sequence with the positions added."""
        return inputs + ops.cast(self.positions, inputs.dtype)


RESIZABLE: Mapping[str, Callable[..., Tensor]] = {
    "plain": plain_logits,
    "residual": residual_logits,
    "separable": separable_logits,
    "convnext": convnext_logits,
}
"""The layers of the families that average over the image before the output: their weights fit every image size."""


def build_resizable(
    family: str, garments: int, *, width: int, dropout: float, side: int | None = IMAGE_SIDE
) -> keras.Model:
    """Builds a family of `RESIZABLE`; arguments as of `build`."""
    image, x = shipped.scaled_image() if side == IMAGE_SIDE else _resized_image(side)
    return keras.Model(image, RESIZABLE[family](x, garments, width=width, dropout=dropout), name=family)


def _resized_image(side: int | None) -> tuple[Tensor, Tensor]:
    """Returns an input as `models.families.scaled_image` does, shrunk to a side, or of any size for None."""
    scaling = layers.Rescaling(1 / 127.5, offset=-1.0)
    if side is None:
        image = keras.Input((None, None), dtype="uint8", name="image")
        return image, ops.expand_dims(scaling(image), -1)
    image = keras.Input((IMAGE_SIDE, IMAGE_SIDE), dtype="uint8", name="image")
    return image, layers.Reshape((side, side, 1))(scaling(Shrink(side)(image)))


FAMILIES: Mapping[str, Family] = {
    **shipped.FAMILIES,
    **{family: partial(build_resizable, family) for family in ("residual", "separable", "convnext")},
    "vit": build_vision_transformer,
    "mixer": build_mlp_mixer,
}
"""The builders of all families by name, shipped and studied."""


def build(family: str, garments: int, *, width: int, dropout: float, side: int | None = IMAGE_SIDE) -> keras.Model:
    """Builds a network of a shipped or studied family; see `models.families.build`.

    Args:
        family: A name in `FAMILIES`.
        garments: Number of garments.
        width: Width of the network; each family says what it counts.
        dropout: Share of the features dropped before the output.
        side: Pixels a side that the network works at: it shrinks its input to that size. None for a network that takes
            images of any size, uint8 [batch, H, W], as they are.

    Raises:
        ValueError: The family is unknown or cannot be resized, or the width or the dropout is out of range.
    """
    families = FAMILIES
    if side != IMAGE_SIDE:
        check_resizable(family)
        families = {family: partial(build_resizable, family, side=side)}
    return shipped.build(family, garments, width=width, dropout=dropout, families=families)


def check_resizable(family: str) -> None:
    """Raises ValueError for a family whose networks take images of 28 pixels a side alone."""
    if family not in RESIZABLE:
        raise ValueError(
            f"The weights of the family {family!r} depend on the size of the images, which cannot be resized for it. "
            f"Expected: one of {', '.join(RESIZABLE)}. Received: {family!r}."
        )


def whitening_kernel(images: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.float32]:
    """Returns an initial kernel of a first convolution that whitens its input, float32 [size, size, 1, channels].

    The input images are scaled to [-1, 1]. The filters are the eigenvectors of the covariance of the images' patches,
    those with the most variance first, divided by the root of their eigenvalue, and then their negatives, because a
    ReLU keeps only one side. Page, "How to Train Your ResNet 8: Bag of Tricks", 2019; Jordan, "94% on CIFAR-10 in 3.29
    Seconds on a Single GPU", 2024 (arXiv 2404.00498), section 3.1, which also has the smallest eigenvalue.

    Args:
        images: uint8 [N, height, width]; a thousand of them, evenly spread, are used.
        size: Height and width of the patches in pixels.
        channels: Number of filters; even, and at most twice the pixels of a patch.

    Raises:
        ValueError: There cannot be that many filters.
    """
    if channels % 2 or channels > 2 * size**2:
        raise ValueError(
            f"The convolution cannot be whitened. Expected: an even number of channels, at most {2 * size**2}. "
            f"Received: {channels}."
        )
    scaled = images[:: max(1, len(images) // WHITENING_IMAGES)].astype(np.float32) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (size, size), axis=(1, 2))
    variances, directions = np.linalg.eigh(np.cov(windows.reshape(-1, size**2), rowvar=False))
    filters = (directions / np.sqrt(variances + MIN_EIGENVALUE))[:, ::-1][:, : channels // 2]
    kernel = np.concatenate([filters, -filters], axis=1)
    return kernel.reshape(size, size, 1, channels).astype(np.float32)
