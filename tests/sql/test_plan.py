"""Tests of PostgreSQL's plan of the query: it uses the indexes and returns the first row at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from scripts.bench_catalogue import fill
from sql.indexes import PRODUCTS

PARAMETERS = {"country": "us", "image_index": 0}
PRODUCTS_AFTER = f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id > %(after)s ORDER BY id"
LOOKUPS = {
    "productimages_by_index": ("productid", "imageindex"),
    "image_pkey": ("id",),
    "productdescription_by_country": ("productid", "countrycode"),
}


@pytest.fixture(scope="module")
def large(django_dsn: str) -> Iterator[Any]:
    """Django's psycopg connection to a catalogue of 20,000 products, which is rolled back."""
    from django.db import connection, transaction

    with transaction.atomic():
        fill(connection.connection, 20_000)
        connection.connection.execute("ANALYZE Product, Image, ProductImages, ProductDescription")
        yield connection.connection
        transaction.set_rollback(True)


def plan(connection: Any, statement: str, parameters: Any) -> list[dict[str, Any]]:
    """The nodes of the plan for reading a statement through a cursor, the outermost first."""
    explained = f"EXPLAIN (FORMAT JSON) DECLARE listing CURSOR FOR {statement}"
    cursor = psycopg.Cursor(connection).execute(explained, parameters)
    [[[root]]] = cursor.fetchall()
    return list(nodes(root["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a node and all nodes below it."""
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


def orm() -> tuple[str, Any]:
    """The statement that Django builds, and its parameters."""
    from sql.django_catalogue.models import Product

    statement, parameters = Product.objects.for_listing().query.sql_with_params()
    return statement, parameters


@pytest.mark.parametrize("way", ["sql", "orm"])
def test_images_and_texts_are_looked_up(large: Any, way: str) -> None:
    """The plan reads every table except Product through its index, with all columns of the condition."""
    found = plan(large, *((PRODUCTS, PARAMETERS) if way == "sql" else orm()))
    by_index = {node["Index Name"]: node.get("Index Cond", "") for node in found if "Index Name" in node}
    for index, columns in LOOKUPS.items():
        assert all(f"{column} = " in by_index[index] for column in columns), by_index
    read_whole = [node["Relation Name"] for node in found if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
    assert set(read_whole) <= {"product"}


@pytest.mark.parametrize("way", ["sql", "orm"])
def test_rows_come_in_order_without_sorting_them(large: Any, way: str) -> None:
    """The plan reads products in the order of their key and does not sort them."""
    found = plan(large, *((PRODUCTS, PARAMETERS) if way == "sql" else orm()))
    [products] = [node for node in found if node.get("Relation Name") == "product"]
    assert (products["Node Type"], products["Index Name"]) == ("Index Scan", "product_pkey")
    # At most, it sorts the two texts of one product.
    assert all(node["Plan Rows"] <= 2 for node in found if node["Node Type"] in ("Sort", "Incremental Sort"))


def test_it_continues_after_a_key(large: Any) -> None:
    """As a subquery, the statement starts after a given id and does not read earlier products."""
    found = plan(large, PRODUCTS_AFTER, {**PARAMETERS, "after": 19_000})
    # By an index scan or a bitmap of the same index, whichever is cheaper for what is left.
    assert [n["Index Cond"][:6] for n in found if n.get("Index Name") == "product_pkey"] == ["(id > "]
    assert all(node["Node Type"] != "Seq Scan" for node in found)
    parameters = {**PARAMETERS, "after": 19_995}
    whole = psycopg.Cursor(large).execute(PRODUCTS, PARAMETERS).fetchall()
    assert psycopg.Cursor(large).execute(PRODUCTS_AFTER, parameters).fetchall() == whole[-5:]


def test_one_product_is_a_lookup(large: Any) -> None:
    """With a condition on the id, the statement reads one product."""
    found = plan(large, f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id = 7", PARAMETERS)
    [products] = [node for node in found if node.get("Relation Name") == "product"]
    assert products["Plan Rows"] == 1
