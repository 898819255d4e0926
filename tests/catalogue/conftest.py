"""A PostgreSQL for the stages that read a catalogue, with a separate empty schema for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.server import running_server
from sql.tables import CATALOGUE, GARMENTS

numbers = count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The DSN of a PostgreSQL server."""
    with running_server() as dsn:
        yield dsn


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    """A database without tables."""
    name = f"fashion_test_{os.getpid()}_{next(numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield make_conninfo(server, options=f"-csearch_path={name}")
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def dsn(empty: str) -> str:
    """A catalogue with empty tables."""
    with psycopg.connect(empty) as connection:
        connection.execute(CATALOGUE.statement + GARMENTS.statement)
    return empty
