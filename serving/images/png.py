"""Says which images the exported graph reads as people see them, and makes a PNG that it does of any other one."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LONGEST_EDGE = 2048
"""A PNG is shrunk to this, so that it fits into a request; the network sees 28 pixels of it."""
ORIENTATION = 0x0112
"""EXIF's tag; 1 is upright."""


class DepthError(ValueError):
    """An image's numbers have no known range, so they cannot be told in 8 bits."""


def reads_as_it_is(image: Image.Image, content: bytes) -> bool:
    """Whether the graph sees what a person would: 8 bits, no palette, no colour declared transparent, upright.

    Args:
        image: The opened image.
        content: The file that it was opened from.
    """
    if image.getexif().get(ORIENTATION, 1) != 1:
        return False
    if image.format == "JPEG":
        return image.mode in ("L", "RGB")
    # The byte after width and height is the bit depth (PNG specification, 11.2.2).
    return (
        image.format == "PNG"
        and content[24] == 8
        and image.mode in ("L", "LA", "RGB", "RGBA")
        and "transparency" not in image.info
    )


def to_png(image: Image.Image) -> bytes:
    """Returns the first frame, upright, with 8 bits a channel, as PNG.

    Raises:
        DepthError: Its numbers are not of 8 or 16 bits.
    """
    from PIL import ImageOps

    image = _eight_bits(ImageOps.exif_transpose(image))
    if max(image.size) > LONGEST_EDGE:
        image.thumbnail((LONGEST_EDGE, LONGEST_EDGE), reducing_gap=2.0)
    # Nothing but pixels: a colour profile or a text would only travel along.
    image.info = {}
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    """A copy in one of the modes L, LA, RGB and RGBA."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image)
        if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise DepthError(f"a channel of {pixels.dtype}")
        return Image.fromarray((pixels.astype(np.uint32) * 0xFF // 0xFFFF).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
