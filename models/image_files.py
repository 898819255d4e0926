"""Turns image files into what the network knows, inside the exported graph: uint8 squares, bright on dark.

The stock server decodes whatever it is sent, so the graph itself refuses, with INVALID_ARGUMENT, the files that would
take more memory than a picture deserves.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from pipeline.contract.limits import IMAGE_SIDE, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

GROUND_TOLERANCE = 0.05 * 255
"""How much brighter than the ground a pixel of the item is; the data set's authors trimmed with 5% as well."""
MOST_GIF_STEPS = 4_096
"""To the end of the first frame, over its blocks, full ones at once; each takes the graph about 40 µs."""


def fit_images(encoded: tf.Tensor) -> tf.Tensor:
    """Turns image files, string [N], into what the network knows, uint8 [N, 28, 28].

    Raises:
        tf.errors.InvalidArgumentError: A file is no readable PNG, JPEG, GIF or BMP, or it is too large.
    """
    return tf.map_fn(
        fit_image, check_files(encoded), fn_output_signature=tf.TensorSpec((IMAGE_SIDE, IMAGE_SIDE), tf.uint8)
    )


def check_files(encoded: tf.Tensor) -> tf.Tensor:
    """Refuses image files of too many bytes or, as their headers declare, of too many pixels, before decoding any.

    The whole batch is checked at once: in the loop that decodes, the checks would cost a small PNG half as much again.
    A BMP is not compressed, so its bytes bound its pixels.

    Returns:
        The files, string [N]; of a GIF only the first frame, because the decoder unpacks all before it takes one.
    """
    head, length = tf.io.decode_raw(encoded, tf.uint8, fixed_length=24), tf.strings.length(encoded)
    png = _has(head, b"\x89PNG\r\n\x1a\n", 0) & _has(head, b"IHDR", 12)
    jpeg, gif, bmp = _has(head, b"\xff\xd8\xff", 0), _has(head, b"GIF8", 0), _has(head, b"BM", 0)
    small = _require(length <= MAX_IMAGE_BYTES, "A file of {} bytes is too large. Expected: at most 20000000.", length)
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


def _require(fine: tf.Tensor, message: str, *values: tf.Tensor) -> Any:
    """The operation that fails unless all are fine; its message names the values of the first that is not."""

    def fault() -> tf.Tensor:
        first = tf.argmin(tf.cast(fine, tf.int32))
        return tf.strings.format(message, [value[first] for value in values])

    passed = tf.reduce_all(fine)
    return tf.debugging.Assert(passed, [tf.cond(passed, lambda: tf.constant(message), fault)])


def _require_pixels(sizes: tf.Tensor) -> Any:
    # In float64, because the product of two of PNG's 32-bit sizes leaves int64.
    fine = tf.reduce_prod(tf.cast(sizes, tf.float64), axis=1) <= MAX_IMAGE_PIXELS
    message = "An image of {} x {} pixels is too large. Expected: at most 50 million pixels."
    return _require(fine, message, sizes[:, 0], sizes[:, 1])


def _png_sizes(head: tf.Tensor) -> tf.Tensor:
    """Width and height of PNGs, int64 [N, 2], from the first 24 bytes of each."""
    digits = tf.reshape(tf.cast(head[:, 16:], tf.int64), (-1, 2, 4))
    return tf.reduce_sum(digits * [1 << 24, 1 << 16, 1 << 8, 1], axis=2)


def _jpeg_size(file: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.extract_jpeg_shape(file)[1::-1], tf.int64)


def _first_frame(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF that ends after its first frame, and the sizes that it declares for the canvas and this frame, [2, 2].

    Walks over the blocks of the GIF89a specification (https://www.w3.org/Graphics/GIF/spec-gif89a.txt).
    """
    data, length = tf.io.decode_raw(file, tf.uint8), tf.strings.length(file)

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(data[tf.minimum(at, length - 1)], tf.int32)

    def size(at: tf.Tensor) -> tf.Tensor:
        return tf.stack([byte(at) + 256 * byte(at + 1), byte(at + 2) + 256 * byte(at + 3)])

    def colours(at: tf.Tensor) -> tf.Tensor:
        return tf.where(byte(at) >= 128, 6 * tf.bitwise.left_shift(1, byte(at) % 8), 0)

    def step(at: tf.Tensor, place: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        block = place == _BLOCK
        full = data[at::256] == 255
        run = tf.where(tf.reduce_all(full), tf.size(full), tf.argmin(tf.cast(full, tf.uint8), output_type=tf.int32))
        at += tf.where(block, 0, 256 * run)
        here = byte(at)
        extension, image = block & (here == ord("!")), block & (here == ord(","))
        head = tf.where(extension, 2, tf.where(image, 11 + colours(at + 9), 0))
        entered = tf.where(extension, _EXTENSION, tf.where(image, _IMAGE, _END))
        left = tf.where(place == _EXTENSION, _BLOCK, _END)
        moved = tf.where(block, entered, tf.where(here > 0, place, left))
        return at + tf.where(block, head, here + 1), moved, tf.where(image, at, frame)

    at, place, frame = tf.while_loop(
        lambda at, place, _: (place != _END) & (at < length),
        step,
        (13 + colours(10), _BLOCK, 1),
        maximum_iterations=MOST_GIF_STEPS,
    )
    found = (place == _END) | (at >= length)
    message = "A GIF is too large. Expected: a first frame that ends within 4096 blocks. Received: {} bytes."
    with tf.control_dependencies([_require(found[None], message, length[None])]):
        return tf.strings.substr(file, 0, at) + b";", tf.cast(tf.stack([size(6), size(frame + 5)]), tf.int64)


def fit_image(encoded: tf.Tensor) -> tf.Tensor:
    """Turns an encoded image into what the network knows: a bright item that fills a dark 28 x 28 square.

    A grey image of 28 x 28 pixels is taken as it is. Any other one goes the way that the data set's own images went
    (Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, section 2), but for their sharpening: greyed, a light ground
    inverted, the empty margin trimmed, scaled until the longer edge has 28 pixels, centred on black. Transparent pixels
    count as white.

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
        lambda: _fill_square(_trim(_dark_ground(_grey(image)))),
    )


def _grey(image: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 1 to 4] to luminance in 0..255, float32 [h, w]; a second or fourth channel is opacity."""
    pixels, channels = tf.cast(image, tf.float32), tf.shape(image)[2]
    transparent = channels % 2 == 0
    colours = channels - tf.cast(transparent, tf.int32)
    # ITU-R BT.601, as JPEG has it.
    weights = tf.cond(colours == 1, lambda: tf.constant([1.0]), lambda: tf.constant([0.299, 0.587, 0.114]))
    grey = tf.tensordot(pixels[:, :, :colours], weights, 1)
    opacity = tf.cond(transparent, lambda: pixels[:, :, -1] / 255.0, lambda: tf.ones_like(grey))
    return grey * opacity + 255.0 * (1.0 - opacity)


def _dark_ground(grey: tf.Tensor) -> tf.Tensor:
    return tf.cond(_ground(grey) > 127.5, lambda: 255.0 - grey, lambda: grey)


def _ground(grey: tf.Tensor) -> tf.Tensor:
    """The median of the outermost pixels."""
    edge = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    return tf.sort(edge)[tf.shape(edge)[0] // 2]


def _trim(grey: tf.Tensor) -> tf.Tensor:
    item = grey > _ground(grey) + GROUND_TOLERANCE
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
