"""Check image files and encode them as a PNG or JPEG that the exported graph reads as people see it.

The size of the file and the pixels that its header declares are checked before anything is decoded. A PNG or JPEG that
the graph reads correctly stays unchanged. Pillow decodes everything else and writes a PNG: what the graph cannot read
(WebP, TIFF, CMYK), and what it would read differently (a palette's colours, GIF's transparency, 16 bits, a camera's
orientation). Transparency stays; the graph counts it as white.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pipeline.contract.errors import UserError
from pipeline.contract.image_limits import ImageLimits

if TYPE_CHECKING:
    from PIL import Image

FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
"""What Pillow may open. Its other formats start programs or are rarely tested with untrusted files."""
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif")
LONGEST_EDGE: Final = 2048
"""A PNG is shrunk to this, so that it fits into a request; the network sees 28 pixels of it."""
ORIENTATION: Final = 0x0112
"""EXIF's tag; 1 is upright."""

ImageReason = Literal["not_an_image", "damaged", "empty", "too_large", "too_many_pixels", "unreadable"]
"""Why a file is no usable image."""


class ImageError(UserError):
    """A file or array is no usable image.

    Attributes:
        reason: Why, as a stable word.
    """

    def __init__(self, headline: str, reason: ImageReason = "not_an_image", **details: str) -> None:
        super().__init__(headline, **details)
        self.reason: ImageReason = reason


def read_file(path: Path, max_bytes: int, name: str = "") -> bytes:
    """Returns the content of a file, of a larger one the first `max_bytes` + 1 bytes.

    Raises:
        ImageError: There is no such file, or it cannot be read.
    """
    name = name or str(path)
    try:
        # Reading a pipe or a device could block, or never end.
        if path.exists() and not path.is_file():
            raise ImageError(
                f"{name} is not a regular file.", "unreadable", expected="an image file", received="something else"
            )
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(
            f"{name} cannot be read.", "unreadable", expected="an image file", received=str(reason)
        ) from None


def encode_file(content: bytes, name: str, limits: ImageLimits | None = None, find_damage: bool = True) -> bytes:
    """Returns an image file as the signature serving_bytes takes it: unchanged, or as a PNG.

    Args:
        content: The file.
        name: The name of the file in messages.
        limits: The largest file and image. Defaults to those of the exported graph.
        find_damage: Whether to decode a file that stays unchanged, to find out whether it is complete. Not needed when
            TensorFlow decodes it next, which refuses what Pillow refuses. Defaults to True.

    Raises:
        ImageError: The content is empty, damaged, too large or no image.
    """
    from PIL import Image, UnidentifiedImageError

    limits = limits or ImageLimits()
    if not content:
        raise ImageError(f"{name} is empty.", "empty", expected="an image", received="0 bytes")
    if len(content) > limits.bytes:
        raise ImageError(
            f"{name} is too large.", "too_large", expected=f"at most {limits.bytes:,} bytes", received="more"
        )
    with _image_errors(name, limits):
        try:
            image = Image.open(BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            received = f"{len(content):,} bytes that begin {content[:8]!r}"
            raise ImageError(f"{name} is no image.", expected=", ".join(FORMATS), received=received) from None
        with image:
            _check_pixels(image, name, limits)
            unchanged = _graph_reads_correctly(image, content)
            if unchanged and not find_damage:
                return content
            if unchanged:
                # An eighth of the size is quicker to decode, and enough to find what is truncated.
                image.draft(image.mode, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
            return content if unchanged else _to_png(image)


def encode_image(image: Image.Image, name: str, limits: ImageLimits | None = None) -> bytes:
    """Returns a PIL image as a PNG for the signature serving_bytes.

    Args:
        image: The image, of any of Pillow's modes.
        name: The name of the image in messages.
        limits: The most pixels. Defaults to those of the exported graph.

    Raises:
        ImageError: The image is damaged, too large or has no pixels.
    """
    limits = limits or ImageLimits()
    with _image_errors(name, limits):
        _check_pixels(image, name, limits)
        image.load()
        return _to_png(image)


def declared_pixels(content: bytes) -> int:
    """Returns the pixels that the header of an image file declares; 0 where there is no readable header."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                return image.width * image.height
        except Exception:
            # Pillow's readers raise many kinds of errors on damaged files; `encode_file` then says what is wrong.
            return 0


def _check_pixels(image: Image.Image, name: str, limits: ImageLimits) -> None:
    pixels, size = image.width * image.height, f"{image.width} × {image.height}"
    if pixels > limits.pixels:
        raise _too_many_pixels(name, limits, size)
    if not pixels:
        raise ImageError(f"{name} has no pixels.", "empty", expected="at least 1 × 1", received=size)


def _too_many_pixels(name: str, limits: ImageLimits, received: str) -> ImageError:
    expected = f"at most {limits.pixels:,} pixels"
    return ImageError(f"{name} is too large.", "too_many_pixels", expected=expected, received=received)


class _UnknownRangeError(ValueError):
    """The numbers of an image have no known range, so they cannot be scaled to 8 bits."""


@contextmanager
def _image_errors(name: str, limits: ImageLimits) -> Iterator[None]:
    """Raises an ImageError for whatever Pillow raises on a damaged image, and silences its warnings."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_many_pixels(name, limits, str(error)) from None
        except _UnknownRangeError as error:
            raise ImageError(
                f"{name} has an unsupported depth.", expected="8 or 16 bits a channel", received=str(error)
            ) from None
        except MemoryError:
            raise _too_many_pixels(name, limits, "one that does not fit into memory") from None
        except Exception as error:
            # OSError, SyntaxError, ValueError, struct.error, ...: Pillow's decoders raise many kinds.
            raise ImageError(
                f"{name} is damaged.", "damaged", expected="a complete image", received=str(error)
            ) from None


def _graph_reads_correctly(image: Image.Image, content: bytes) -> bool:
    """Whether the graph sees what a person sees: 8 bits, no palette, no colour declared transparent, upright."""
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


def _to_png(image: Image.Image) -> bytes:
    """Returns the first frame, upright, with 8 bits a channel and at most 2,048 pixels a side, as PNG."""
    from PIL import ImageOps

    image = _to_eight_bits(ImageOps.exif_transpose(image))
    if max(image.size) > LONGEST_EDGE:
        image.thumbnail((LONGEST_EDGE, LONGEST_EDGE), reducing_gap=2.0)
    # The network needs neither a colour profile nor a text chunk.
    image.info = {}
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Returns a copy in one of the modes L, LA, RGB and RGBA."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image)
        if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise _UnknownRangeError(f"a channel of {pixels.dtype}")
        return Image.fromarray((pixels.astype(np.uint32) * 0xFF // 0xFFFF).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
