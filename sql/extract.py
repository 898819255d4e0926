"""Reading the catalogue: all products in the order of id with constant memory, their garments, and a digest of both."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from tempfile import TemporaryFile
from threading import Thread
from time import sleep
from typing import Any, Final, NamedTuple, TypeAlias

from psycopg import Connection
from psycopg.rows import args_row

from pipeline.contract.retries import backoff_seconds
from sql.connection import RETRIES, TIMEOUT, CatalogueError, LostConnectionError, begin_transaction, connected
from sql.indexes import PRODUCTS, choose_query
from sql.tables import CATALOGUE, GARMENTS, check_tables, lockable_tables

FIRST_ROWS: Final = 100
MOST_ROWS: Final = 1000
MOST_BYTES: Final = 32_768
"""Of a row that is fetched with others; a row with longer texts is fetched by itself."""
MOST_CHARACTERS: Final = 2_000_000
WITHOUT_TEXTS: Final = (None, None, None)
DIGEST_TIMEOUT: Final = 1_800.0
"""Seconds; the one row of the answer comes when all products have been read."""

Key: TypeAlias = Any
"""A product's id: an int, a str or a UUID, as the type of the column is."""

# The sum of the rows' 64-bit hashes: of every column, with NULL unlike '', and in whatever order the rows come.
_SUM: Final = "SELECT count(*) || '-' || coalesce(sum(hashtextextended(listing::text, 0)), 0)"


class Product(NamedTuple):
    """A row of `sql/products.sql`.

    Attributes:
        id: The product's id.
        title: Its title; None where there is none, which `sql/schema.sql` does not allow and other catalogues may.
        url: The URL of its image at the requested index; None where there is none.
        description: Its text for the requested country; None where there is none.
    """

    id: Key
    title: str | None
    url: str | None
    description: str | None


def read_products(
    dsn: str,
    *,
    country: str = "us",
    image_index: int = 0,
    after: Key | None = None,
    one_snapshot: bool = True,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
    on_reconnect: Callable[[Key, LostConnectionError], None] | None = None,
) -> Iterator[list[Product]]:
    """Yields all products in the order of id, in lists of at most 1,000 rows, fewer where texts are long.

    One read-only transaction reads one snapshot. Where the connection is lost after some rows came, a new one continues
    after the last of them: no product is lost and none comes twice, but the rest is of a new snapshot. Where the tables
    lack an index (`sql.indexes`), the set-based form of the query gives the same rows.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...".
        country: The code of the country whose text is returned, compared exactly.
        image_index: Which of the product's images; 0 is the first.
        after: Begins after the product with this id. Defaults to None, all products.
        one_snapshot: Whether all lists are of one snapshot, which blocks VACUUM and ALTER TABLE until the last of them
            was read. Otherwise each list is of its own snapshot, and nothing is locked between two; without indexes, a
            temporary file holds the rows of one snapshot, and nothing is locked once it is written. Defaults to True.
        timeout: Seconds that the server may take for a list. Time that the caller takes does not count.
        retries: How many times in a row a lost connection is opened again without a row in between. A connection that
            fails before the first row is not.
        on_reconnect: Called with the last id that was read and the error, before each new connection.

    Raises:
        CatalogueError: The DSN, the tables or the user's rights are wrong, two products have the same id, or the server
            takes too long.
        LostConnectionError: There is no connection, and no retry is left.
    """
    left = 0
    while True:
        try:
            with connected(dsn, timeout) as connection:
                check_tables(connection, CATALOGUE)
                parameters = {"country": country, "image_index": image_index}
                query = choose_query(connection)
                if one_snapshot or query != PRODUCTS:
                    lists = _read_one_snapshot(connection, query, parameters, after, timeout)
                    lists = lists if one_snapshot else _spooled(lists)
                else:
                    lists = _read_many_snapshots(connection, parameters, after, timeout)
                for rows in lists:
                    _check_unique(after, rows)
                    yield rows
                    after, left = rows[-1].id, retries
            return
        except LostConnectionError as error:
            if after is None or left == 0:
                raise
            if on_reconnect:
                on_reconnect(after, error)
        sleep(backoff_seconds(retries - left))
        left -= 1


def read_ahead(batches: Iterator[list[Product]]) -> Iterator[list[Product]]:
    """Yields the same lists, and reads each while the caller still works on the one before."""
    coming = _start_reading(batches)
    while batch := coming.result():
        coming = _start_reading(batches)
        yield batch


def estimate(dsn: str, *, timeout: float = TIMEOUT) -> int:
    """Returns the planner's estimate of the number of products, without counting them.

    Raises:
        CatalogueError: As `read_products`.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, CATALOGUE)
        begin_transaction(connection, timeout, "READ ONLY")
        row = connection.execute("EXPLAIN (FORMAT JSON) SELECT Id FROM Product").fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def read_garments(dsn: str, *, timeout: float = TIMEOUT) -> dict[Key, str]:
    """Returns the garments' names by product id, for the products whose garment is known.

    Args:
        dsn: What libpq reads.
        timeout: Seconds that the server may take.

    Raises:
        CatalogueError: The table is missing, or it cannot be read.
        LostConnectionError: There is no connection, or it broke.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, GARMENTS)
        begin_transaction(connection, timeout, "READ ONLY")
        return dict(connection.execute("SELECT ProductId, Garment FROM ProductGarment").fetchall())


def catalogue_digest(dsn: str, *, country: str = "us", image_index: int = 0) -> str:
    """Returns a text that changes with any product, image, description or garment that a training would read.

    PostgreSQL computes it, so no row leaves the server. It takes about as long as the query.

    Args:
        dsn: What libpq reads.
        country: Whose descriptions are read.
        image_index: Which images are read.

    Raises:
        CatalogueError: A table is missing, or it cannot be read.
        LostConnectionError: There is no connection, or it broke.
    """
    with connected(dsn, DIGEST_TIMEOUT) as connection:
        check_tables(connection, CATALOGUE)
        check_tables(connection, GARMENTS)
        listing = choose_query(connection)
        begin_transaction(connection, DIGEST_TIMEOUT, "READ ONLY")
        row = connection.execute(
            f"SELECT ({_SUM} FROM ({listing}) AS listing) || ' ' || ({_SUM} FROM ProductGarment AS listing)",
            {"country": country, "image_index": image_index},
        ).fetchone()
    return str(row[0]) if row else ""


def _start_reading(batches: Iterator[list[Product]]) -> Future[list[Product]]:
    coming: Future[list[Product]] = Future()

    def read() -> None:
        try:
            coming.set_result(next(batches, []))
        except BaseException as error:
            coming.set_exception(error)

    # A daemon: Ctrl-C does not wait for a server that does not respond.
    Thread(target=read, daemon=True).start()
    return coming


def _read_one_snapshot(
    connection: Connection[Any], query: str, parameters: Mapping[str, Any], after: Key | None, timeout: float
) -> Iterator[list[Product]]:
    _begin_and_lock(connection, timeout)
    if query != PRODUCTS:
        # All rows are sorted before the first comes, so a plan for the first rows would only be slower.
        connection.execute("SET LOCAL cursor_tuple_fraction = 1")
    with connection.cursor("products", row_factory=args_row(Product)) as cursor:
        values = {**parameters, "after": after, "most_bytes": MOST_BYTES}
        cursor.execute(_statement(query, after), values, binary=True)
        rows = cursor.fetchmany(FIRST_ROWS)
        while rows:
            yield from _fetch_long_rows(connection, parameters, rows)
            rows = cursor.fetchmany(MOST_ROWS)
    connection.execute("COMMIT")


def _spooled(lists: Iterator[list[Product]]) -> Iterator[list[Product]]:
    """Reads all lists into a temporary file, so that their transaction ends before the caller takes time."""
    with TemporaryFile(prefix="fashion-products-") as file:
        for products in lists:
            pickle.dump(products, file)
        end = file.tell()
        file.seek(0)
        while file.tell() < end:
            yield pickle.load(file)


def _read_many_snapshots(
    connection: Connection[Any], parameters: Mapping[str, Any], after: Key | None, timeout: float
) -> Iterator[list[Product]]:
    limit = FIRST_ROWS
    while True:
        _begin_and_lock(connection, timeout)
        with connection.cursor(row_factory=args_row(Product)) as cursor:
            rows = cursor.execute(
                f"{_statement(PRODUCTS, after)} LIMIT {limit}",
                {**parameters, "after": after, "most_bytes": MOST_BYTES},
                binary=True,
            ).fetchall()
        if not rows:
            return
        # One list at a time, so that the transaction ends before the caller takes time.
        products = next(_fetch_long_rows(connection, parameters, rows))
        connection.execute("COMMIT")
        yield products
        after, limit = products[-1].id, MOST_ROWS


def _check_unique(after: Key | None, rows: list[Product]) -> None:
    """Raises a CatalogueError where two products have the same id; in the order of id they are neighbours."""
    ids = [row.id for row in rows]
    repeated = sorted({str(one) for one, other in zip([after, *ids], ids, strict=False) if one == other})
    if repeated:
        raise CatalogueError(
            "Several products have the same id.",
            expected="a view or table Product with one row for each Id",
            received=f"more than one row for {', '.join(repeated[:5])}{', ...' if len(repeated) > 5 else ''}",
            next_step="SELECT Id FROM Product GROUP BY Id HAVING count(*) > 1, and correct the view",
        )


def _begin_and_lock(connection: Connection[Any], timeout: float) -> None:
    tables = lockable_tables(connection, CATALOGUE)
    begin_transaction(connection, timeout, "ISOLATION LEVEL REPEATABLE READ READ ONLY")
    # The first statement, before the snapshot is taken: of a table that is emptied or rewritten between snapshot and
    # lock, an old snapshot sees nothing, and without an error.
    if tables:
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE")


def _statement(query: str, after: Key | None) -> str:
    """Returns the query, which leaves out the texts of a row where they have more than `most_bytes` together."""
    # PostgreSQL passes the condition down to Product's key.
    listing = query if after is None else f"SELECT * FROM ({query}) AS listing WHERE id > %(after)s"
    return f"""
    SELECT id,
           CASE WHEN short THEN title END AS title,
           CASE WHEN short THEN url END AS url,
           CASE WHEN short THEN description END AS description
    FROM (SELECT *, coalesce(octet_length(title), 0) + coalesce(octet_length(url), 0)
                    + coalesce(octet_length(description), 0) <= %(most_bytes)s AS short
          FROM ({listing}) AS listing) AS measured
    ORDER BY id"""


def _fetch_long_rows(
    connection: Connection[Any], parameters: Mapping[str, Any], rows: list[Product]
) -> Iterator[list[Product]]:
    """Yields the rows; fetches those that came without their texts one by one, and ends a list that grows large."""
    products: list[Product] = []
    size = 0
    for row in rows:
        if row[1:] != WITHOUT_TEXTS:
            products.append(row)
            continue
        # Its texts are long, or it has none.
        with connection.cursor(row_factory=args_row(Product)) as cursor:
            statement = f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id = %(id)s"
            # A view may return several, which the reader reports.
            complete = cursor.execute(statement, {**parameters, "id": row.id}, binary=True).fetchall()[0]
        products.append(complete)
        size += sum(len(text) for text in (complete.title, complete.url, complete.description) if text)
        if size > MOST_CHARACTERS:
            yield products
            products, size = [], 0
    if products:
        yield products
