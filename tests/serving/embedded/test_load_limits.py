"""The bytes and pixels that all requests may take together."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.contract.image_limits import MAX_IMAGE_PIXELS
from serving.embedded.errors import ServingError
from serving.embedded.load_limits import ByteBudget, count_bytes, row_pixels
from serving.images.headers import decoded_pixels

PICTURE = Image.effect_noise((301, 207), 50).convert("RGB")


def encoded(kind: str, **options: Any) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


FILES = {
    "png": encoded("PNG"),
    "gif": encoded("GIF"),
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "with other segments": encoded("JPEG", exif=b"Exif\0\0" + bytes(3000), comment=b"x" * 70, icc_profile=bytes(500)),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_read_from_the_header(name: str) -> None:
    """The width times the height, of each kind of file; a damaged file causes no error."""
    file = FILES[name]
    assert decoded_pixels(file) == 301 * 207
    for end in range(0, len(file), 7):
        assert 0 <= decoded_pixels(file[:end]) <= MAX_IMAGE_PIXELS


def test_what_is_unknown_counts_as_the_most_that_can_be_decoded() -> None:
    """A JPEG without a size may have one that a decoder finds; a BMP has at most a pixel a byte; text has none."""
    assert decoded_pixels(b"\xff\xd8\xff" + bytes(100)) == MAX_IMAGE_PIXELS
    assert decoded_pixels(FILES["jpeg"][:2] + b"\xff\xff\xff" + FILES["jpeg"][3:]) == 301 * 207
    assert decoded_pixels(b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\xff" * 8) == MAX_IMAGE_PIXELS
    assert decoded_pixels(encoded("BMP")) >= 301 * 207
    assert decoded_pixels(b"a shoe") == decoded_pixels(b"") == 0


def test_pixels_of_each_row_are_added_over_the_inputs() -> None:
    """An input without images adds none, and numbers cost no look at their content."""
    images = np.array([FILES["png"], b"no image", FILES["gif"]], object)
    texts = np.array([b"a", b"b", b"c"], object)
    pixels = row_pixels({"image_bytes": images, "more": images, "description": texts})
    assert pixels is not None and pixels.tolist() == [2 * 301 * 207, 0, 2 * 301 * 207]
    assert row_pixels({"description": texts, "image": np.zeros((3, 28, 28), np.uint8)}) is None
    assert count_bytes({"texts": np.array([[b"abc"], [b""]], object), "x": np.zeros((2, 5), np.float32)}) == 43


def test_requests_together_hold_at_most_the_limit() -> None:
    """What is beyond the limit is refused and holds nothing; what is given back can be taken again."""
    budget = ByteBudget(100)
    with budget.request() as first, budget.request() as second:
        first.add(60)
        second.add(40)
        with pytest.raises(ServingError, match="takes? too much memory") as refused:
            first.add(1)
        assert refused.value.code.name == "UNAVAILABLE" and budget.held == 100
    assert budget.held == 0
    with budget.request() as alone:
        alone.add(60)
        alone.add(1000)  # a request may be larger than the limit if there is no other
        with budget.request() as other, pytest.raises(ServingError):
            other.add(1)
    assert budget.held == 0
