"""Tests of sql.product_files: files contain exactly the rows, and appear only when they are complete."""

from __future__ import annotations

import fcntl
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sql.extract import Product, read_products
from sql.product_files import SCHEMA, write_csv, write_file, write_parquet
from tests.conftest import ROOT
from tests.sql.catalogue import Catalogue, anything, ids, texts
from tests.sql.edge_cases import edge_case_catalogue

products = st.lists(st.builds(Product, ids, st.none() | anything, texts, texts), min_size=1, max_size=5)


def from_parquet(content: bytes) -> list[Product]:
    """The rows of a Parquet file."""
    return [Product(**row) for row in pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()]


def by_postgresql(database: Any, content: bytes) -> list[Product]:
    """The rows of a CSV file, as PostgreSQL reads it."""
    database.execute("CREATE TEMPORARY TABLE read (id bigint, title text, url text, description text) ON COMMIT DROP")
    with database.cursor() as cursor:
        with cursor.copy("COPY read FROM STDIN (FORMAT csv, HEADER match)") as copy:
            copy.write(content)
        found = [Product(*row) for row in psycopg.Cursor(database).execute("SELECT * FROM read")]
    database.execute("DROP TABLE read")
    return found


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(products, max_size=4))
def test_what_is_written_can_be_read(database: Any, batches: list[list[Product]]) -> None:
    """Both formats return any text, NULL and the empty text unchanged; PostgreSQL reads the CSV."""
    rows = [row for batch in batches for row in batch]
    for write, read in ((write_parquet, from_parquet), (write_csv, lambda content: by_postgresql(database, content))):
        sink = io.BytesIO()
        assert write(batches, sink) == len(rows)
        assert read(sink.getvalue()) == rows


def test_the_format_of_csv() -> None:
    """Texts are quoted, with inner quotes doubled; NULL is an empty field; lines end in a line feed."""
    sink = io.BytesIO()
    write_csv([[Product(-1, 'a "b", c', None, "")], [Product(2, "é\n", "1.jpg", None)]], sink)
    assert sink.getvalue().decode() == ('"id","title","url","description"\n-1,"a ""b"", c",,""\n2,"é\n","1.jpg",\n')


def test_unfinished_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """They go when the same file is written again; a file that another process still writes, and other names, stay."""
    stale, alive = (tmp_path / f".products.{number}.unfinished.csv" for number in (1, 2))
    others = [tmp_path / name for name in (".other.1.unfinished.csv", ".products.1.unfinished.parquet", "products.txt")]
    for path in (stale, alive, *others):
        path.write_text("half")
    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_file([[Product(1, "Shirt", None, None)]], tmp_path / "products.csv")
    assert {*tmp_path.iterdir()} == {alive, *others, tmp_path / "products.csv"}


def test_a_file_that_is_being_written_is_not_stale(tmp_path: Path) -> None:
    """A second process that writes the same file leaves the unfinished one of the first alone."""

    def batches() -> Iterator[list[Product]]:
        yield [Product(1, "Shirt", None, None)]
        words = (
            "from sql.product_files import write_file; import pathlib, sys; write_file([], pathlib.Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", words, tmp_path / "products.csv"], cwd=ROOT, check=True)

    assert write_file(batches(), tmp_path / "products.csv") == 1
    assert "Shirt" in (tmp_path / "products.csv").read_text() and len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("name", ["products.parquet", "products.CSV"])
def test_from_the_database_to_a_file(
    dsn: str, put: Callable[[Catalogue], None], tmp_path: Path, database: Any, name: str
) -> None:
    """Both formats hold the edge cases, including texts of 1 MB."""
    put(edge_case_catalogue())
    path = tmp_path / name
    expected = [Product(*row) for row in edge_case_catalogue().listing()]
    assert write_file(read_products(dsn), path) == len(expected)
    content = path.read_bytes()
    assert (from_parquet(content) if name.endswith("t") else by_postgresql(database, content)) == expected
    assert [*tmp_path.iterdir()] == [path]


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file of many or long rows has many row groups, so that none is large in memory."""
    monkeypatch.setattr("sql.product_files.GROUP_ROWS", 4)
    monkeypatch.setattr("sql.product_files.GROUP_BYTES", 1000)
    batches = [[Product(n, "a", None, None)] * 2 for n in range(5)] + [[Product(9, "b" * 1000, None, None)]] * 2
    sink = io.BytesIO()
    write_parquet(batches, sink)
    file = pyarrow.parquet.ParquetFile(sink)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4, 4, 3, 1]
    assert file.schema_arrow == SCHEMA


@pytest.mark.parametrize("name", ["products.parquet", "products.csv"])
def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, name: str) -> None:
    """When reading fails, the earlier file stays, and no other file is left."""
    path = tmp_path / name
    path.write_text("before")

    def failing() -> Iterator[list[Product]]:
        yield [Product(1, "a", None, None)]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_file(failing(), path)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"


@pytest.mark.parametrize(("name", "received"), [("a.xlsx", ".xlsx"), ("a", "no suffix")])
def test_another_suffix_is_an_error(tmp_path: Path, name: str, received: str) -> None:
    """Suffixes other than .parquet and .csv are errors."""
    with pytest.raises(ValueError, match=f"{received}, instead of .parquet or .csv"):
        write_file([], tmp_path / name)


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """The error comes before the first row is read."""
    (tmp_path / "products.csv").mkdir()

    def never() -> Iterator[list[Product]]:
        raise AssertionError("Something was read.")
        yield []

    with pytest.raises(IsADirectoryError):
        write_file(never(), tmp_path / "products.csv")
