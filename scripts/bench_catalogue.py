"""Measures the catalogue query on a synthetic catalogue of a million products: `make bench-catalogue`.

The server is that of `FASHION_TEST_DSN` (the tables get a schema of their own there) or one that the script starts,
with PostgreSQL's default settings. First, every form of the query runs through a server-side cursor, without parallel
workers, and the client discards the rows. Then whole processes read all rows, compared with psql. Last, images are
fetched and fitted, from a server that has nothing to do with the catalogue. On a busy machine trust CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from sql.django_catalogue import configure
from sql.extract import read_products
from sql.indexes import PRODUCTS, PRODUCTS_SET_BASED
from sql.server import find_programs, running_server
from sql.tables import CATALOGUE, read_script

PARAMETERS: dict[str, Any] = {"country": "us", "image_index": 0}
CHUNK = 5000
"""Rows per fetch."""

# A cursor is declared for the statement, so it cannot end in a semicolon.
PLAIN = read_script("products_plain.sql").rstrip().rstrip(";")
QUERIES = {
    "sql/products.sql": PRODUCTS,
    "sql/products_set_based.sql": PRODUCTS_SET_BASED,
    "sql/products_plain.sql": PLAIN,
}

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

# Prints the peak memory of a process, in KiB, when it ends.
PEAK = """
import atexit, re, sys

def peak():
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)

atexit.register(peak)
"""
QUERY_PROCESS = f"""{PEAK}
from pipeline.commands.cli import main
main(["catalogue", "query", "--dsn", *sys.argv[1:]])
"""
ORM_PROCESS = f"""{PEAK}
from sql.django_catalogue import configure
configure(sys.argv[1])
from django.db import transaction
from sql.django_catalogue.models import Product
with transaction.atomic():
    for product in Product.objects.for_listing().iterator():
        product.title, product.url, product.description
"""
ORM_NAME = "the ORM's `iterator`, in a transaction, discarded"
MOST_TIMES_PSQL = {ORM_NAME: 2.5}
"""The target; nothing is asserted."""


def main() -> None:
    """Creates the catalogue, runs every form of the query, and prints the figures and the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each; the best is printed")
    parser.add_argument("--images", type=int, default=10_000, help="images to fetch; 0 for none")
    options = parser.parse_args()
    with synthetic_catalogue(options.products) as dsn:
        report_queries(dsn, options.repeat)
        report_processes(dsn, PARAMETERS, options.repeat)
    if options.images:
        # Imported late: it takes seconds, and --images 0 does without.
        from scripts import bench_fetching

        print()
        bench_fetching.measure_and_report(options.images, options.repeat)


@contextmanager
def synthetic_catalogue(products: int) -> Iterator[str]:
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
    """Fills the empty tables with a catalogue that is always the same."""
    connection.execute(FILL.format(n=products))


def report_queries(dsn: str, repeat: int) -> None:
    """Prints a Markdown table of the forms of the query, and the plan of `sql/products.sql`."""
    with psycopg.connect(dsn) as connection:
        print(f"PostgreSQL {connection.info.server_version // 10000}, {os.cpu_count()} cores\n")
        print("| | rows | first row, s | all rows, s | server's CPU, s | temporary files, MB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, statement in QUERIES.items():
            times = [_by_cursor(connection, statement) for _ in range(repeat)]
            _print_row(name, times, _temporary(connection, statement))
    configure(dsn)
    _print_row("the ORM's `iterator`", [_by_orm() for _ in range(repeat)], "0")
    with psycopg.connect(dsn) as connection:
        plan = connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) {PRODUCTS}", PARAMETERS
        ).fetchall()
        print("\n" + "\n".join(line for (line,) in plan))


class QueryTime(NamedTuple):
    """The seconds to read all rows once, and the number of rows."""

    rows: int
    first: float
    all: float
    cpu: float


def _by_cursor(connection: psycopg.Connection[Any], statement: str) -> QueryTime:
    with connection.transaction(), connection.cursor(name="listing") as cursor:
        cursor.itersize = CHUNK
        return _read(connection.info.backend_pid, lambda: cursor.execute(statement, PARAMETERS))


def _by_orm() -> QueryTime:
    from django.db import connection, transaction

    from sql.django_catalogue.models import Product

    # Outside a transaction Django's cursor is WITH HOLD: the server then makes all rows before it gives the first.
    with transaction.atomic():
        pid = connection.connection.info.backend_pid
        return _read(pid, lambda: Product.objects.for_listing(**PARAMETERS).iterator(chunk_size=CHUNK))


def _read(backend: int, ask: Callable[[], Iterable[Any]]) -> QueryTime:
    before, start = _cpu_seconds(backend), time.perf_counter()
    rows, first = 0, 0.0
    for _ in ask():
        rows += 1
        first = first or time.perf_counter() - start
    return QueryTime(rows, first, time.perf_counter() - start, _cpu_seconds(backend) - before)


def _cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds of a process of this machine; 0 for one elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print_row(name: str, times: list[QueryTime], temporary: str) -> None:
    best = min(times, key=lambda one: one.all)
    print(
        f"| {name} | {best.rows:,} | {best.first:.2f} | {best.all:.1f} | {best.cpu:.1f} | {temporary} |",
        flush=True,
    )


def _temporary(connection: psycopg.Connection[Any], statement: str) -> str:
    """Returns the megabytes that the statement writes to disk because they do not fit into work_mem."""
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) DECLARE listing CURSOR FOR {statement}"
    [[plan]] = connection.execute(explained, PARAMETERS).fetchone() or [[]]
    return f"{plan['Plan']['Temp Written Blocks'] * 8192 / 1e6:.0f}"


class ProcessTime(NamedTuple):
    """The cost of a whole process.

    Attributes:
        all: Seconds from its start to its end.
        cpu: Its own CPU seconds.
        mebibytes: Its peak memory; None where it was not measured.
    """

    all: float
    cpu: float
    mebibytes: float | None


def report_processes(dsn: str, parameters: dict[str, Any], repeat: int) -> None:
    """Prints a Markdown table of the ways to read all rows, each in a process of its own; the best of `repeat`.

    Args:
        dsn: A filled catalogue.
        parameters: The parameters of the query; those that the command uses by default.
        repeat: Measurements of each way, in turns.
    """
    program = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as directory:
        ways = {"psql, COPY to a file": _psql(dsn, parameters)}
        for suffix in ("csv", "parquet"):
            out = str(Path(directory) / f"products.{suffix}")
            ways[f"`fashion catalogue query --out *.{suffix}`"] = [*program, QUERY_PROCESS, dsn, "--out", out]
        ways[ORM_NAME] = [*program, ORM_PROCESS, dsn]
        measured = [
            {name: _run(command, Path(directory) / "rows") for name, command in ways.items()} for _ in range(repeat)
        ]
    print("\n| | all rows, s | times psql | its own CPU, s | peak memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    best = {name: min((one[name] for one in measured), key=lambda t: t.all) for name in ways}
    for name, one in best.items():
        times = f"{one.all / next(iter(best.values())).all:.2f}"
        times += f" (at most {MOST_TIMES_PSQL[name]:g})" if name in MOST_TIMES_PSQL else ""
        memory = f"{one.mebibytes:.0f}" if one.mebibytes else ""
        print(f"| {name} | {one.all:.1f} | {times} | {one.cpu:.1f} | {memory} |")
    print(f"\nFirst rows of `read_products`, the connection included: {_seconds_to_first_rows(dsn):.2f} s")


def _psql(dsn: str, parameters: dict[str, Any]) -> list[str]:
    with psycopg.connect(dsn) as connection:
        statement = psycopg.ClientCursor(connection).mogrify(PRODUCTS, parameters)
    # The same as \copy, which accepts only one line.
    return [str(find_programs() / "psql"), "--no-psqlrc", "-d", dsn, "-c", f"COPY ({statement}) TO STDOUT (FORMAT csv)"]


def _run(command: list[str], output: Path) -> ProcessTime:
    before, start = _child_cpu_seconds(), time.perf_counter()
    with output.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    peak = done.stderr.split()
    return ProcessTime(seconds, _child_cpu_seconds() - before, int(peak[-1]) / 1024 if peak else None)


def _child_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds_to_first_rows(dsn: str) -> float:
    start = time.perf_counter()
    reading = read_products(dsn)
    next(reading)
    seconds = time.perf_counter() - start
    reading.close()
    return seconds


if __name__ == "__main__":
    main()
