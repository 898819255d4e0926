"""Digests what a catalogue says, inside PostgreSQL: whether anything has changed, without a row leaving the server."""

from __future__ import annotations

from typing import Final

from sql.connection import begin, connected
from sql.garments import GARMENTS_TABLE, MADE_BY
from sql.statements import PRODUCTS
from sql.tables import CATALOGUE, check

PATIENCE: Final = 1_800.0
"""Seconds; the one row of the answer comes when all products have been read."""

# The sum of the rows' 64-bit hashes: of every column, NULL unlike '', and in whatever order the rows come.
_SUM: Final = "SELECT count(*) || '-' || coalesce(sum(hashtextextended(listing::text, 0)), 0)"
_DIGEST: Final = f"""
SELECT ({_SUM} FROM ({PRODUCTS}) AS listing) || ' ' || ({_SUM} FROM ProductGarment AS listing)
"""


def catalogue_digest(dsn: str, *, country: str = "us", image_index: int = 0) -> str:
    """Returns a text that changes with any product, image, description or garment that would be read.

    It takes about the time of the query.

    Args:
        dsn: What libpq reads.
        country: Whose descriptions are read.
        image_index: Which images are read.

    Raises:
        CatalogueError: A table is missing, or it cannot be read.
        LostConnectionError: There is no connection (any more).
    """
    with connected(dsn, PATIENCE) as connection:
        check(connection, CATALOGUE, "sql/schema.sql")
        check(connection, GARMENTS_TABLE, MADE_BY)
        begin(connection, PATIENCE, "READ ONLY")
        row = connection.execute(_DIGEST, {"country": country, "image_index": image_index}).fetchone()
    return str(row[0]) if row else ""
