"""Tests of sql/products.sql and of the same in the ORM: one row a product, and the right one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from sql.extract import PRODUCTS
from tests.sql.asking import WAYS, by_orm, by_sql
from tests.sql.catalogue import Catalogue, Description, Row, blank
from tests.sql.chance import catalogues, countries, indexes
from tests.sql.edges import EDGES, catalogue

Way = Callable[..., list[Row]]
ways = pytest.mark.parametrize("way", WAYS)


@ways
@pytest.mark.parametrize("number", range(len(EDGES)), ids=[edge.name for edge in EDGES])
def test_every_edge_has_its_answer(database: Any, way: Way, number: int) -> None:
    """What happens in real catalogues is answered as documented, beside all the other cases."""
    catalogue().insert(database)
    edge = EDGES[number]
    assert [row for row in way(database) if row.id == number] == [Row(number, edge.title, edge.url, edge.description)]


@ways
def test_no_index_is_needed_for_the_order(database: Any, way: Way) -> None:
    """Where tables are read as they lie, higher ids first, the same rows win."""
    made = catalogue()
    made.insert(database)
    for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
        database.execute(f"SET LOCAL enable_{scan} = off")
    assert way(database) == made.listing()


@ways
def test_no_products(database: Any, way: Way) -> None:
    """An empty catalogue has no rows, whatever images there are."""
    Catalogue(images={1: "1.jpg"}).insert(database)
    assert way(database) == []


@ways
def test_country_and_index_are_parameters(database: Any, way: Way) -> None:
    """Another country and another index are answered like the ones of the case."""
    made = catalogue()
    made.insert(database)
    assert way(database, "de", 1) == made.listing("de", 1)
    assert way(database, "US", 2) == made.listing("US", 2)


@ways
def test_values_are_never_statements(database: Any, way: Way) -> None:
    """A country that is SQL is compared like any other and runs nothing."""
    made = catalogue()
    made.insert(database)
    hostile = "us'; DROP TABLE ProductDescription; --"
    made.descriptions.append(Description(-1, 0, hostile, "found", None))
    replace(made, products={}, images={}, shown=[], descriptions=made.descriptions[-1:]).insert(database)
    assert way(database, hostile) == made.listing(hostile)


@ways
def test_an_image_that_is_gone_hides_no_other(database: Any, way: Way) -> None:
    """Where no foreign key holds the tables together, a reference into nothing loses against an image that is there."""
    database.execute("ALTER TABLE ProductImages DROP CONSTRAINT productimages_imageid_fkey")
    Catalogue({1: "Shirt"}, {7: "7.jpg"}, [(1, 3, 0), (1, 7, 0)]).insert(database)
    assert way(database) == [Row(1, "Shirt", "7.jpg", None)]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=catalogues(), country=countries, image_index=indexes)
def test_sql_orm_and_python_agree(database: Any, made: Catalogue, country: str, image_index: int) -> None:
    """On any catalogue, SQL and ORM answer row for row what plain Python does."""
    from django.db import transaction

    with transaction.atomic():
        made.insert(database)
        expected = made.listing(country, image_index)
        assert by_sql(database, country, image_index) == expected
        assert by_orm(database, country, image_index) == expected
        transaction.set_rollback(True)


@ways
def test_blank_means_the_same_for_every_character(database: Any, way: Way) -> None:
    """The characters that alone make a blank text are those that Python and the document name, and no others."""
    # All of the basic plane, where all spaces are, without surrogates; of the planes above it a part.
    numbers = [*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x10000, sys.maxunicode + 1, 101)]
    characters = [chr(number) for number in numbers]
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO Product SELECT n, '' FROM generate_series(1, %s) AS n", [len(characters)])
        # Foreign keys are checked by a plan that this session made when the table was empty; this drops it.
        cursor.execute("ANALYZE Product")
        with cursor.copy("COPY ProductDescription FROM STDIN") as copy:
            for number, character in enumerate(characters, 1):
                copy.write_row((number, number, "us", None, character))
        cursor.execute("ANALYZE Product, ProductDescription")
    found = {characters[row.id - 1] for row in way(database) if row.description is None}
    assert found == {character for character in characters if blank(character)}
    assert len(found) == 32


def test_the_statement_is_one() -> None:
    """It holds no second statement and no parameter but the two, so that a driver can prepare it."""
    assert ";" not in PRODUCTS
    assert PRODUCTS.count("%") == 2 == PRODUCTS.count("%(country)s") + PRODUCTS.count("%(image_index)s")
