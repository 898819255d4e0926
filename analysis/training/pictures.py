"""Pictures of a training for TensorBoard: the confusion matrix, the worst mistakes, and the projector's sprite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
CELL = 72
MARGIN = 110
SCALE = 3


def confusion_picture(confusion: NDArray[np.int64], names: Sequence[str]) -> Pixels:
    """Draws counts of true (rows) against predicted (columns); uint8 [height, width, 3].

    The shade is the share of the row, so that a small group's mistakes are as visible as a large one's.
    """
    side = MARGIN + CELL * len(names)
    picture = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        middle = MARGIN + row * CELL + CELL // 2
        draw.text((MARGIN - 8, middle), name, "black", font, anchor="rm")
        draw.text((middle, MARGIN - 8), name, "black", font, anchor="ms")
        for column in range(len(names)):
            left, top = MARGIN + column * CELL, MARGIN + row * CELL
            shade = shares[row, column]
            # White to Okabe and Ito's blue.
            colour = tuple(int(255 + (end - 255) * shade) for end in (0, 114, 178))
            draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=colour)
            ink = "white" if shade > 0.5 else "black"
            draw.text((left + CELL // 2, top + CELL // 2), f"{confusion[row, column]:,}", ink, font, anchor="mm")
    draw.text((8, 8), "rows: true group\ncolumns: predicted", "black", font)
    return np.asarray(picture)


def mistakes_picture(images: Pixels, captions: Sequence[str], columns: int = 6) -> Pixels:
    """Draws images [N, 28, 28] in a grid, each above its caption of two lines; uint8 [height, width, 3]."""
    width, height = 28 * SCALE + 40, 28 * SCALE + 40
    rows = max(1, -(-len(images) // columns))
    picture = Image.new("RGB", (columns * width, rows * height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = index % columns * width, index // columns * height
        tile = Image.fromarray(image).resize((28 * SCALE, 28 * SCALE), Image.Resampling.NEAREST)
        picture.paste(tile, (left + 20, top + 4))
        draw.text((left + width // 2, top + 28 * SCALE + 8), caption, "black", font, anchor="ma", align="center")
    return np.asarray(picture)


def sprite(images: Pixels) -> Image.Image:
    """Puts images [N, 28, 28] on one square sheet, row by row, as the projector reads it."""
    side = int(np.ceil(np.sqrt(len(images))))
    sheet = np.zeros((side * side, 28, 28), np.uint8)
    sheet[: len(images)] = images
    rows = sheet.reshape(side, side, 28, 28).transpose(0, 2, 1, 3)
    return Image.fromarray(rows.reshape(side * 28, side * 28))
