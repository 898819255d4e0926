"""Writes sections as one self-contained page that opens without network; plotly's script and all images are inside."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from analysis.pages.section import Block, Listing, Picture, Row, Section
from analysis.pages.template import render

COLUMNS = 100
QUALITY = 80
"""Of WebP: at 80 a cell differs from its original by a mean of 2 in 255, and 6,000 cells take 1.6 MB, not 3."""
SCALE = 2
"""Screen pixels a pixel of a small image."""


def write_page(
    sections: Sequence[Section], findings: Sequence[str], subtitle: str, title: str = "What is in the data"
) -> str:
    """Returns the page.

    Args:
        sections: In order.
        findings: The main ones, Markdown, a sentence or two each.
        subtitle: What was explored.
        title: The heading. Defaults to that of the exploration.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    sprite, figures = Sprite(), dict[str, Any]()
    prepared = [
        {
            "name": section.name,
            "title": section.title,
            "finding": section.finding,
            "decision": section.decision,
            "blocks": [_prepare_block(block, sprite, figures) for block in section.blocks],
        }
        for section in sections
    ]
    # The text of a script must not hold the tag that ends it.
    drawn = json.dumps(figures, separators=(",", ":")).replace("</", "<\\/")
    return render(
        "page.html",
        title=title,
        subtitle=subtitle,
        findings=findings,
        sections=prepared,
        sprite=sprite.as_url(),
        columns=COLUMNS,
        plotly=Markup(get_plotlyjs()),
        figures=Markup(drawn),
    )


def _prepare_block(block: Block, sprite: Sprite, figures: dict[str, Any]) -> dict[str, Any]:
    """Returns what the template needs of a block; its images go to the sprite, its figure to `figures`."""
    common = {"name": block.name, "caption": block.caption}
    if isinstance(block, Picture):
        drawn = json.loads(block.figure.to_json())
        cells = None if block.thumbnails is None else [sprite.add(image) for image in block.thumbnails]
        figures[f"plot-{block.name}"] = {"data": drawn["data"], "layout": drawn["layout"], "cells": cells}
        return common | {"kind": "picture", "height": drawn["layout"].get("height", 420)}
    if isinstance(block, Listing):
        numeric = [pd.api.types.is_numeric_dtype(kind) for kind in block.table.dtypes]
        headings = list(zip(block.table.columns, numeric, strict=True))
        return common | {"kind": "listing", "headings": headings, "rows": as_text(block.table)}
    return common | {"kind": "gallery", "rows": [_prepare_row(row, sprite) for row in block.rows]}


def _prepare_row(row: Row, sprite: Sprite) -> dict[str, Any]:
    side = SCALE * sprite.size
    cells = []
    for image, note in zip(row.images, row.notes or [""] * len(row.images), strict=True):
        cell = sprite.add(image)
        cells.append((cell % COLUMNS * side, cell // COLUMNS * side, note))
    return {"title": row.title, "colour": row.colour, "cells": cells}


def as_text(table: pd.DataFrame) -> list[list[str]]:
    """Returns the cells of a table as text: whole numbers with separators, others with at most four digits."""
    return [[_cell_text(value) for value in row] for row in table.itertuples(index=False)]


def _cell_text(value: Any) -> str:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    if number != number:
        return "–"
    text = f"{number:,.0f}" if number == round(number) and abs(number) >= 1 else f"{number:.4g}"
    return text.replace("-", "−")


class Sprite:
    """Collects images of one size in one sheet; the same image twice takes one cell.

    A page of thousands of images then loads and draws as if it had one.
    """

    def __init__(self, size: int = 28) -> None:
        """Makes an empty sheet.

        Args:
            size: Height and width of an image in pixels. Defaults to 28.
        """
        self.size = size
        self._cells: dict[bytes, int] = {}

    def add(self, image: npt.NDArray[np.uint8]) -> int:
        """Adds an image, uint8 [size, size], and returns the number of its cell, row by row from the upper left."""
        return self._cells.setdefault(image.tobytes(), len(self._cells))

    @property
    def rows(self) -> int:
        """How many rows of cells there are."""
        return -(-len(self._cells) // COLUMNS)

    def sheet(self) -> npt.NDArray[np.uint8]:
        """Returns the whole sheet, uint8 [rows * size, COLUMNS * size]; what has no image is black."""
        cells = np.zeros((max(1, self.rows) * COLUMNS, self.size, self.size), np.uint8)
        for image, cell in self._cells.items():
            cells[cell] = np.frombuffer(image, np.uint8).reshape(self.size, self.size)
        grid = cells.reshape(-1, COLUMNS, self.size, self.size).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(grid).reshape(-1, COLUMNS * self.size)

    def as_url(self) -> str:
        """Returns the sheet as a `data:` URL that holds a WebP picture."""
        target = io.BytesIO()
        Image.fromarray(self.sheet()).save(target, "WEBP", quality=QUALITY, method=4)
        return "data:image/webp;base64," + base64.b64encode(target.getvalue()).decode()
