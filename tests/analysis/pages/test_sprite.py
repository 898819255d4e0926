"""The sprite holds every image once, and gives each back."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from analysis.pages.page import COLUMNS, Sprite


def test_every_image_stands_in_its_cell() -> None:
    """A cell's place follows from its number, row by row, and the same image takes one cell."""
    images = np.random.default_rng(0).integers(0, 256, (COLUMNS + 3, 28, 28), np.uint8)
    sprite = Sprite()
    cells = [sprite.add(image) for image in images]
    assert cells == list(range(COLUMNS + 3)) and sprite.add(images[5].copy()) == 5
    sheet = sprite.sheet()
    assert sheet.shape == (2 * 28, COLUMNS * 28)
    for number in (0, 7, COLUMNS, COLUMNS + 2):
        row, column = divmod(number, COLUMNS)
        cell = sheet[28 * row : 28 * (row + 1), 28 * column : 28 * (column + 1)]
        assert (cell == images[number]).all()


def test_url_holds_a_picture_close_to_the_sheet() -> None:
    """What the page shows differs from the images by a few grey levels on average."""
    sprite = Sprite()
    ramp = np.tile(np.linspace(0, 255, 28, dtype=np.uint8), (28, 1))
    sprite.add(ramp)
    kind, _, content = sprite.as_url().partition(",")
    assert kind == "data:image/webp;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))[:28, :28]
    assert np.abs(decoded.astype(int) - ramp).mean() < 4


def test_page_without_images_still_has_a_sprite() -> None:
    """An empty sprite is one black row."""
    assert Sprite().sheet().shape == (28, COLUMNS * 28)
