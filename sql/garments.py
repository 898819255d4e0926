"""Reads which garment each product is, where somebody has said so."""

from __future__ import annotations

from typing import Final

from sql.connection import TIMEOUT, begin, connected
from sql.tables import TEXT, WHOLE, Columns, check

GARMENTS_TABLE: Final[Columns] = {"ProductGarment": {"ProductId": WHOLE, "Garment": TEXT}}
MADE_BY: Final = "sql/garments.sql"


def read_garments(dsn: str, *, timeout: float = TIMEOUT) -> dict[int, str]:
    """Returns the garments' names by product id.

    Args:
        dsn: What libpq reads.
        timeout: Seconds that the server may take.

    Raises:
        CatalogueError: The table is missing, or it cannot be read.
        LostConnectionError: There is no connection (any more).
    """
    with connected(dsn, timeout) as connection:
        check(connection, GARMENTS_TABLE, MADE_BY)
        begin(connection, timeout, "READ ONLY")
        return dict(connection.execute("SELECT ProductId, Garment FROM ProductGarment").fetchall())
