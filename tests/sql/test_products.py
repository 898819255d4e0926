"""Tests of the query in SQL and in the ORM, and of docs/catalogue_query.md: one correct row for each product."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from sql.indexes import PRODUCTS
from sql.server import find_programs
from tests.conftest import ROOT
from tests.sql.catalogue import (
    PLAIN_QUERIES,
    QUERIES,
    Catalogue,
    Description,
    Row,
    blank,
    catalogues,
    countries,
    crowded_catalogues,
    indexes,
    query_by_orm,
    query_by_sql,
)
from tests.sql.documentation import EXAMPLE
from tests.sql.edge_cases import EDGE_CASES, EdgeCase, catalogue_of, edge_case_catalogue

Query = Callable[..., list[Row]]
PlainQuery = Callable[[Any], list[tuple[str | None, ...]]]
queries = pytest.mark.parametrize("query", QUERIES)
plain_queries = pytest.mark.parametrize("plain_query", PLAIN_QUERIES)


@queries
@pytest.mark.parametrize("number", range(len(EDGE_CASES)), ids=[case.name for case in EDGE_CASES])
def test_every_edge_case_has_its_row(database: Any, query: Query, number: int) -> None:
    """Each edge case has the documented row, beside all the other cases."""
    edge_case_catalogue().insert(database)
    case = EDGE_CASES[number]
    assert [row for row in query(database) if row.id == number] == [Row(number, case.title, case.url, case.description)]


@queries
def test_no_index_is_needed_for_the_order(database: Any, query: Query) -> None:
    """Sequential scans, which meet higher ids first, give the same rows."""
    catalogue = edge_case_catalogue()
    catalogue.insert(database)
    for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
        database.execute(f"SET LOCAL enable_{scan} = off")
    assert query(database) == catalogue.listing()


@queries
def test_no_products(database: Any, query: Query) -> None:
    """A catalogue without products has no rows, even with images."""
    Catalogue(images={1: "1.jpg"}).insert(database)
    assert query(database) == []


@queries
def test_country_and_index_are_parameters(database: Any, query: Query) -> None:
    """The query works for other countries and image indexes."""
    catalogue = edge_case_catalogue()
    catalogue.insert(database)
    assert query(database, "de", 1) == catalogue.listing("de", 1)
    assert query(database, "US", 2) == catalogue.listing("US", 2)


@queries
def test_values_are_never_statements(database: Any, query: Query) -> None:
    """SQL in the country is compared as text and not executed."""
    catalogue = edge_case_catalogue()
    catalogue.insert(database)
    hostile = "us'; DROP TABLE ProductDescription; --"
    catalogue.descriptions.append(Description(-1, 0, hostile, "found", None))
    Catalogue(descriptions=catalogue.descriptions[-1:]).insert(database)
    assert query(database, hostile) == catalogue.listing(hostile)


@queries
def test_a_dangling_image_hides_no_other(database: Any, query: Query) -> None:
    """Without foreign keys, a reference to a missing image loses against an existing image."""
    database.execute("ALTER TABLE ProductImages DROP CONSTRAINT productimages_imageid_fkey")
    Catalogue({1: "Shirt"}, {7: "7.jpg"}, [(1, 3, 0), (1, 7, 0)]).insert(database)
    assert query(database) == [Row(1, "Shirt", "7.jpg", None)]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogue=catalogues(), country=countries, image_index=indexes, crowded=crowded_catalogues())
def test_sql_orm_and_python_agree(
    database: Any, catalogue: Catalogue, country: str, image_index: int, crowded: Catalogue
) -> None:
    """On any catalogue, SQL and ORM return the same rows as plain Python."""
    from django.db import transaction

    for drawn, values in ((catalogue, (country, image_index)), (crowded, ("us", 0))):
        with transaction.atomic():
            drawn.insert(database)
            expected = drawn.listing(*values)
            assert query_by_sql(database, *values) == expected
            assert query_by_orm(database, *values) == expected
            transaction.set_rollback(True)


@queries
def test_blank_means_the_same_for_every_character(database: Any, query: Query) -> None:
    """The blank characters are exactly those of Python and the document."""
    # All of the basic plane, where all spaces are, without surrogates; of the planes above it a part.
    numbers = [*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x10000, sys.maxunicode + 1, 101)]
    characters = [chr(number) for number in numbers]
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO Product SELECT n, '' FROM generate_series(1, %s) AS n", [len(characters)])
        # This session planned the foreign-key checks when the table was empty; ANALYZE drops that plan.
        cursor.execute("ANALYZE Product")
        with cursor.copy("COPY ProductDescription FROM STDIN") as copy:
            for number, character in enumerate(characters, 1):
                copy.write_row((number, number, "us", None, character))
        cursor.execute("ANALYZE Product, ProductDescription")
    found = {characters[row.id - 1] for row in query(database) if row.description is None}
    assert found == {character for character in characters if blank(character)}
    assert len(found) == 32


@pytest.mark.parametrize("script", ["products.sql", "products_set_based.sql", "products_plain.sql"])
def test_psql_runs_the_files(dsn: str, put: Callable[[Catalogue], None], script: str) -> None:
    """`psql -f` gives the question's answer; the files need no parameters."""
    put(EXAMPLE)
    programs = find_programs()
    psql = shutil.which("psql", path=f"{programs}:{os.environ.get('PATH', '')}")
    assert psql, f"no psql in {programs}"
    words = [psql, "--no-psqlrc", "--csv", "--tuples-only", "-v", "ON_ERROR_STOP=1", "-P", "null=NULL", dsn]
    done = subprocess.run([*words, "-f", ROOT / "sql" / script], capture_output=True, text=True, check=True)
    rows = [tuple(None if cell == "NULL" else cell for cell in row) for row in csv.reader(done.stdout.splitlines())]
    wide = script != "products_plain.sql"
    assert rows == [(str(row.id), *row[1:]) if wide else row[1:] for row in EXAMPLE.listing()]


def test_the_statement_is_one() -> None:
    """A driver can prepare it: one statement with two parameters."""
    assert ";" not in PRODUCTS
    assert PRODUCTS.count("%") == 2 == PRODUCTS.count("%(country)s") + PRODUCTS.count("%(image_index)s")


@queries
def test_the_example_of_the_document(database: Any, query: Query) -> None:
    """PostgreSQL returns the document's result for the document's rows."""
    EXAMPLE.insert(database)
    assert query(database) == EXAMPLE.listing()


@plain_queries
def test_the_plain_statement_answers_the_example(database: Any, plain_query: PlainQuery) -> None:
    """The first statement of the document returns the document's result as well."""
    EXAMPLE.insert(database)
    assert plain_query(database) == [row[1:] for row in EXAMPLE.listing()]


@plain_queries
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogue=catalogues())
def test_both_statements_agree_on_clean_data(database: Any, plain_query: PlainQuery, catalogue: Catalogue) -> None:
    """Without duplicates and blank texts, both statements return the same rows in the same order."""
    from django.db import transaction

    with transaction.atomic():
        catalogue.clean().insert(database)
        assert plain_query(database) == [row[1:] for row in query_by_sql(database)]
        transaction.set_rollback(True)


@plain_queries
@pytest.mark.parametrize("case", EDGE_CASES, ids=[case.name for case in EDGE_CASES])
def test_the_plain_statement_differs_where_the_document_says(
    database: Any, plain_query: PlainQuery, case: EdgeCase
) -> None:
    """On an edge case the plain statement returns the documented rows, and they differ only where a reason is given."""
    catalogue = catalogue_of(case)
    catalogue.insert(database)
    rows = plain_query(database)
    assert Counter(rows) == Counter(catalogue.plain_listing())
    assert (rows != [row[1:] for row in query_by_sql(database)]) == bool(case.why)
