"""Decoding of image files inside the exported graph: to uint8 images of 28 x 28 pixels, bright on dark.

TensorFlow Serving decodes whatever it receives, so the graph itself rejects, with INVALID_ARGUMENT, files that would
need too much memory.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipeline.contract.image_limits import IMAGE_SIDE, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

BACKGROUND_TOLERANCE = 0.05 * 255
"""A pixel of the item is brighter than the background by more than this; the data set's authors trimmed with 5% too."""
MAX_GIF_STEPS = 4_096
"""Steps to the end of a GIF's first frame: one a block, or one for a run of full blocks; each takes about 40 µs."""


def fit_images(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes image files, string [N], to the network's input, uint8 [N, 28, 28].

    Raises:
        tf.errors.InvalidArgumentError: A file is no readable PNG, JPEG, GIF or BMP, or it is too large.
    """
    return tf.map_fn(
        fit_image, check_files(encoded), fn_output_signature=tf.TensorSpec((IMAGE_SIDE, IMAGE_SIDE), tf.uint8)
    )


def check_files(encoded: tf.Tensor) -> tf.Tensor:
    """Rejects image files of too many bytes or, by their headers, too many pixels, before decoding any.

    The whole batch is checked at once: inside the decoding loop the checks would take half as long again as decoding a
    small PNG. A BMP is not compressed, so its bytes bound its pixels.

    Returns:
        The files, string [N]; of a GIF only the first frame, because the decoder unpacks all frames before it uses one.
    """
    head, length = tf.io.decode_raw(encoded, tf.uint8, fixed_length=24), tf.strings.length(encoded)
    png = _has(head, b"\x89PNG\r\n\x1a\n", 0) & _has(head, b"IHDR", 12)
    jpeg, gif, bmp = _has(head, b"\xff\xd8\xff", 0), _has(head, b"GIF8", 0), _has(head, b"BM", 0)
    small = _require(
        length <= MAX_IMAGE_BYTES, f"A file of {{}} bytes is too large. Expected: at most {MAX_IMAGE_BYTES}.", length
    )
    known = _require(png | jpeg | gif | bmp, "A file of {} bytes is no PNG, JPEG, GIF or BMP image.", length)
    with tf.control_dependencies([small, known]):
        encoded = tf.identity(encoded)
    frames, gif_sizes = tf.map_fn(_first_frame, encoded[gif], fn_output_signature=(_FILE, _TWO_SIZES))
    jpeg_sizes = tf.map_fn(_jpeg_size, encoded[jpeg], fn_output_signature=_SIZE)
    sizes = tf.concat([_png_sizes(head[png]), jpeg_sizes, tf.reshape(gif_sizes, (-1, 2))], axis=0)
    with tf.control_dependencies([_require_pixels(sizes)]):
        return tf.tensor_scatter_nd_update(encoded, tf.where(gif), frames)


_BLOCK, _EXTENSION, _IMAGE, _END = range(4)
_FILE, _SIZE, _TWO_SIZES = (tf.TensorSpec(*a) for a in (((), tf.string), (2, tf.int64), ((2, 2), tf.int64)))


def _has(head: tf.Tensor, magic: bytes, at: int) -> tf.Tensor:
    return tf.reduce_all(head[:, at : at + len(magic)] == list(magic), axis=1)


def _require(valid: tf.Tensor, message: str, *values: tf.Tensor) -> Any:
    """Returns an operation that fails unless all are valid; its message has the values of the first that is not."""

    def format_first() -> tf.Tensor:
        first = tf.argmin(tf.cast(valid, tf.int32))
        return tf.strings.format(message, [value[first] for value in values])

    all_valid = tf.reduce_all(valid)
    return tf.debugging.Assert(all_valid, [tf.cond(all_valid, lambda: tf.constant(message), format_first)])


def _require_pixels(sizes: tf.Tensor) -> Any:
    # In float64, because the product of two of PNG's 32-bit sizes overflows int64.
    valid = tf.reduce_prod(tf.cast(sizes, tf.float64), axis=1) <= MAX_IMAGE_PIXELS
    most = MAX_IMAGE_PIXELS // 10**6
    message = f"An image of {{}} x {{}} pixels is too large. Expected: at most {most} million pixels."
    return _require(valid, message, sizes[:, 0], sizes[:, 1])


def _png_sizes(head: tf.Tensor) -> tf.Tensor:
    """Returns width and height of PNGs, int64 [N, 2], from the first 24 bytes of each."""
    digits = tf.reshape(tf.cast(head[:, 16:], tf.int64), (-1, 2, 4))
    return tf.reduce_sum(digits * [1 << 24, 1 << 16, 1 << 8, 1], axis=2)


def _jpeg_size(file: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.extract_jpeg_shape(file)[1::-1], tf.int64)


def _first_frame(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a GIF cut after its first frame, and its declared sizes of the canvas and of this frame, int64 [2, 2].

    Walks over the blocks of the GIF89a specification (https://www.w3.org/Graphics/GIF/spec-gif89a.txt).
    """
    data, length = tf.io.decode_raw(file, tf.uint8), tf.strings.length(file)

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(data[tf.minimum(at, length - 1)], tf.int32)

    def size(at: tf.Tensor) -> tf.Tensor:
        return tf.stack([byte(at) + 256 * byte(at + 1), byte(at + 2) + 256 * byte(at + 3)])

    def colours(at: tf.Tensor) -> tf.Tensor:
        return tf.where(byte(at) >= 128, 6 * tf.bitwise.left_shift(1, byte(at) % 8), 0)

    def step(at: tf.Tensor, state: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = state == _BLOCK
        full = data[at::256] == 255
        run = tf.where(tf.reduce_all(full), tf.size(full), tf.argmin(tf.cast(full, tf.uint8), output_type=tf.int32))
        at += tf.where(block, 0, 256 * run)
        value = byte(at)
        extension, image = block & (value == ord("!")), block & (value == ord(","))
        head = tf.where(extension, 2, tf.where(image, 11 + colours(at + 9), 0))
        entered = tf.where(extension, _EXTENSION, tf.where(image, _IMAGE, _END))
        left = tf.where(state == _EXTENSION, _BLOCK, _END)
        following = tf.where(block, entered, tf.where(value > 0, state, left))
        return at + tf.where(block, head, value + 1), following, tf.where(image, at, frame)

    at, state, frame = tf.while_loop(
        lambda at, state, _: (state != _END) & (at < length),
        step,
        (13 + colours(10), _BLOCK, 1),
        maximum_iterations=MAX_GIF_STEPS,
    )
    complete = (state == _END) | (at >= length)
    message = "A GIF is too large. Expected: a first frame that ends within 4096 blocks. Received: {} bytes."
    with tf.control_dependencies([_require(complete[None], message, length[None])]):
        return tf.strings.substr(file, 0, at) + b";", tf.cast(tf.stack([size(6), size(frame + 5)]), tf.int64)


def fit_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one image file to the network's input: a bright item that fills a dark 28 x 28 square.

    A grey image of 28 x 28 pixels is used unchanged. Any other image is processed as the data set's own images were
    (Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, section 2), except for their sharpening: converted to grey,
    inverted where the background is light, the empty margin trimmed, scaled until the longer edge has 28 pixels,
    centred on black. Transparent pixels count as white.

    Args:
        encoded: string [], a PNG, JPEG, GIF (its first frame) or BMP.

    Returns:
        uint8 [28, 28].
    """
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    image.set_shape((None, None, None))
    ready = tf.reduce_all(tf.shape(image) == (IMAGE_SIDE, IMAGE_SIDE, 1))
    return tf.cond(
        ready,
        lambda: tf.reshape(image, (IMAGE_SIDE, IMAGE_SIDE)),
        lambda: _fill_square(_trim(_on_dark_background(_grey(image)))),
    )


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Returns luminance in 0..255, float32 [h, w], of uint8 [h, w, 1 to 4]; a second or fourth channel is opacity."""
    pixels, channels = tf.cast(image, tf.float32), tf.shape(image)[2]
    transparent = channels % 2 == 0
    colours = channels - tf.cast(transparent, tf.int32)
    # ITU-R BT.601, as in JPEG.
    weights = tf.cond(colours == 1, lambda: tf.constant([1.0]), lambda: tf.constant([0.299, 0.587, 0.114]))
    grey = tf.tensordot(pixels[:, :, :colours], weights, 1)
    opacity = tf.cond(transparent, lambda: pixels[:, :, -1] / 255.0, lambda: tf.ones_like(grey))
    return grey * opacity + 255.0 * (1.0 - opacity)


def _on_dark_background(grey: tf.Tensor) -> tf.Tensor:
    return tf.cond(_background(grey) > 127.5, lambda: 255.0 - grey, lambda: grey)


def _background(grey: tf.Tensor) -> tf.Tensor:
    """Returns the median of the outermost pixels."""
    edge = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    return tf.sort(edge)[tf.shape(edge)[0] // 2]


def _trim(grey: tf.Tensor) -> tf.Tensor:
    item = grey > _background(grey) + BACKGROUND_TOLERANCE
    rows, columns = tf.where(tf.reduce_any(item, 1))[:, 0], tf.where(tf.reduce_any(item, 0))[:, 0]
    return tf.cond(
        tf.reduce_any(item),
        lambda: grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
        lambda: grey,
    )


def _fill_square(grey: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.shape(grey), tf.float32)
    target = tf.maximum(tf.cast(tf.round(size * IMAGE_SIDE / tf.reduce_max(size)), tf.int32), 1)
    scaled = tf.image.resize(grey[:, :, None], target, antialias=True)
    centred = tf.image.resize_with_crop_or_pad(scaled, IMAGE_SIDE, IMAGE_SIDE)[:, :, 0]
    return tf.cast(tf.round(tf.clip_by_value(centred, 0.0, 255.0)), tf.uint8)
