"""Reads the catalogue's products, a list at a time: in constant memory and from one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sql.statements import PRODUCTS

if TYPE_CHECKING:
    from psycopg import Connection

ROWS = 2_000


class CatalogueError(Exception):
    """The catalogue cannot be read; its text says all."""

    def __init__(self, headline: str, *, expected: str, received: str, next_step: str) -> None:
        super().__init__(f"{headline} Expected: {expected}. Received: {received}. Next: {next_step}")
        self.headline, self.expected, self.received, self.next_step = headline, expected, received, next_step


class Product(NamedTuple):
    """A row of the listing."""

    id: int
    title: str
    url: str | None
    description: str | None


def read_products(
    dsn: str, *, country: str = "us", image_index: int = 0, after: int | None = None
) -> Iterator[list[Product]]:
    """Yields the products in the order of their ids, from one snapshot.

    Raises:
        CatalogueError: The catalogue cannot be reached or read.
    """
    statement = f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id > %(after)s ORDER BY id"
    values = {"country": country, "image_index": image_index, "after": -(2**63) if after is None else after}
    with snapshot(dsn) as connection, connection.cursor(name="products") as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(ROWS):
            yield [Product(*row) for row in rows]


@contextmanager
def snapshot(dsn: str) -> Iterator[Connection[Any]]:
    """Opens a connection whose reads all see the same moment.

    Raises:
        CatalogueError: It cannot be opened, or a statement fails.
    """
    import psycopg

    try:
        with psycopg.connect(dsn) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield connection
    except psycopg.Error as error:
        raise CatalogueError(
            "The catalogue cannot be read.",
            expected="a PostgreSQL with the catalogue's tables",
            received=str(error).strip(),
            next_step="see that the DSN and the tables are right",
        ) from None
