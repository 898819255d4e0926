"""Measures how rows leave PostgreSQL beside psql, which copies the same ones to a file, for `make bench-catalogue`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from sql.extract import PRODUCTS, read_products
from sql.server import find_programs

# Prints the most memory that a process had, in KiB, when it ends.
PEAK = """
import atexit, re, sys

def peak():
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)

atexit.register(peak)
"""
QUERY = f"""{PEAK}
from pipeline.commands.cli import main
main(["catalogue", "query", "--dsn", *sys.argv[1:]])
"""
ORM = f"""{PEAK}
from sql.django_catalogue import configure
configure(sys.argv[1])
from django.db import transaction
from sql.django_catalogue.models import Product
with transaction.atomic():
    for product in Product.objects.for_listing().iterator():
        product.title, product.url, product.description
"""
ORM_NAME = "the ORM's `iterator`, in a transaction, to nowhere"
MOST_TIMES_PSQL = {ORM_NAME: 2.5}
"""What was wished for; nothing is asserted."""


class Taken(NamedTuple):
    """What a whole process took.

    Attributes:
        all: Seconds from its start to its end.
        processor: The seconds that it worked itself.
        mebibytes: The most memory that it had; None where it was not measured.
    """

    all: float
    processor: float
    mebibytes: float | None


def report(dsn: str, asked: dict[str, Any], repeat: int) -> None:
    """Prints a Markdown table of the ways to get all rows, each a process of its own; the best of `repeat`.

    Args:
        dsn: A filled catalogue.
        asked: The parameters of the query, those that the command asks with by itself.
        repeat: How often each way is measured, taking turns.
    """
    with tempfile.TemporaryDirectory() as directory:
        ways = {"psql, COPY to a file": _psql(dsn, asked)}
        for suffix in ("csv", "parquet"):
            out = str(Path(directory) / f"products.{suffix}")
            ways[f"`fashion catalogue query --out *.{suffix}`"] = [sys.executable, "-c", QUERY, dsn, "--out", out]
        ways[ORM_NAME] = [sys.executable, "-c", ORM, dsn]
        taken = [
            {name: _run(command, Path(directory) / "rows") for name, command in ways.items()} for _ in range(repeat)
        ]
    print("\n| | all rows, s | times psql | its own processor, s | most memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    best = {name: min((one[name] for one in taken), key=lambda t: t.all) for name in ways}
    for name, one in best.items():
        times = f"{one.all / next(iter(best.values())).all:.2f}"
        times += f" (at most {MOST_TIMES_PSQL[name]:g})" if name in MOST_TIMES_PSQL else ""
        memory = f"{one.mebibytes:.0f}" if one.mebibytes else ""
        print(f"| {name} | {one.all:.1f} | {times} | {one.processor:.1f} | {memory} |")
    print(f"\nFirst rows of `read_products`, the connection included: {_first(dsn):.2f} s")


def _psql(dsn: str, asked: dict[str, Any]) -> list[str]:
    with psycopg.connect(dsn) as connection:
        statement = psycopg.ClientCursor(connection).mogrify(PRODUCTS, asked)
    # What \copy sends; \copy itself wants the statement on one line.
    return [str(find_programs() / "psql"), "--no-psqlrc", "-d", dsn, "-c", f"COPY ({statement}) TO STDOUT (FORMAT csv)"]


def _run(command: list[str], output: Path) -> Taken:
    before, start = _children(), time.perf_counter()
    with output.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    said = done.stderr.split()
    return Taken(seconds, _children() - before, int(said[-1]) / 1024 if said else None)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _first(dsn: str) -> float:
    start = time.perf_counter()
    reading = read_products(dsn)
    next(reading)
    seconds = time.perf_counter() - start
    reading.close()
    return seconds
