"""Draws small images enlarged in a grid, with a caption below each, as one picture that a notebook displays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from analysis.pages.section import Images

GAP, FONT_SIZE, LINE = 10, 13, 16
TEXT, EMPTY = "#30363d", "#ffffff"


def image_grid(images: Images, captions: Sequence[str] = (), columns: int = 8, scale: int = 4) -> Image.Image:
    """Returns the images in rows, each enlarged.

    Args:
        images: uint8 [N, H, W].
        captions: N texts of one or more lines, below the images. Defaults to none.
        columns: The number of images in a row. Defaults to 8.
        scale: Screen pixels a pixel of an image. Defaults to 4.
    """
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    height, width = (scale * side for side in images.shape[1:])
    step_down, step_right = height + lines * LINE + GAP, width + GAP
    rows = max(-(-len(images) // columns), 1)
    grid = Image.new("RGB", (min(columns, max(len(images), 1)) * step_right, rows * step_down), EMPTY)
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(FONT_SIZE)
    for number, image in enumerate(images):
        left, top = number % columns * step_right, number // columns * step_down
        grid.paste(Image.fromarray(np.kron(image, np.ones((scale, scale), np.uint8))), (left, top))
        if captions:
            draw.multiline_text(
                (left, top + height + 2), captions[number], fill=TEXT, font=font, spacing=LINE - FONT_SIZE
            )
    return grid
