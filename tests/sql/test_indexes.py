"""Tests of sql.indexes: tables without indexes get the set-based form of the query, which gives the same rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.conninfo import make_conninfo

from scripts.bench_catalogue import fill
from sql.extract import Product, catalogue_digest, read_products
from sql.indexes import PRODUCTS, PRODUCTS_SET_BASED, choose_query, missing_indexes
from sql.inspection import inspect
from sql.tables import CATALOGUE, GARMENTS
from tests.sql.catalogue import Catalogue, catalogues, countries, crowded_catalogues, indexes
from tests.sql.edge_cases import edge_case_catalogue

numbers = count()
IMAGES_INDEX = "CREATE INDEX ProductImages_by_index ON ProductImages (ProductId, ImageIndex, ImageId);"
TEXTS_INDEX = "CREATE INDEX ProductDescription_by_country ON ProductDescription (ProductId, CountryCode, Id);"
DROP = "DROP INDEX ProductImages_by_index, ProductDescription_by_country;"


@pytest.fixture
def case(dsn: str) -> Iterator[str]:
    """The tables of the case, which have keys and no other index, in a schema of their own."""
    name = f"fashion_case_{os.getpid()}_{next(numbers)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {CATALOGUE.statement} {DROP}")
        connection.execute(GARMENTS.statement)
        yield make_conninfo(dsn, options=f"-csearch_path={name}")
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def read(dsn: str, **options: Any) -> list[Product]:
    """Reads all rows."""
    return [row for rows in read_products(dsn, **options) for row in rows]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogue=catalogues(), country=countries, image_index=indexes, crowded=crowded_catalogues())
def test_both_forms_give_the_rows_of_plain_python(
    database: Any, catalogue: Catalogue, country: str, image_index: int, crowded: Catalogue
) -> None:
    """On any catalogue, with ties, NULLs and missing images, the two forms agree row by row and in their order."""
    from django.db import transaction

    for drawn, values in ((catalogue, (country, image_index)), (crowded, ("us", 0))):
        with transaction.atomic():
            drawn.insert(database)
            expected = [tuple(row) for row in drawn.listing(*values)]
            for form in (PRODUCTS, PRODUCTS_SET_BASED):
                parameters = dict(zip(("country", "image_index"), values, strict=True))
                assert psycopg.Cursor(database).execute(form, parameters).fetchall() == expected
            transaction.set_rollback(True)


def test_a_dangling_image_hides_no_other(database: Any) -> None:
    """The set-based form, too, skips a reference to a missing image."""
    database.execute("ALTER TABLE ProductImages DROP CONSTRAINT productimages_imageid_fkey")
    Catalogue({1: "Shirt"}, {7: "7.jpg"}, [(1, 3, 0), (1, 7, 0)]).insert(database)
    rows = psycopg.Cursor(database).execute(PRODUCTS_SET_BASED, {"country": "us", "image_index": 0}).fetchall()
    assert rows == [(1, "Shirt", "7.jpg", None)]


@pytest.mark.parametrize("one_snapshot", [True, False])
def test_reading_without_indexes(case: str, one_snapshot: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows come, long texts too, also from the middle on, and the digest is that of the indexed tables."""
    monkeypatch.setattr("sql.extract.FIRST_ROWS", 4)
    monkeypatch.setattr("sql.extract.MOST_ROWS", 4)
    catalogue = edge_case_catalogue()
    with psycopg.connect(case) as connection:
        catalogue.insert(connection)
    expected = [Product(*row) for row in catalogue.listing()]
    assert read(case, one_snapshot=one_snapshot) == expected
    assert read(case, one_snapshot=one_snapshot, after=expected[6].id) == expected[7:]
    without = catalogue_digest(case)
    with psycopg.connect(case) as connection:
        connection.execute(IMAGES_INDEX + TEXTS_INDEX)
    assert read(case, one_snapshot=one_snapshot) == expected
    assert catalogue_digest(case) == without


def test_nothing_is_locked_while_the_caller_works(case: str) -> None:
    """Without indexes, reading in many lists ends its transaction before the first list."""
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute("INSERT INTO Product SELECT n, 'Shirt' FROM generate_series(1, 500) AS n")
        with closing(read_products(case, one_snapshot=False)) as reading:
            first = next(reading)
            sessions = "SELECT state, backend_xmin FROM pg_stat_activity WHERE application_name = 'fashion'"
            assert connection.execute(sessions).fetchall() == [("idle", None)]
            connection.execute("SET lock_timeout = '5s'; TRUNCATE Product CASCADE")
            assert len(first) + sum(map(len, reading)) == 500


def test_twenty_thousand_products_without_indexes(case: str) -> None:
    """The set-based plan reads each table once; the time limit is far below what look-ups without indexes take."""
    with psycopg.connect(case, autocommit=True) as connection:
        fill(connection, 20_000)
    for one_snapshot in (True, False):
        assert len(read(case, one_snapshot=one_snapshot, timeout=20.0)) == 20_000
    with psycopg.connect(case) as connection:
        parameters = {"country": "us", "image_index": 0}
        explained = psycopg.Cursor(connection).execute(f"EXPLAIN {PRODUCTS_SET_BASED}", parameters)
        plan = "\n".join(line for (line,) in explained)
    assert plan.count("Seq Scan on product") + plan.count("Index Scan using product_pkey") == 3
    assert "SubPlan" not in plan and plan.count("Seq Scan on productdescription") == 1


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("", [IMAGES_INDEX, TEXTS_INDEX]),
        (IMAGES_INDEX, [TEXTS_INDEX]),
        (IMAGES_INDEX + TEXTS_INDEX, []),
        ("CREATE INDEX ON ProductImages (ProductId); CREATE INDEX ON ProductDescription USING hash (ProductId)", []),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages (ImageIndex, ProductId)", []),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages (ImageId, ProductId)", [IMAGES_INDEX]),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages (ImageIndex) INCLUDE (ProductId)", [IMAGES_INDEX]),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages ((ProductId + 1))", [IMAGES_INDEX]),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages (ProductId) WHERE ImageIndex = 1", [IMAGES_INDEX]),
        (f"{TEXTS_INDEX} CREATE INDEX ON ProductImages USING brin (ProductId)", [IMAGES_INDEX]),
        (
            f"{TEXTS_INDEX}{IMAGES_INDEX} UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'productimages_by_index'::regclass",
            [IMAGES_INDEX],
        ),
        (
            f"{TEXTS_INDEX}{IMAGES_INDEX} ALTER TABLE ProductImages DROP CONSTRAINT productimages_imageid_fkey; "
            "ALTER TABLE Image DROP CONSTRAINT image_pkey",
            ["CREATE INDEX ON Image (Id);"],
        ),
    ],
)
def test_which_indexes_count(case: str, change: str, missing: list[str]) -> None:
    """An index counts when it is complete and finds a product's rows; the statements create the missing ones."""
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute(change)
        assert missing_indexes(connection) == missing
        assert choose_query(connection) == (PRODUCTS_SET_BASED if missing else PRODUCTS)
        if "indisvalid" not in change:
            connection.execute(" ".join(missing))
            assert missing_indexes(connection) == [] and choose_query(connection) == PRODUCTS


def test_a_view_has_no_indexes(case: str) -> None:
    """A view is read by the set-based form, and no index is suggested for it."""
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute(f"{IMAGES_INDEX} {TEXTS_INDEX} ALTER TABLE Image RENAME TO picture")
        connection.execute("CREATE VIEW Image AS SELECT * FROM picture")
        assert missing_indexes(connection) == [] and choose_query(connection) == PRODUCTS_SET_BASED


def test_the_warnings(case: str) -> None:
    """They name missing indexes, and the values that exist where a parameter matches nothing."""
    with psycopg.connect(case, autocommit=True) as connection:
        assert [warning.partition(",")[0] for warning in inspect(case, country="us", image_index=0)] == [
            "The tables lack indexes"
        ]
        connection.execute(IMAGES_INDEX + TEXTS_INDEX)
        assert inspect(case, country="us", image_index=0) == []
        edge_case_catalogue().insert(connection)
    assert inspect(case, country="us", image_index=0) == []
    country, index = inspect(case, country="uk", image_index=7)
    assert country.startswith("No text is for the country uk. ProductDescription.CountryCode has: us, ")
    assert index == "No image has the index 7. ProductImages.ImageIndex has: 0, 1, 2"
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE ProductDescription; INSERT INTO ProductDescription "
            "SELECT 20 * n + m, 1, chr(96 + n), '', '' FROM generate_series(1, 11) AS n, generate_series(1, n) AS m"
        )
    listed = "ProductDescription.CountryCode has: k, j, i, h, g, f, e, d, c, b"
    assert inspect(case, country="us", image_index=0) == [f"No text is for the country us. {listed}, ..."]
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute("DELETE FROM ProductDescription WHERE CountryCode = 'a'; DROP INDEX ProductImages_by_index")
    text, indexes = inspect(case, country="us", image_index=0)
    assert text == f"No text is for the country us. {listed}" and indexes.endswith(f"To avoid that:\n  {IMAGES_INDEX}")


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_duplicate_ids_of_a_view(case: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two products with one id are an error that names the id, also where they come in two lists."""
    monkeypatch.setattr("sql.extract.FIRST_ROWS", rows)
    monkeypatch.setattr("sql.extract.MOST_ROWS", rows)
    with psycopg.connect(case, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO Product VALUES (1, 'Shirt'), (2, 'Boot'); ALTER TABLE Product RENAME TO article"
        )
        connection.execute("CREATE VIEW Product AS SELECT * FROM article UNION ALL SELECT * FROM article WHERE Id = 2")
    for one_snapshot in (True, False):
        with pytest.raises(Exception, match="(?s)same id.*more than one row for 2\n"):
            read(case, one_snapshot=one_snapshot)
