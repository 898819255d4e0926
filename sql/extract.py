"""Reads the catalogue: every product once, in the order of id, with constant memory and at one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final, NamedTuple

from psycopg import Connection
from psycopg.rows import args_row

from sql.catalogue_error import CatalogueError, LostConnectionError
from sql.connection import RETRIES, TIMEOUT, begin, connected, pause
from sql.statements import PRODUCT, PRODUCTS, PRODUCTS_AFTER, without_long_rows
from sql.tables import CATALOGUE, check, lockable

__all__ = ["CatalogueError", "LostConnectionError", "Product", "ahead", "estimate", "read_products"]

FIRST_ROWS: Final = 100
MOST_ROWS: Final = 1000
MOST_BYTES: Final = 32_768
"""Of a row that comes with others; one with longer texts is fetched by itself."""
MOST_CHARACTERS: Final = 2_000_000
WITHOUT_TEXTS: Final = (None, None, None)


class Product(NamedTuple):
    """A row of `sql/products.sql`.

    Attributes:
        id: The product's id.
        title: Its title; None where there is none, which `sql/schema.sql` does not allow and other catalogues may.
        url: The URL of its image at the index asked for; None where there is none.
        description: Its text for the country asked for; None where there is none.
    """

    id: int
    title: str | None
    url: str | None
    description: str | None


def read_products(
    dsn: str,
    *,
    country: str = "us",
    image_index: int = 0,
    after: int | None = None,
    one_snapshot: bool = True,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
    on_reconnect: Callable[[int, LostConnectionError], None] | None = None,
) -> Iterator[list[Product]]:
    """Yields all products in the order of id, in lists of at most 1,000 rows, fewer where texts are long.

    One read-only transaction reads one snapshot. Where the connection is lost after some rows came, a new one goes on
    behind the last of them: no product is lost and none comes twice, but the rest is of a new snapshot.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...".
        country: The code of the country whose text is wanted, compared exactly.
        image_index: Which of the product's images; 0 is the first.
        after: Begins behind the product with this id. Defaults to None, all products.
        one_snapshot: Whether all lists are of one snapshot, which holds up VACUUM and ALTER TABLE until the last of
            them was read. Else each is of its own, and nothing is held between two. Defaults to yes.
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
            with connected(dsn, timeout) as connection:
                check(connection, CATALOGUE, "sql/schema.sql")
                asked = {"country": country, "image_index": image_index}
                for rows in (_of_one_snapshot if one_snapshot else _of_many)(connection, asked, after, timeout):
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


def ahead(batches: Iterator[list[Product]]) -> Iterator[list[Product]]:
    """Yields the same lists, each read while the caller is still busy with the one before."""
    coming = _begun(batches)
    while batch := coming.result():
        coming = _begun(batches)
        yield batch


def _begun(batches: Iterator[list[Product]]) -> Future[list[Product]]:
    coming: Future[list[Product]] = Future()

    def read() -> None:
        try:
            coming.set_result(next(batches, []))
        except BaseException as error:
            coming.set_exception(error)

    # A daemon: Ctrl-C does not wait for a server that says nothing.
    Thread(target=read, daemon=True).start()
    return coming


def estimate(dsn: str, *, timeout: float = TIMEOUT) -> int:
    """Returns about how many products there are, without counting them: what the planner thinks.

    Raises:
        CatalogueError: As `read_products`.
    """
    with connected(dsn, timeout) as connection:
        check(connection, CATALOGUE, "sql/schema.sql")
        row = connection.execute("EXPLAIN (FORMAT JSON) SELECT Id FROM Product").fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def _of_one_snapshot(
    connection: Connection[Any], asked: Mapping[str, Any], after: int | None, timeout: float
) -> Iterator[list[Product]]:
    _begin(connection, timeout)
    with connection.cursor("products", row_factory=args_row(Product)) as cursor:
        cursor.execute(_statement(after), {**asked, "after": after, "most_bytes": MOST_BYTES}, binary=True)
        rows = cursor.fetchmany(FIRST_ROWS)
        while rows:
            yield from _lists(connection, asked, rows)
            rows = cursor.fetchmany(MOST_ROWS)


def _of_many(
    connection: Connection[Any], asked: Mapping[str, Any], after: int | None, timeout: float
) -> Iterator[list[Product]]:
    limit = FIRST_ROWS
    while True:
        _begin(connection, timeout)
        given = {**asked, "after": after, "most_bytes": MOST_BYTES}
        with connection.cursor(row_factory=args_row(Product)) as cursor:
            rows = cursor.execute(f"{_statement(after)} LIMIT {limit}", given, binary=True).fetchall()
        if not rows:
            return
        # One list at a time, so that the transaction has an end before the caller takes time.
        products = next(_lists(connection, asked, rows))
        connection.execute("COMMIT")
        yield products
        after, limit = products[-1].id, MOST_ROWS


def _begin(connection: Connection[Any], timeout: float) -> None:
    tables = lockable(connection, CATALOGUE)
    begin(connection, timeout, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
    # The first statement, before the snapshot is taken: of a table that is emptied or rewritten between snapshot and
    # lock, an old snapshot sees nothing, and without an error.
    if tables:
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE")


def _statement(after: int | None) -> str:
    return without_long_rows(PRODUCTS if after is None else PRODUCTS_AFTER)


def _lists(connection: Connection[Any], asked: Mapping[str, Any], rows: list[Product]) -> Iterator[list[Product]]:
    """Yields the rows; those that came without their texts are fetched one by one, and end a list that grows large."""
    products: list[Product] = []
    size = 0
    for row in rows:
        if row[1:] != WITHOUT_TEXTS:
            products.append(row)
            continue
        # Long, or a product of which nothing is known.
        with connection.cursor(row_factory=args_row(Product)) as cursor:
            [long] = cursor.execute(PRODUCT, {**asked, "id": row.id}, binary=True).fetchall()
        products.append(long)
        size += sum(len(text) for text in (long.title, long.url, long.description) if text)
        if size > MOST_CHARACTERS:
            yield products
            products, size = [], 0
    if products:
        yield products
