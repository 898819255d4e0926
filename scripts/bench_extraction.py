"""Measures `fashion catalogue query` beside psql, which copies the same rows to a file, for `make bench-catalogue`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from sql.extract import read_products
from sql.server import find_programs
from sql.statements import PRODUCTS

# The command, and then the most memory that its process had, in kB.
QUERY = """
import atexit, re, sys

def peak():
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)

atexit.register(peak)
from pipeline.cli import main
main(["catalogue", "query", *sys.argv[1:]])
"""


class Taken(NamedTuple):
    """What a whole process took.

    Attributes:
        all: Seconds from its start to its end.
        processor: The seconds that it worked itself.
        megabytes: The most memory that it had; None where it was not measured.
    """

    all: float
    processor: float
    megabytes: float | None


def report(dsn: str, asked: dict[str, Any], repeat: int) -> None:
    """Prints a Markdown table of the ways to get the rows into a file; the best of `repeat` each.

    Args:
        dsn: A filled catalogue.
        asked: The parameters of the query, those that the command asks with by itself.
        repeat: How often each way is measured, taking turns.
    """
    with tempfile.TemporaryDirectory() as directory:
        ways = {"psql, COPY to a file": _psql(dsn, asked)}
        for suffix in ("csv", "parquet"):
            out = str(Path(directory) / f"products.{suffix}")
            ways[f"`fashion catalogue query --out *.{suffix}`"] = [
                sys.executable,
                "-c",
                QUERY,
                "--dsn",
                dsn,
                "--out",
                out,
            ]
        taken = [
            {name: _run(command, Path(directory) / "rows") for name, command in ways.items()} for _ in range(repeat)
        ]
    print("\n| | all rows, s | times psql | its own processor, s | most memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    best = {name: min((one[name] for one in taken), key=lambda t: t.all) for name in ways}
    for name, one in best.items():
        times = one.all / next(iter(best.values())).all
        memory = f"{one.megabytes:.0f}" if one.megabytes else ""
        print(f"| {name} | {one.all:.1f} | {times:.2f} | {one.processor:.1f} | {memory} |")
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
    return Taken(seconds, _children() - before, int(said[-1]) * 1024 / 1e6 if said else None)


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
