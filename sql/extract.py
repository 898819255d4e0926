"""Reads the catalogue: every product once, in the order of id, with constant memory and at one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from psycopg.rows import args_row

from sql.catalogue_error import CatalogueError, LostConnectionError
from sql.connection import RETRIES, TIMEOUT, begin, connected, pause
from sql.statements import PRODUCTS, PRODUCTS_AFTER
from sql.tables import CATALOGUE, check

__all__ = ["CatalogueError", "LostConnectionError", "Product", "estimate", "read_products"]

FIRST_ROWS: Final = 100
MOST_ROWS: Final = 5000
MOST_CHARACTERS: Final = 4_000_000


class Product(NamedTuple):
    """A row of `sql/products.sql`.

    Attributes:
        id: The product's id.
        title: Its title.
        url: The URL of its image at the index asked for; None where there is none.
        description: Its text for the country asked for; None where there is none.
    """

    id: int
    title: str
    url: str | None
    description: str | None


def read_products(
    dsn: str,
    *,
    country: str = "us",
    image_index: int = 0,
    after: int | None = None,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
    on_reconnect: Callable[[int, LostConnectionError], None] | None = None,
) -> Iterator[list[Product]]:
    """Yields all products in the order of id, in lists of at most 5,000 rows and, but for long texts, 4 MB.

    One read-only transaction reads one snapshot. Where the connection is lost after some rows came, a new one goes on
    behind the last of them: no product is lost and none comes twice, but the rest is of a new snapshot.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...".
        country: The code of the country whose text is wanted, compared exactly.
        image_index: Which of the product's images; 0 is the first.
        after: Begins behind the product with this id. Defaults to None, all products.
        timeout: Seconds that the server may take for a list. Time that the caller takes does not count.
        retries: How many times in a row a lost connection is made again without a row in between. A connection that
            fails before the first row is not.
        on_reconnect: Is told the last id that was read and what happened, before each new connection.

    Raises:
        CatalogueError: The DSN is wrong, or the tables are, or the user's rights, or the server takes too long.
        LostConnectionError: There is no connection (any more).
    """
    left = 0
    while True:
        try:
            for rows in _one_snapshot(dsn, country, image_index, after, timeout):
                yield rows
                after, left = rows[-1].id, retries
            return
        except LostConnectionError as error:
            if after is None or left == 0:
                raise
            if on_reconnect:
                on_reconnect(after, error)
        pause(retries - left)
        left -= 1


def estimate(dsn: str, *, timeout: float = TIMEOUT) -> int:
    """Returns about how many products there are, without counting them: what the planner thinks.

    Raises:
        CatalogueError: As `read_products`.
    """
    with connected(dsn, timeout) as connection:
        check(connection, CATALOGUE, "sql/schema.sql")
        row = connection.execute("EXPLAIN (FORMAT JSON) SELECT Id FROM Product").fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def _one_snapshot(
    dsn: str, country: str, image_index: int, after: int | None, timeout: float
) -> Iterator[list[Product]]:
    with connected(dsn, timeout) as connection:
        check(connection, CATALOGUE, "sql/schema.sql")
        begin(connection, timeout, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # Before the snapshot is taken: of a table that is emptied or rewritten between snapshot and lock, an old
        # snapshot sees nothing, and without an error.
        connection.execute(f"LOCK TABLE {', '.join(CATALOGUE)} IN ACCESS SHARE MODE")
        asked = {"country": country, "image_index": image_index, "after": after}
        with connection.cursor("products", row_factory=args_row(Product)) as cursor:
            cursor.execute(PRODUCTS if after is None else PRODUCTS_AFTER, asked, binary=True)
            rows = cursor.fetchmany(FIRST_ROWS)
            while rows:
                yield rows
                rows = cursor.fetchmany(_next_size(rows))


def _next_size(rows: list[Product]) -> int:
    """How many rows to ask for next, if they are like these."""
    characters = sum(len(row.title) + len(row.url or "") + len(row.description or "") for row in rows)
    return max(1, min(MOST_ROWS, MOST_CHARACTERS * len(rows) // max(characters, 1)))
