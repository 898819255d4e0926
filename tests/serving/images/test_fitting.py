"""What a person is shown as the model's view is what the exported graph computes."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from models.image_files import fit_image
from pipeline.contract.image_limits import MAX_IMAGE_BYTES
from serving.images import fitting
from serving.images.encoding import ImageError, encode_file
from serving.images.fitting import fit_file, fit_pixels, shows_one_colour
from tests.synthetic import images_and_garments

KINDS = [
    *(("PNG", mode) for mode in ("RGBA", "RGB", "L", "LA", "P", "1")),
    ("GIF", "P"),
    *(("BMP", mode) for mode in ("RGB", "L")),
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(count: int) -> list[Image.Image]:
    """Returns noisy rectangles of many sizes, on a white or transparent background."""
    rng = np.random.default_rng(1)
    found = []
    for index in range(count):
        height, width = (int(edge) for edge in rng.integers(1, 400, 2))
        clouds = Image.fromarray(rng.integers(0, 256, (height // 9 + 1, width // 9 + 1, 4), np.uint8))
        ground = Image.new("RGBA", (width + 60, height + 60), (250, 250, 250, 255) if index % 2 else (0, 0, 0, 0))
        ground.paste(clouds.resize((width, height), Image.Resampling.BICUBIC), (30, 30))
        found.append(ground)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode"), KINDS)
def test_files_are_fitted_as_the_graph_fits_them(kind: str, mode: str) -> None:
    """At most three pixels of any file differ, by at most one level."""
    for picture in pictures(20):
        file = encoded(picture.convert(mode), kind)
        difference = np.abs(fit_file(file).astype(int) - fit_image(tf.constant(file)).numpy())
        assert difference.max() <= 1 and difference.sum() <= 3


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 5000, 3), (5000, 1, 1), (28, 28, 3), (27, 28, 1), (29, 56, 4), (3, 2, 2)]
)
def test_pixels_of_any_shape_are_fitted_as_the_graph_fits_them(shape: tuple[int, ...]) -> None:
    """This includes lines, a single pixel, and small images, which are enlarged."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    file = encoded(Image.fromarray(pixels[:, :, 0] if shape[2] == 1 else pixels), "PNG")
    difference = np.abs(fit_pixels(pixels).astype(int) - fit_image(tf.constant(file)).numpy())
    assert difference.max() <= 1 and difference.sum() <= 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_strips_change_no_bit(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grey image from strips, the last of them shorter, equals that from all rows at once."""
    pixels = np.random.default_rng(0).integers(0, 256, (331, 77, channels), np.uint8)
    monkeypatch.setattr(fitting, "STRIP_PIXELS", pixels.size)
    whole = fitting._grey(pixels)
    monkeypatch.setattr(fitting, "STRIP_PIXELS", 1_000)
    assert fitting._grey(pixels).tobytes() == whole.tobytes()


def test_a_large_image_needs_no_multiple_of_its_memory() -> None:
    """Beside the decoded image, NumPy allocates little more than the grey image: not three floats for each pixel."""
    pixels = np.zeros((2_000, 2_000, 3), np.uint8)
    pixels[500:1500, 500:1500] = 200
    tracemalloc.start()
    fit_pixels(pixels)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2_000 * 2_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("damage", ["cut off", "some bytes changed", "ends in zeros"])
def test_damage_that_pillow_finds_is_found(kind: str, damage: str) -> None:
    """So Pillow need not decode a file to find damage before the file is fitted."""
    rng = np.random.default_rng(0)
    whole = encoded(pictures(1)[0].convert("RGB"), kind)
    refused = 0
    for _ in range(30):
        file, position = bytearray(whole), int(rng.integers(100, len(whole) - 20))
        if damage == "cut off":
            del file[position:]
        elif damage == "ends in zeros":
            file[position:-12] = bytes(len(whole) - 12 - position)
        else:
            file[position], file[position // 2 + 40] = rng.integers(0, 256, 2)
        try:
            encode_file(bytes(file), "file")
        except ImageError:
            refused += 1
            with pytest.raises(ImageError):
                fit_file(encode_file(bytes(file), "file", find_damage=False))
    assert refused == 30 or damage != "cut off"


def test_an_image_of_the_data_set_stays_unchanged() -> None:
    """A grey image of 28 x 28 pixels is not fitted again."""
    for image in images_and_garments(10, 0)[0]:
        np.testing.assert_array_equal(fit_file(encoded(Image.fromarray(image), "PNG")), image)


def test_an_animation_is_fitted_by_its_first_frame() -> None:
    """The graph and NumPy fit the same frame."""
    frames = [picture.convert("RGB").resize((50, 60)) for picture in pictures(4)]
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(fit_file(animated), fit_image(tf.constant(animated)).numpy())


def with_png_size(edge: int) -> bytes:
    """Returns a small PNG that declares a square of another size."""
    header = b"IHDR" + edge.to_bytes(4, "big") * 2 + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]


PNG = encoded(Image.new("RGB", (40, 60)), "PNG")
REFUSED = {
    "empty": (b"", "no readable image.\nExpected: PNG, JPEG, GIF or BMP\nReceived: 0 bytes of something else"),
    "page": (b"<html>", "Received: 6 bytes of something else"),
    "other format": (encoded(Image.new("L", (9, 9)), "TIFF"), "no readable image"),
    "truncated PNG": (PNG[:-30], "end early or are damaged"),
    "truncated JPEG": (encoded(Image.new("RGB", (40, 60)), "JPEG")[:300], "no readable image"),
    "truncated GIF": (encoded(pictures(1)[0].convert("RGB"), "GIF")[:900], "no readable image"),
    "many bytes": (PNG + bytes(MAX_IMAGE_BYTES), "The file is too large.\nExpected: at most 20 MB\nReceived: 20.0 MB"),
    "many pixels": (
        encoded(Image.new("1", (10_000, 6_000)), "PNG"),
        "at most 50 million pixels\nReceived: 10000 x 6000",
    ),
    "more pixels": (with_png_size(10_000), "The image is too large"),
    "most pixels": (with_png_size(2**31 - 1), "The image is too large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_the_graph_refuses_is_refused_with_a_reason(name: str) -> None:
    """The error says what was expected and what was received."""
    file, message = REFUSED[name]
    with pytest.raises(ImageError, match=message):
        fit_file(file)


COLOURS = [(v, v, v) for v in (0, 1, 20, 100, 127, 128, 200, 255)] + [(200, 30, 40), (10, 90, 250), (255, 255, 0)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_an_image_of_one_colour_is_recognised(colour: tuple[int, int, int], kind: str) -> None:
    """This holds for every colour, shape and format, also for grey images of 28 x 28 pixels."""
    for picture in (
        Image.new("RGB", (400, 600), colour),
        Image.new("RGB", (601, 33), colour),
        Image.new("RGB", (28, 28), colour),
        Image.new("L", (28, 28), colour[0]),
    ):
        assert shows_one_colour(fit_file(encoded(picture, kind))), (picture.mode, picture.size)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("item", "ground"), [(0, 255), (255, 0), (90, 128), (128, 90), (40, 20)])
def test_a_silhouette_is_not_of_one_colour(item: int, ground: int, kind: str) -> None:
    """An item of one colour on a background of another shows its outline."""
    shirt = [(40, 60), (160, 60), (200, 120), (170, 140), (150, 110), (150, 260), (50, 260), (50, 110), (30, 140)]
    trousers = [(60, 20), (140, 20), (150, 280), (105, 280), (100, 90), (95, 280), (50, 280)]
    for outline in (shirt, trousers, [(100, 10), (101, 10), (190, 290), (20, 290)]):
        picture = Image.new("L", (210, 300), ground)
        ImageDraw.Draw(picture).polygon(outline, fill=item)
        assert not shows_one_colour(fit_file(encoded(picture, kind)))


def test_images_of_items_are_not_of_one_colour() -> None:
    """Neither synthetic garments nor noisy rectangles count as one colour."""
    images = [*images_and_garments(100, 0)[0], *(fit_pixels(np.asarray(picture)) for picture in pictures(40))]
    assert not any(shows_one_colour(image) for image in images)
