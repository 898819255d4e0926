"""The size of the network's images, and the largest image files that are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IMAGE_SIDE: Final = 28
"""Height and width, in pixels, of the images that the network takes."""
MAX_IMAGE_BYTES: Final = 20_000_000
"""The largest image file. The exported graph, the clients and the embedded server refuse a larger one."""
MAX_IMAGE_PIXELS: Final = 50_000_000
"""The most pixels of an image, as its header declares; checked before anything is decoded."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits for one image file.

    Attributes:
        bytes: The largest file. Defaults to what the exported graph accepts.
        pixels: The most pixels that the header may declare. Defaults to what the exported graph accepts.
    """

    bytes: int = MAX_IMAGE_BYTES
    pixels: int = MAX_IMAGE_PIXELS
