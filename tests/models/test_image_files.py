"""The exported graph fits any image file to 28 x 28 pixels, and rejects files that are broken or too large."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.image_files import fit_image, fit_images
from pipeline.contract.image_limits import MAX_IMAGE_BYTES
from tests.serving.exports import export_small
from tests.synthetic import images_and_garments

IMAGES, _ = images_and_garments(20, 0)
RNG = np.random.default_rng(0)
GREY = Image.fromarray(RNG.integers(0, 256, (60, 40), np.uint8))
COLOUR = Image.fromarray(RNG.integers(0, 256, (60, 40, 3), np.uint8))
FRAMES = [Image.fromarray(RNG.integers(0, 256, (60, 40), np.uint8)) for _ in range(5)]
DEEP = Image.fromarray(RNG.integers(0, 65536, (60, 40)).astype(np.uint16))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_png_size(width: int, height: int) -> bytes:
    """A small PNG that declares another size."""
    file = encoded(GREY)
    return file[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + file[24:]


PNG, JPEG, GIF, BMP = (encoded(COLOUR, kind) for kind in ("PNG", "JPEG", "GIF", "BMP"))
ANIMATED = encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:], loop=0, comment=b"x" * 600)
MIDDLE = 13 + 768  # of GIF: where its header and its colours end

VALID = {
    "CMYK JPEG": encoded(COLOUR.convert("CMYK"), "JPEG"),
    "progressive JPEG": encoded(COLOUR, "JPEG", progressive=True),
    "16-bit PNG": encoded(DEEP),
    "palette PNG": encoded(COLOUR.convert("P")),
    "palette PNG with a transparent colour": encoded(COLOUR.convert("P"), transparency=3),
    "black and white PNG": encoded(GREY.convert("1")),
    "grey PNG with opacity": encoded(GREY.convert("LA")),
    "coloured PNG with opacity": encoded(COLOUR.convert("RGBA")),
    "GIF": GIF,
    "interlaced GIF": encoded(GREY, "GIF", interlace=True),
    "animated GIF": ANIMATED,
    "GIF without its last byte": GIF[:-1],
    "BMP": BMP,
    "1 x 1": encoded(Image.new("L", (1, 1), 200)),
    "1 x 5000": encoded(Image.new("RGB", (1, 5000), (5, 6, 7))),
    "5000 x 1": encoded(Image.new("L", (5000, 1), 90), "BMP"),
}
REJECTED = {
    "empty": (b"", "A file of 0 bytes is no PNG, JPEG, GIF or BMP image."),
    "no image": (b"<html>no image</html>", "A file of 21 bytes is no PNG, JPEG, GIF or BMP image."),
    "another format": (encoded(GREY, "TIFF"), "is no PNG, JPEG, GIF or BMP image"),
    "many bytes": (PNG + bytes(MAX_IMAGE_BYTES), f"A file of {MAX_IMAGE_BYTES + len(PNG)} bytes is too large."),
    "vast PNG": (with_png_size(50_000, 50_000), "An image of 50000 x 50000 pixels is too large. Expected: at most 50"),
    "endless PNG": (with_png_size(2**32 - 1, 2**32 - 1), "An image of 4294967295 x 4294967295 pixels is too large"),
    "vast JPEG": (encoded(Image.new("L", (10_000, 6_000)), "JPEG"), "An image of 10000 x 6000 pixels is too large"),
    "vast GIF": (GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "An image of 65535 x 65535 pixels is too large"),
    "vast frame": (GIF.replace(b",\0\0\0\0\x28\0\x3c\0", b",\0\0\0\0\xff\xff\xff\xff"), "65535 x 65535 pixels"),
    "GIF of many blocks": (
        GIF[:MIDDLE] + b"!\xfe\1x\0" * 9_000 + GIF[MIDDLE:],
        "A GIF is too large. Expected: a first",
    ),
}
BROKEN = {
    f"{name} after {size} bytes": file[:size]
    for name, file in (("PNG", PNG), ("JPEG", JPEG), ("GIF", GIF), ("BMP", BMP), ("animated GIF", ANIMATED))
    for size in (1, 2, 4, 8, 12, 20, 24, 33, 100, 300, 700, 1000)
}
BROKEN |= {
    "BMP without a column": BMP[:18] + bytes(4) + BMP[22:],
    "BMP of negative size": BMP[:18] + b"\xff" * 8 + BMP[26:],
    "GIF without a frame": GIF[:MIDDLE] + b";",
    "GIF with an unknown block": GIF[:MIDDLE] + b"?" + GIF[MIDDLE:],
}

Fit = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def fit() -> Fit:
    """A function that fits files by the exported graph."""
    graph = tf.function(fit_images, input_signature=[tf.TensorSpec((None,), tf.string)])
    return lambda *files: graph(tf.constant(list(files), tf.string)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", VALID)
def test_valid_files_come_out_as_from_the_decoder_alone(fit: Fit, name: str) -> None:
    """The checks change no pixel of any valid file."""
    np.testing.assert_array_equal(fit(VALID[name])[0], fit_image(tf.constant(VALID[name])).numpy())


def test_files_of_all_kinds_keep_their_positions_in_a_batch(fit: Fit) -> None:
    """A batch of many kinds gives each file the pixels that it gets alone."""
    files = [PNG, *VALID.values(), JPEG, ANIMATED, PNG]
    np.testing.assert_array_equal(fit(*files), np.concatenate([fit(file) for file in files]))


def test_interlaced_png_is_read_like_the_plain_one(fit: Fit) -> None:
    """The decoder reads Adam7, which few encoders write."""
    pixels = tf.constant(np.asarray(GREY)[:, :, None])
    interlaced = _interlaced(np.asarray(GREY))
    np.testing.assert_array_equal(tf.io.decode_image(interlaced), pixels)
    np.testing.assert_array_equal(fit(interlaced), fit(encoded(GREY)))


def test_no_files_give_no_images(fit: Fit) -> None:
    """An empty batch is no error."""
    assert fit().shape == (0, 28, 28)


@pytest.mark.parametrize("name", REJECTED)
def test_a_large_or_unknown_file_is_rejected_with_a_reason(fit: Fit, name: str) -> None:
    """INVALID_ARGUMENT with a sentence that says what was received, also beside valid files."""
    file, message = REJECTED[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        fit(PNG, file, JPEG)
    assert message in caught.value.message


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_rejected(fit: Fit, name: str) -> None:
    """A file that stops early or contradicts itself is INVALID_ARGUMENT, from the checks or from the decoder."""
    with pytest.raises(tf.errors.InvalidArgumentError):
        fit(BROKEN[name])


@pytest.mark.slow
def test_only_the_first_frame_of_an_animation_takes_memory() -> None:
    """A GIF that would unpack to 3 GB is processed in less than 300 MB of further memory."""
    frames = encoded(Image.new("L", (1000, 1000), 9), "GIF")
    body = frames[MIDDLE:-1]
    program = """
        import resource, sys, tensorflow as tf
        from models.image_files import fit_images
        graph = tf.function(fit_images, input_signature=[tf.TensorSpec((None,), tf.string)])
        file = sys.stdin.buffer.read()
        graph(tf.constant([file[: int(sys.argv[1])] + b";"]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        graph(tf.constant([file]))
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(len(frames) - 1)]
    file = frames[:MIDDLE] + body * 1000 + b";"
    done = subprocess.run(command, input=file, capture_output=True, check=True, timeout=600)
    assert int(done.stdout) < 300


def test_the_saved_model_rejects_in_a_session(tmp_path: Path) -> None:
    """TensorFlow Serving runs the graph in a session, by the signature's tensors; the checks run there as well."""
    path = str(export_small(tmp_path / "model").saved_model)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def["serving_bytes"]
        feed, fetch = signature.inputs["image_bytes"].name, signature.outputs["confidence"].name
        assert session.run(fetch, {feed: [PNG, ANIMATED]}).shape == (2,)
        for file, message in REJECTED.values():
            with pytest.raises(tf.errors.InvalidArgumentError) as caught:
                session.run(fetch, {feed: [PNG, file]})
            assert message in caught.value.message


def photo(item: tuple[int, int, int] = (180, 40, 60), background: int = 250) -> np.ndarray:
    """A T: 300 pixels high, 200 wide, its bar at the top; uint8 RGB."""
    picture = np.full((300, 200, 3), background, np.uint8)
    picture[40:80, 50:150] = picture[80:260, 85:115] = item
    return picture


def photo_image(mode: str) -> Image.Image:
    """The T as an image of a Pillow mode."""
    return Image.fromarray(photo()).convert(mode, dither=Image.Dither.NONE)


def test_image_of_the_right_size_is_unchanged() -> None:
    """A grey PNG of 28 x 28 keeps exactly its pixels, also when its edge is bright."""
    for image in (*IMAGES, 255 - IMAGES[0]):
        np.testing.assert_array_equal(fit_image(tf.constant(encoded(Image.fromarray(image)))).numpy(), image)


def test_fit_is_the_same_eagerly_and_in_a_graph() -> None:
    """The exported graph computes what these tests check eagerly."""
    data = tf.constant(encoded(Image.fromarray(photo()), "JPEG"))
    np.testing.assert_array_equal(fit_image(data).numpy(), tf.function(fit_image)(data).numpy())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "RGBA"), ("GIF", "P"), ("BMP", "RGB")],
)
def test_photo_on_white_becomes_bright_on_dark_upright_and_full(kind: str, mode: str) -> None:
    """A T on a white background fills the height of the square, bright, its bar at the top, in every format."""
    fitted = fit_image(tf.constant(encoded(photo_image(mode), kind))).numpy()
    rows, columns = np.flatnonzero((fitted > 60).any(axis=1)), np.flatnonzero((fitted > 60).any(axis=0))
    assert fitted.dtype == np.uint8 and fitted[:, 0].max() < 20 and fitted[14, 14] > 100
    assert rows[0] <= 1 and rows[-1] >= 26, "trimmed and scaled to the full height"
    assert (fitted[2] > 60).sum() > 2 * (fitted[20] > 60).sum(), "the bar is at the top"
    assert abs((columns[0] + columns[-1]) / 2 - 13.5) <= 1, "centred"


def test_dark_background_is_not_inverted() -> None:
    """A bright item on black stays bright on black."""
    fitted = fit_image(tf.constant(encoded(Image.fromarray(photo((240, 240, 240), 0))))).numpy()
    assert fitted[14, 14] > 200 and fitted[20, 2] == 0


def test_transparent_pixels_count_as_white() -> None:
    """An item cut out on a transparent background is read like one on white."""
    colour = photo()
    alpha = np.where((colour == 250).all(axis=2), 0, 255).astype(np.uint8)
    cut = np.dstack([np.where(alpha[..., None] == 0, 0, colour), alpha]).astype(np.uint8)
    white = np.where(alpha[..., None] == 0, 255, colour).astype(np.uint8)
    np.testing.assert_array_equal(
        fit_image(tf.constant(encoded(Image.fromarray(cut)))).numpy(),
        fit_image(tf.constant(encoded(Image.fromarray(white)))).numpy(),
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (28, 28)])
def test_any_size_fits(shape: tuple[int, int]) -> None:
    """A single pixel, a line and an empty picture come out as 28 x 28."""
    blank = np.full((*shape, 3), 200, np.uint8)
    assert fit_image(tf.constant(encoded(Image.fromarray(blank)))).numpy().shape == (28, 28)


def _interlaced(grey: np.ndarray) -> bytes:
    """A grey PNG with Adam7 interlacing (PNG specification, 8.2), which Pillow does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for y, x, down, right in passes for row in grey[y::down, x::right]]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    data = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
