"""Reads which garment each product is, from the optional table ProductGarment."""

from __future__ import annotations

from typing import Final

from sql.extract import CatalogueError, snapshot

TABLE: Final = "ProductGarment"


def read_garments(dsn: str) -> dict[int, str]:
    """Returns the garments' names by product.

    Raises:
        CatalogueError: The catalogue cannot be read, or has no such table.
    """
    with snapshot(dsn) as connection:
        if connection.execute("SELECT to_regclass(%s)", [TABLE]).fetchone() == (None,):
            raise CatalogueError(
                "The catalogue does not say which garments its products are.",
                expected=f"a table {TABLE} (ProductId, Garment)",
                received="none of that name",
                next_step="make it with sql/garments.sql, and fill it for the products to learn from",
            )
        return dict(connection.execute(f"SELECT ProductId, Garment FROM {TABLE}").fetchall())
