"""The families of networks by name; each is one module."""

from __future__ import annotations

from collections.abc import Callable

import keras

from models.compact_cnn import build_compact_cnn
from models.plain_cnn import build_plain_cnn
from models.quick_cnn import build_quick_cnn
from models.studied.convnext import build_convnext
from models.studied.mlp_mixer import build_mlp_mixer
from models.studied.residual_cnn import build_residual_cnn
from models.studied.separable_cnn import build_separable_cnn
from models.studied.vision_transformer import build_vision_transformer

FAMILIES: dict[str, Callable[..., keras.Model]] = {
    "plain": build_plain_cnn,
    "residual": build_residual_cnn,
    "compact": build_compact_cnn,
    "quick": build_quick_cnn,
    "separable": build_separable_cnn,
    "convnext": build_convnext,
    "vit": build_vision_transformer,
    "mixer": build_mlp_mixer,
}
OF_ANY_SIDE = ("plain", "residual", "separable", "convnext")
"""Those that average over the image before the output: their weights are the same for every size of it."""


def build(family: str, garments: int, *, width: int, dropout: float, side: int | None = 28) -> keras.Model:
    """Builds a network of a family: uint8 images [batch, 28, 28] to garment logits, float32 [batch, garments].

    Args:
        family: A name in `FAMILIES`.
        garments: How many garments.
        width: How wide the network is; a family says what it counts.
        dropout: Share of the features dropped before the output.
        side: Pixels a side that the network works at; it shrinks its images to as many. None for one that takes images
            of any size, uint8 [batch, H, W], as they are.

    Raises:
        ValueError: The family is unknown, or a size is impossible.
    """
    if family not in FAMILIES:
        raise ValueError(f"There is no family {family!r}. Expected: {', '.join(FAMILIES)}. Received: {family!r}.")
    if width < 8 or width % 8 or not 0 <= dropout < 1:
        raise ValueError(
            "The network cannot be built. Expected: a width that is a multiple of 8, and a dropout in [0, 1). "
            f"Received: width {width}, dropout {dropout}."
        )
    if side == 28:
        return FAMILIES[family](garments, width=width, dropout=dropout)
    check_resizable(family)
    return FAMILIES[family](garments, width=width, dropout=dropout, side=side)


def check_resizable(family: str) -> None:
    """Raises ValueError for a family whose networks take images of 28 pixels a side alone."""
    if family not in OF_ANY_SIDE:
        raise ValueError(
            f"The weights of the family {family!r} depend on the size of the images, which cannot be resized for it. "
            f"Expected: one of {', '.join(OF_ANY_SIDE)}. Received: {family!r}."
        )
