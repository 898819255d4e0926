"""Measures the catalogue query on a made-up catalogue of a million products: `make bench-catalogue`.

The server is `FASHION_TEST_DSN`'s (the tables get a schema of their own there) or one of our own, with PostgreSQL's
default settings. Every way to ask goes through a cursor of the server, without parallel workers, to a client that
throws the rows away; then whole processes read all rows, beside psql. Last come the images: how fast they are fetched
and fitted, from a server that has nothing to do with the catalogue. On a busy machine trust the processor's seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from scripts import bench_extraction
from sql.django_catalogue import configure
from sql.extract import PRODUCTS
from sql.server import running_server
from sql.tables import CATALOGUE

ASKED: dict[str, Any] = {"country": "us", "image_index": 0}
CHUNK = 5000
"""How many rows travel at once."""

# What comes to mind first. A product with two images at the index or two texts comes twice, and '' counts as a text.
PLAIN_JOINS = """
SELECT Product.Id, Product.Title, Image.Url, coalesce(TranslatedText, OriginalText)
FROM Product
LEFT JOIN ProductImages ON ProductImages.ProductId = Product.Id AND ProductImages.ImageIndex = %(image_index)s
LEFT JOIN Image ON Image.Id = ProductImages.ImageId
LEFT JOIN ProductDescription ON ProductDescription.ProductId = Product.Id AND CountryCode = %(country)s
ORDER BY Product.Id
"""

# The same rows as sql/products.sql, found for all products at once.
DISTINCT_ON = r"""
SELECT Product.Id, Product.Title, Image.Url, best_text.Content
FROM Product
LEFT JOIN (
    SELECT DISTINCT ON (ProductId) ProductId, ImageId
    FROM ProductImages WHERE ImageIndex = %(image_index)s ORDER BY ProductId, ImageId
) AS first_image ON first_image.ProductId = Product.Id
LEFT JOIN Image ON Image.Id = first_image.ImageId
LEFT JOIN (
    SELECT DISTINCT ON (ProductId) ProductId, candidate.Content
    FROM ProductDescription
    CROSS JOIN LATERAL (VALUES (1, TranslatedText), (2, OriginalText)) AS candidate (Rank, Content)
    WHERE CountryCode = %(country)s AND candidate.Content ~
      '[^\t-\r\u001C-\u0020\u0085\u00A0\u1680\u2000-\u200B\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'
    ORDER BY ProductId, candidate.Rank, ProductDescription.Id
) AS best_text ON best_text.ProductId = Product.Id
ORDER BY Product.Id
"""
WAYS = {"sql/products.sql": PRODUCTS, "DISTINCT ON": DISTINCT_ON, "plain joins (wrong)": PLAIN_JOINS}

# For n products 1.6 n images and 2 n descriptions, in an order that has nothing to do with the keys, as in old tables.
# One product in 20 has no image at index 0; one in 50 of the further images is a second one there; one first text in 30
# is British; of the translations one in ten each is NULL, empty and blank. Texts have 264 characters.
FILL = """
INSERT INTO Product SELECT n, 'Product ' || md5('title' || n) FROM generate_series(1, {n}) AS n ORDER BY hashint8(n);
INSERT INTO Image SELECT n, 'https://images.shop.example/' || md5('image' || n) || '.jpg'
FROM generate_series(1, {n} * 16 / 10) AS n ORDER BY hashint8(n);
ANALYZE Product, Image; -- Foreign keys must not be checked by a plan that was made when the tables were empty.
INSERT INTO ProductImages
SELECT n % {n} + 1, n, CASE WHEN n <= {n} THEN (n % 20 = 0)::integer ELSE (n % 50 <> 0)::integer END
FROM generate_series(1, {n} * 16 / 10) AS n ORDER BY hashint8(n);
INSERT INTO ProductDescription SELECT n, n % {n} + 1,
    CASE WHEN n <= {n} THEN CASE WHEN n % 30 = 0 THEN 'gb' ELSE 'us' END WHEN n % 10 = 0 THEN 'us' ELSE 'de' END,
    repeat(md5('original' || n) || ' ', 8),
    CASE n % 10 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN ' ' ELSE repeat(md5('translated' || n) || ' ', 8) END
FROM generate_series(1, {n} * 2) AS n ORDER BY hashint8(n);
"""


def main() -> None:
    """Makes the catalogue, asks it in every way, and prints the figures and the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="how often each way is measured; the best is printed")
    parser.add_argument("--images", type=int, default=10_000, help="how many are fetched; 0 for none")
    options = parser.parse_args()
    with made_up(options.products) as dsn:
        report(dsn, options.repeat)
        bench_extraction.report(dsn, ASKED, options.repeat)
    if options.images:
        # What fits images takes seconds to import, and whoever only fills a catalogue does without.
        from scripts import bench_fetching

        print()
        bench_fetching.measure_and_report(options.images, options.repeat)


@contextmanager
def made_up(products: int) -> Iterator[str]:
    """Yields the DSN of a filled, vacuumed and analysed catalogue, which is dropped afterwards."""
    with running_server() as server, psycopg.connect(server, autocommit=True) as connection:
        name = f"fashion_bench_{os.getpid()}"
        connection.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; SET work_mem = '256MB'")
        try:
            connection.execute(CATALOGUE.statement)
            fill(connection, products)
            connection.execute("VACUUM ANALYZE Product, Image, ProductImages, ProductDescription")
            yield make_conninfo(server, options=f"-csearch_path={name} -cmax_parallel_workers_per_gather=0")
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


def fill(connection: psycopg.Connection[Any], products: int) -> None:
    """Fills the empty tables with a catalogue that is the same every time."""
    connection.execute(FILL.format(n=products))


def report(dsn: str, repeat: int) -> None:
    """Prints a Markdown table of the ways to ask, and the plan of `sql/products.sql`."""
    with psycopg.connect(dsn) as connection:
        print(f"PostgreSQL {connection.info.server_version // 10000}, {os.cpu_count()} cores\n")
        print("| | rows | first row, s | all rows, s | server's processor, s | temporary files, MB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, statement in WAYS.items():
            asked = [_by_cursor(connection, statement) for _ in range(repeat)]
            _print_row(name, asked, _temporary(connection, statement))
    configure(dsn)
    _print_row("the ORM's `iterator`", [_by_orm() for _ in range(repeat)], "0")
    with psycopg.connect(dsn) as connection:
        plan = connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) {PRODUCTS}", ASKED
        ).fetchall()
        print("\n" + "\n".join(line for (line,) in plan))


class Asked(NamedTuple):
    """What one reading of all rows took, in seconds."""

    rows: int
    first: float
    all: float
    processor: float


def _by_cursor(connection: psycopg.Connection[Any], statement: str) -> Asked:
    with connection.transaction(), connection.cursor(name="listing") as cursor:
        cursor.itersize = CHUNK
        return _read(connection.info.backend_pid, lambda: cursor.execute(statement, ASKED))


def _by_orm() -> Asked:
    from django.db import connection, transaction

    from sql.django_catalogue.models import Product

    # Outside a transaction Django's cursor is WITH HOLD: the server then makes all rows before it gives the first.
    with transaction.atomic():
        pid = connection.connection.info.backend_pid
        return _read(pid, lambda: Product.objects.for_listing(**ASKED).iterator(chunk_size=CHUNK))


def _read(backend: int, ask: Callable[[], Iterable[Any]]) -> Asked:
    before, start = _processor(backend), time.perf_counter()
    rows, first = 0, 0.0
    for _ in ask():
        rows += 1
        first = first or time.perf_counter() - start
    return Asked(rows, first, time.perf_counter() - start, _processor(backend) - before)


def _processor(pid: int) -> float:
    """The seconds that a process of this machine has worked; 0 for one elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print_row(name: str, asked: list[Asked], temporary: str) -> None:
    best = min(asked, key=lambda one: one.all)
    print(
        f"| {name} | {best.rows:,} | {best.first:.2f} | {best.all:.1f} | {best.processor:.1f} | {temporary} |",
        flush=True,
    )


def _temporary(connection: psycopg.Connection[Any], statement: str) -> str:
    """The megabytes that the statement writes to disk because they do not fit into work_mem."""
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) DECLARE listing CURSOR FOR {statement}"
    [[plan]] = connection.execute(explained, ASKED).fetchone() or [[]]
    return f"{plan['Plan']['Temp Written Blocks'] * 8192 / 1e6:.0f}"


if __name__ == "__main__":
    main()
