"""Unusual, broken and oversized image files get an answer or a reasoned refusal, never a failure of the server."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.engines.server_process import ServerProcess
from tests.serving.embedded.test_server import PREDICT, send
from tests.serving.images.test_encoding import encoded, png_header

COLOURS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8))
DEEP = Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (60, 40), np.uint16))
FRAMES = [Image.new("RGB", (12, 12), colour) for colour in ((255, 0, 0), (0, 0, 255))]


def predicted(server: ServerProcess, content: bytes) -> tuple[int, Any]:
    """Sends one file; returns the status and the document."""
    instance = {"b64": base64.b64encode(content).decode()}
    status, document, _ = send(
        server, "POST", PREDICT, json.dumps({"signature_name": "serving_bytes", "instances": [instance]})
    )
    return status, document


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(COLOURS.convert("CMYK"), "JPEG"), id="CMYK"),
        pytest.param(encoded(DEEP, "PNG"), id="16 bits"),
        pytest.param(encoded(COLOURS.convert("RGBA"), "PNG"), id="transparent"),
        pytest.param(encoded(COLOURS.convert("LA"), "PNG"), id="grey and transparent"),
        pytest.param(encoded(COLOURS.quantize(8), "PNG"), id="palette"),
        pytest.param(encoded(COLOURS.convert("1"), "PNG"), id="1 bit"),
        pytest.param(encoded(COLOURS, "JPEG", progressive=True), id="progressive"),
        pytest.param(encoded(COLOURS, "BMP"), id="BMP"),
        pytest.param(encoded(Image.new("L", (1, 1), 7), "PNG"), id="1 x 1"),
        pytest.param(encoded(Image.new("L", (1, 5000), 7), "PNG"), id="1 x 5000"),
    ],
)
def test_unusual_images_are_classified(server: ServerProcess, content: bytes) -> None:
    """Images of any depth, colour mode and size are classified."""
    status, document = predicted(server, content)
    assert status == 200 and document["predictions"][0]["group"], document


def test_an_animation_is_classified_by_its_first_frame(server: ServerProcess) -> None:
    """An animated GIF gets the answer of its first frame."""
    moving = encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])
    assert predicted(server, moving) == predicted(server, encoded(FRAMES[0], "GIF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_truncated_images_are_refused(server: ServerProcess, kind: str) -> None:
    """Half a file gets 400."""
    content = encoded(COLOURS, kind)
    status, document = predicted(server, content[: len(content) // 2])
    assert status == 400 and document["error"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", "no PNG, JPEG, GIF or BMP", id="empty"),
        pytest.param(b"<svg/>", "no PNG, JPEG, GIF or BMP", id="SVG"),
        pytest.param(encoded(COLOURS, "WEBP"), "no PNG, JPEG, GIF or BMP", id="WebP"),
        pytest.param(encoded(COLOURS, "TIFF"), "no PNG, JPEG, GIF or BMP", id="TIFF"),
        pytest.param(png_header(20_000, 20_000), "at most 50 million pixels", id="pixels"),
        pytest.param(png_header(2**31 - 1, 2**31 - 1), "at most 50 million pixels", id="overflow"),
        pytest.param(encoded(COLOURS, "PNG") + bytes(20_000_000), "at most 20000000", id="bytes"),
    ],
)
def test_other_files_and_large_images_are_refused(server: ServerProcess, content: bytes, text: str) -> None:
    """The error names the limit or the formats; nothing was decoded."""
    status, document = predicted(server, content)
    assert status == 400 and text in document["error"], document
