"""One picture that holds all the small ones: a page of thousands of images then loads and draws as if it had one."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

COLUMNS = 100
QUALITY = 80
"""Of WebP: at 80 a cell is told from its original by a mean of 2 in 255, and 6,000 cells take 1.6 MB, not 3."""


class Sprite:
    """Collects images of one size; the same image twice takes one cell."""

    def __init__(self, size: int = 28) -> None:
        """Begins empty.

        Args:
            size: Height and width of an image in pixels. Defaults to 28.
        """
        self.size = size
        self._cells: dict[bytes, int] = {}

    def add(self, image: npt.NDArray[np.uint8]) -> int:
        """Takes an image, uint8 [size, size], and returns the number of its cell, row by row from the upper left."""
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
