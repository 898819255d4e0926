"""Fits images to the network's input in NumPy: a bright item that fills a dark square of 28 x 28 pixels.

The exported graph fits images itself. This is the same computation for callers that show or store the result; the two
differ by at most one grey level in a few pixels, because sums of floats round differently. TensorFlow decodes the
files, as in the graph, because JPEG decoders differ by several levels. Scaling follows TensorFlow's
`ScaleAndTranslate`, which `tf.image.resize(antialias=True)` calls
(https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/kernels/image/scale_and_translate_op.cc).
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.contract.image_limits import IMAGE_SIDE, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from serving.images.encoding import ImageError, ImageReason

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP")
STRIP_PIXELS: Final = 1 << 18
BACKGROUND_TOLERANCE: Final = np.float32(0.05 * 255)
LUMINANCE: Final = np.array([0.299, 0.587, 0.114], np.float32)


def fit_file(encoded: bytes) -> Bytes:
    """Returns the network's input for an image file, uint8 [28, 28].

    Raises:
        ImageError: The file is no readable PNG, JPEG, GIF or BMP, or it is too large.
    """
    return fit_pixels(read_pixels(encoded))


def load_decoder() -> None:
    """Imports TensorFlow, so that the first file does not wait seconds for it."""
    import tensorflow  # noqa: F401


def read_pixels(encoded: bytes) -> Bytes:
    """Decodes an image file with TensorFlow: uint8 [height, width, channels], the first frame of an animation.

    The channels are grey; grey and opacity; red, green and blue; or red, green, blue and opacity.

    Raises:
        ImageError: The file is no readable PNG, JPEG, GIF or BMP, or it is too large.
    """
    if len(encoded) > MAX_IMAGE_BYTES:
        raise ImageError(
            "The file is too large.",
            "too_large",
            expected=f"at most {MAX_IMAGE_BYTES // 10**6} MB",
            received=f"{len(encoded) / 1e6:.1f} MB",
        )
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise _too_large(f"{image.width} x {image.height}")
            # TensorFlow would decode every frame of an animation before it returns the first.
            return np.asarray(image.convert("RGB")) if image.format == "GIF" else _decode(encoded)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("more") from None
    except UnidentifiedImageError:
        raise _unreadable(f"{len(encoded)} bytes of something else", "not_an_image") from None
    except (OSError, SyntaxError, EOFError, IndexError) as error:
        raise _unreadable(str(error)) from None


def fit_pixels(pixels: Bytes) -> Bytes:
    """Fits an image: to grey, a light background inverted, margins trimmed, scaled to 28 pixels, centred on black.

    A grey image of 28 x 28 pixels stays unchanged. Transparent pixels count as white.

    Args:
        pixels: uint8 [height, width, 1 to 4]; a second or fourth channel is opacity.

    Returns:
        uint8 [28, 28].
    """
    if pixels.shape == (IMAGE_SIDE, IMAGE_SIDE, 1):
        return pixels[:, :, 0].copy()
    grey = _grey(pixels)
    if _background(grey) > 127.5:
        np.subtract(255, grey, out=grey)
    return _fill_square(_trim(grey))


def shows_one_colour(fitted: Bytes) -> bool:
    """Whether a fitted image, uint8 [28, 28], has a single grey level inside its bounding box, apart from rounding.

    An image of one colour fills a box of its own shape, with black beside it that fitting added. Any item whose outline
    is not an upright rectangle leaves black inside the box.
    """
    rows, columns = (np.flatnonzero(fitted.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return True
    box = fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(box.max()) - int(box.min()) <= 1


def _too_large(size: str) -> ImageError:
    expected = f"at most {MAX_IMAGE_PIXELS // 10**6} million pixels"
    return ImageError("The image is too large.", "too_many_pixels", expected=expected, received=size)


def _unreadable(received: str, reason: ImageReason = "damaged") -> ImageError:
    expected = "PNG, JPEG, GIF or BMP"
    return ImageError("The file is no readable image.", reason, expected=expected, received=received)


def _decode(encoded: bytes) -> Bytes:
    import tensorflow as tf

    try:
        # The tensor's own memory: `numpy()` would copy a large image.
        pixels: Bytes = np.asarray(memoryview(tf.io.decode_image(encoded, channels=0, expand_animations=False)))
    except tf.errors.InvalidArgumentError:
        raise _unreadable(f"{len(encoded)} bytes that end early or are damaged") from None
    return pixels


def _grey(pixels: Bytes) -> Floats:
    """Returns the luminance from 0 to 255, float32 [height, width].

    Works in strips, because a large image in float32 would take four times the memory of the decoded image.
    """
    grey = np.empty(pixels.shape[:2], np.float32)
    height = max(STRIP_PIXELS // pixels.shape[1], 1)
    for top in range(0, len(pixels), height):
        grey[top : top + height] = _grey_strip(pixels[top : top + height])
    return grey


def _grey_strip(pixels: Bytes) -> Floats:
    transparent = pixels.shape[2] % 2 == 0
    colours = pixels[:, :, :-1] if transparent else pixels
    grey = colours[:, :, 0].astype(np.float32) if colours.shape[2] == 1 else colours.astype(np.float32) @ LUMINANCE
    if not transparent:
        return grey
    opacity = pixels[:, :, -1].astype(np.float32) / np.float32(255)
    return grey * opacity + 255 * (1 - opacity)


def _background(grey: Floats) -> Any:
    """Returns the grey level of the background, the median of the outermost pixels."""
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.sort(edge)[len(edge) // 2]


def _trim(grey: Floats) -> Floats:
    item = grey > _background(grey) + BACKGROUND_TOLERANCE
    if not item.any():
        return grey
    rows, columns = np.flatnonzero(item.any(axis=1)), np.flatnonzero(item.any(axis=0))
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fill_square(grey: Floats) -> Bytes:
    size = np.array(grey.shape, np.float32)
    height, width = (int(edge) for edge in np.maximum(np.round(size * IMAGE_SIDE / size.max()), 1))
    scaled = _scale(_scale(grey, height).T, width).T
    square = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.float32)
    top, left = (IMAGE_SIDE - height) // 2, (IMAGE_SIDE - width) // 2
    square[top : top + height, left : left + width] = scaled
    return np.round(np.clip(square, 0, 255)).astype(np.uint8)


def _scale(rows: Floats, count: int) -> Floats:
    """Scales the first axis to `count` rows with the triangle kernel, in float32 and in TensorFlow's order.

    Each step adds one source row to all new rows: row by row, scaling took two thirds of the time of an image.
    """
    one, half, size = np.float32(1), np.float32(0.5), len(rows)
    step = one / (np.float32(count) / np.float32(size))
    reach = max(step, one)
    centres = (np.arange(count).astype(np.float32) + half) * step
    first = np.clip(np.ceil(centres - reach - half).astype(int), 0, size - 1)
    last = np.clip(np.floor(centres + reach - half).astype(int), 0, size - 1)
    sources = first[:, None] + np.arange(int((last - first).max()) + 1)
    distance = np.abs((sources.astype(np.float32) + half - centres[:, None]) * (one / reach))
    weights = np.maximum(one - distance, 0)
    # Rows that need fewer sources get further ones with weight 0, which leaves their sums unchanged.
    weights[sources > last[:, None]] = 0
    weights *= one / np.add.accumulate(weights, axis=1)[:, -1:]
    sources = np.minimum(sources, size - 1)
    scaled = np.zeros((count, rows.shape[1]), np.float32)
    for tap in range(sources.shape[1]):
        scaled += weights[:, tap, None] * rows[sources[:, tap]]
    return scaled
