"""Tests of `prepare`: it creates the table and the view of predictions, or names all that stands in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.connection import CatalogueError
from sql.extract import Product
from sql.write_back import prepare, remove_orphans, write_predictions
from tests.sql.catalogue import Catalogue
from tests.sql.predictions import answer, failed, options, stored


def test_a_table_of_an_earlier_version(dsn: str, edges: list[Product]) -> None:
    """`prepare` adds the column for the URL, and the list for review gets it; the rows stay."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        write_predictions(dsn, [failed(p) for p in edges])
        connection.execute("ALTER TABLE product_classification DROP COLUMN url CASCADE")
        connection.execute(
            "CREATE VIEW product_to_review AS SELECT product_id, title, failure AS reason, product_group, "
            "confidence, model_version, scored_at FROM product_classification JOIN Product ON Product.Id = product_id"
        )
        prepare(dsn)
        assert connection.execute("SELECT DISTINCT url FROM product_to_review").fetchall() == [(None,)]
    write_predictions(dsn, [failed(p)._replace(url=p.url) for p in edges])
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT product_id, url FROM product_to_review ORDER BY product_id").fetchall()
    assert rows == [(p.id, p.url) for p in edges]


def test_preparing_again(dsn: str, edges: list[Product]) -> None:
    """It keeps existing rows; an existing table with other columns is an error that names them."""
    write_predictions(dsn, map(answer, edges))
    prepare(dsn)
    assert len(stored(dsn)) == len(edges)
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE product_classification DROP COLUMN failure CASCADE")
        connection.execute("ALTER TABLE product_classification ALTER scored_at TYPE text")
    with pytest.raises(
        CatalogueError, match=r"(?s)no column .*failure; .*scored_at has type text.*change them to match"
    ):
        prepare(dsn)


def test_a_table_without_a_key(dsn: str, edges: list[Product]) -> None:
    """`prepare` raises an error whose next step is the statement that adds the key."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE product_classification DROP CONSTRAINT product_classification_pkey")
        with pytest.raises(CatalogueError) as raised:
            prepare(dsn)
        connection.execute(raised.value.next_step)
    prepare(dsn)


def test_a_deferrable_key(dsn: str, edges: list[Product]) -> None:
    """An upsert cannot use it; the error's next step is the statement that replaces it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE product_classification DROP CONSTRAINT product_classification_pkey, "
            "ADD PRIMARY KEY (product_id) DEFERRABLE"
        )
        with pytest.raises(
            CatalogueError, match="(?s)may hold two predictions.*unique index on product_id that is checked"
        ) as raised:
            prepare(dsn)
        connection.execute(raised.value.next_step)
    prepare(dsn)
    write_predictions(dsn, map(answer, edges))
    assert len(stored(dsn)) == len(edges)


def test_a_read_only_server(dsn: str, edges: list[Product]) -> None:
    """`prepare` raises an error on a replica."""
    with pytest.raises(CatalogueError, match="(?s)read-only.*Next: the same command with the DSN of the primary"):
        prepare(make_conninfo(dsn, options=f"{options(dsn)} -cdefault_transaction_read_only=on"))


def test_concurrent_prepares(dsn: str, put: Callable[[Catalogue], None]) -> None:
    """Concurrent calls all succeed, and a missing view is created."""
    for _ in range(5):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS product_classification CASCADE")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: prepare(dsn), range(4)))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP VIEW product_to_review")
        prepare(dsn)
        assert connection.execute("SELECT * FROM product_to_review").fetchall() == []
        connection.execute("DROP TABLE product_classification CASCADE")


def test_rights_to_write(dsn: str, put: Callable[[Catalogue], None]) -> None:
    """`prepare` names all rights that a user lacks, and its next step grants them."""
    reader = f"fashion_writer_{os.getpid()}"
    path = options(dsn).removeprefix("-csearch_path=")
    theirs = make_conninfo(dsn, options=f"{options(dsn)} -crole={reader}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {reader}; GRANT USAGE ON SCHEMA {path} TO {reader};"
            f"GRANT SELECT ON Product, ProductImages TO {reader}"
        )
        try:
            with pytest.raises(CatalogueError, match="(?s)may not write.*psql -f sql/classification.sql") as raised:
                prepare(theirs)
            reading = "no SELECT ON Image; no SELECT ON ProductDescription; "
            assert raised.value.received == f"{reading}no CREATE ON SCHEMA {path}"
            prepare(dsn)
            connection.execute(f"GRANT SELECT, INSERT ON product_classification TO {reader}")
            with pytest.raises(CatalogueError, match="may not write") as raised:
                prepare(theirs)
            assert raised.value.received == f"{reading}no UPDATE, DELETE ON product_classification"
            connection.execute(raised.value.next_step)
            prepare(theirs)
            write_predictions(theirs, [answer(Product(1, "", None, None))])
            assert remove_orphans(theirs) == 1
        finally:
            connection.execute(f"DROP TABLE IF EXISTS product_classification CASCADE; DROP OWNED BY {reader}")
            connection.execute(f"DROP ROLE {reader}")
