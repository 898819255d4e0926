"""One PostgreSQL for all tests, with the case's tables in a schema of their own; every test's rows are rolled back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.django_catalogue import configure
from sql.extract import Product
from sql.server import running_server
from sql.tables import CATALOGUE
from sql.write_back import prepare
from tests.sql.catalogue import Catalogue
from tests.sql.edge_cases import edge_case_catalogue


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """A database with empty tables. A given server gets a schema of our own, which is dropped in the end."""
    name = f"fashion_test_{os.getpid()}"
    with running_server() as server:
        with psycopg.connect(server) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        ours = make_conninfo(server, options=f"-csearch_path={name}")
        try:
            with psycopg.connect(ours) as connection:
                connection.execute(CATALOGUE.statement)
            yield ours
        finally:
            with psycopg.connect(server) as connection:
                connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(scope="session")
def django_dsn(dsn: str) -> Iterator[str]:
    """Django, set up for that database."""
    configure(dsn)
    yield dsn
    from django.db import connection

    connection.close()


@pytest.fixture
def database(django_dsn: str) -> Iterator[Any]:
    """The psycopg connection that Django uses, in a transaction that is rolled back."""
    from django.db import connection, transaction

    with transaction.atomic():
        yield connection.connection
        transaction.set_rollback(True)


@pytest.fixture
def put(dsn: str) -> Iterator[Callable[[Catalogue], None]]:
    """Puts a catalogue, and nothing else, into the database for all to see; in the end the tables are empty again."""
    with psycopg.connect(dsn, autocommit=True) as connection:

        def fill(catalogue: Catalogue) -> None:
            with connection.transaction():
                connection.execute("TRUNCATE Product, Image, ProductImages, ProductDescription CASCADE")
                catalogue.insert(connection)

        yield fill
        fill(Catalogue())


@pytest.fixture
def edges(dsn: str, put: Callable[[Catalogue], None]) -> Iterator[list[Product]]:
    """The products of the edge cases, which are in the database beside an empty table of predictions."""
    catalogue = edge_case_catalogue()
    put(catalogue)
    prepare(dsn)
    yield [Product(*row) for row in catalogue.listing()]
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE product_classification CASCADE")
