"""Tests of serving.images.encoding: image files are encoded as the graph reads them, or refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.contract.image_limits import ImageLimits
from serving.images.encoding import ImageError, declared_pixels, encode_file, encode_image, read_file

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
COLOURS = Image.fromarray(NOISE)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns an image as a file of a format."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(payload: Any) -> Image.Image:
    """Opens a payload, which has to be a PNG."""
    image = Image.open(BytesIO(payload))
    assert image.format == "PNG"
    return image


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that declares a size and contains almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "L"), ("PNG", "LA"), ("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "L"), ("JPEG", "RGB")],
)
def test_files_that_the_graph_reads_correctly_stay_unchanged(kind: str, mode: str) -> None:
    """No bit of an 8-bit PNG or JPEG is changed."""
    content = encoded(COLOURS.convert(mode), kind)
    assert encode_file(content, "it") == content


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF"])
def test_other_formats_become_png_without_loss(kind: str) -> None:
    """A format that the graph cannot read, or reads differently, becomes a PNG with the same pixels."""
    grey = COLOURS.convert("L")
    image = decoded(encode_file(encoded(grey, kind), "it"))
    assert np.array_equal(np.asarray(image.convert("L")), np.asarray(grey))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})])
def test_newer_formats_become_png(kind: str, options: dict[str, Any]) -> None:
    """WebP and AVIF, for which the graph has no decoder, are read."""
    flat = Image.new("RGB", (20, 10), (200, 30, 60))
    image = decoded(encode_file(encoded(flat, kind, **options), "it"))
    assert image.size == (20, 10)
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 60)).max() <= 4


def test_cmyk_jpeg_becomes_rgb() -> None:
    """A print shop's JPEG shows its colours: red stays red."""
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    image = decoded(encode_file(encoded(red, "JPEG", quality=95), "it"))
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_truncated(kind: str) -> None:
    """The whole range of a 16-bit grey image maps to the whole range of 8 bits."""
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.asarray(decoded(encode_file(encoded(deep, kind), "it"))).tolist() == [[0, 100, 255]]


def test_pixels_without_a_known_range_are_refused() -> None:
    """The range of floating-point pixels is unknown, so they are not guessed."""
    with pytest.raises(ImageError, match="scan.tif has an unsupported depth.\nExpected: 8 or 16 bits .*\n.* float32"):
        encode_file(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "scan.tif")


def test_palette_keeps_its_colours() -> None:
    """A palette PNG, which the graph would read as grey, becomes one in colour."""
    image = decoded(encode_file(encoded(Image.new("RGB", (9, 9), (250, 10, 10)).quantize(4), "PNG"), "it"))
    assert image.convert("RGB").getpixel((4, 4)) == (250, 10, 10)


def test_one_bit_becomes_black_and_white() -> None:
    """An image with one bit a pixel spans the whole range."""
    drawing = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert np.asarray(decoded(encode_file(encoded(drawing, "PNG"), "it"))).tolist() == [[0, 255], [255, 0]]


def test_animation_gives_its_first_frame() -> None:
    """An animated GIF becomes its first frame."""
    frames = [Image.new("RGB", (12, 12), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    image = decoded(encode_file(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "it"))
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_transparency_stays(kind: str) -> None:
    """A colour declared transparent becomes an opacity of 0."""
    image = Image.new("P", (10, 10), 1)
    image.putpalette([255, 0, 255, 0, 128, 0])
    image.paste(0, (0, 0, 5, 10))
    sent = decoded(encode_file(encoded(image, kind, transparency=0), "it"))
    assert sent.mode == "RGBA"
    assert sent.getpixel((1, 1))[3] == 0 and sent.getpixel((8, 8)) == (0, 128, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(kind: str) -> None:
    """A photograph taken with a rotated camera becomes upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(encode_file(encoded(COLOURS, kind, exif=exif), "it")).size == (40, 30)


def test_large_images_shrink_when_they_are_encoded() -> None:
    """The PNG fits into a request, and the caller's image is unchanged."""
    large = Image.new("RGB", (4000, 1000))
    assert decoded(encode_image(large, "large")).size == (2048, 512)
    assert large.size == (4000, 1000)


@pytest.mark.parametrize(("edge", "sent"), [(2048, 2048), (2049, 2048)])
def test_only_larger_images_shrink(edge: int, sent: int) -> None:
    """An edge of 2,048 pixels stays as it is."""
    assert decoded(encode_image(Image.new("L", (edge, 3)), "it")).size == (sent, 3)


def test_limits_are_inclusive() -> None:
    """A file of exactly the most bytes and pixels is accepted; one byte or pixel more is refused with its reason."""
    content = encoded(COLOURS, "PNG")
    assert encode_file(content, "it", ImageLimits(bytes=len(content), pixels=1200)) == content
    for limits, reason in (
        (ImageLimits(bytes=len(content) - 1), "too_large"),
        (ImageLimits(pixels=1199), "too_many_pixels"),
    ):
        with pytest.raises(ImageError) as caught:
            encode_file(content, "it", limits)
        assert caught.value.reason == reason
    with pytest.raises(ImageError, match="Expected: at most 1,199 pixels\nReceived: 30 × 40"):
        encode_image(COLOURS, "it", ImageLimits(pixels=1199))
    assert declared_pixels(content) == 1200 and declared_pixels(content[:20]) == declared_pixels(b"a shoe") == 0


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"<html>", "not_an_image"), (encoded(COLOURS, "JPEG")[:-200], "damaged")]
)
@pytest.mark.parametrize("found", [True, False])
def test_every_refusal_has_a_stable_reason(content: bytes, reason: str, found: bool) -> None:
    """Callers count the words; only damage may be left to the next decoder."""
    if not found and reason == "damaged":
        assert encode_file(content, "it", find_damage=False) == content
        return
    with pytest.raises(ImageError) as caught:
        encode_file(content, "it", find_damage=found)
    assert caught.value.reason == reason


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """One byte more is read, so that the caller sees that there is more; what is no file is not opened."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345" and read_file(tmp_path / "file", 3) == b"1234"
    for path, received in ((tmp_path, "something else"), (tmp_path / "none", "No such file or directory")):
        with pytest.raises(ImageError, match=received) as caught:
            read_file(path, 5, "the shoe")
        assert caught.value.reason == "unreadable" and caught.value.headline.startswith("the shoe ")


def test_one_pixel_is_enough() -> None:
    """An image of 1 x 1 pixels is valid."""
    assert decoded(encode_file(encoded(Image.new("L", (1, 1), 7), "PNG"), "it")).size == (1, 1)
    assert encode_file(encoded(Image.new("RGB", (1, 1)), "JPEG"), "it")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_truncated_files_are_refused(kind: str) -> None:
    """Half a file is an error that names the file, in every format."""
    content = encoded(COLOURS, kind)
    with pytest.raises(ImageError, match="^half is (damaged|no image).\nExpected: .*\nReceived: "):
        encode_file(content[: len(content) // 2], "half")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x is empty.\nExpected: an image\nReceived: 0 bytes"),
        (b"<html>not found</html>", "(?s)x is no image.\nExpected: PNG, JPEG, .* begin b'<html>no'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x is no image"),
        (b"\x89PNG\r\n\x1a\n", "x is (no image|damaged)"),
    ],
)
def test_other_content_is_refused(content: bytes, message: str) -> None:
    """The content decides, not the name; programs such as Ghostscript are never started."""
    with pytest.raises(ImageError, match=message):
        encode_file(content, "x")


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8_000, 7_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_header(width: int, height: int) -> None:
    """A few bytes that would decompress to gigabytes are never decoded."""
    with pytest.raises(ImageError, match="bomb is too large.\nExpected: at most 50,000,000 pixels\nReceived: "):
        encode_file(png_header(width, height), "bomb")


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I;16"]
)
def test_pil_images_of_any_mode_are_encoded(mode: str) -> None:
    """Each of Pillow's modes becomes one that the graph reads."""
    assert decoded(encode_image(Image.new(mode, (5, 4)), "it")).mode in ("L", "LA", "RGB", "RGBA")
