"""Digests what a catalogue says, inside PostgreSQL: whether anything has changed, without a row leaving the server."""

from __future__ import annotations

from typing import Final

from sql.extract import snapshot
from sql.garments import TABLE
from sql.statements import PRODUCTS

# The sum of the rows' 64-bit hashes: of every column, NULL unlike '', and in whatever order the rows come.
DIGEST: Final = "SELECT count(*) || '-' || coalesce(sum(hashtextextended(listed::text, 0)), 0) FROM {} AS listed"


def catalogue_digest(dsn: str, *, country: str = "us", image_index: int = 0) -> str:
    """Returns a text that changes with any product, image, description or garment that would be read.

    It takes about the time of the query.

    Args:
        dsn: Where the catalogue is.
        country: Whose descriptions are read.
        image_index: Which images are read.

    Raises:
        CatalogueError: The catalogue cannot be read.
    """
    with snapshot(dsn) as connection:
        values = {"country": country, "image_index": image_index}
        parts = [connection.execute(DIGEST.format(f"({PRODUCTS})"), values).fetchone()]
        if connection.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() != (None,):
            parts.append(connection.execute(DIGEST.format(TABLE)).fetchone())
    return " ".join(part[0] for part in parts if part)
