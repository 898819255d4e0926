"""Tests behind a real PgBouncer: reading, scoring and writing need no state of a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest

from sql.connection import CatalogueError, LostConnectionError, connected
from sql.demonstration import fill, make_demonstration
from sql.extract import catalogue_digest, estimate, read_garments, read_products
from sql.inspection import inspect
from sql.server import find_programs, running_server
from sql.write_back import (
    Classification,
    check_losses,
    failed_share,
    fingerprint,
    prepare,
    read_pending,
    remove_orphans,
    write_predictions,
)
from tests.sql.pgbouncer import pgbouncer

PRODUCTS = 2500


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL with a catalogue."""
    with running_server(find_programs()) as dsn:
        fill(dsn, make_demonstration(PRODUCTS), "https://shop.example/{}.jpg".format)
        yield dsn


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_whole_scoring_behind_the_pooler(
    server: str, pool_mode: str, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls of `classify` and of ExampleGen work in many batches, and no transaction is left open."""
    # Many lists, since psycopg prepares what it sends for the sixth time.
    monkeypatch.setattr("sql.extract.MOST_ROWS", 100)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS product_classification CASCADE")
        if not indexed:
            connection.execute("DROP INDEX IF EXISTS ProductImages_by_index")
        expected = [row for rows in read_products(server) for row in rows]
        with pgbouncer(server, pool_mode) as (dsn, log):
            assert inspect(dsn, country="us", image_index=0, timeout=20.0) == inspect(
                server, country="us", image_index=0
            )
            assert [row for rows in read_products(dsn) for row in rows] == expected
            assert catalogue_digest(dsn) == catalogue_digest(server) and len(read_garments(dsn)) > PRODUCTS / 2
            assert estimate(dsn) == PRODUCTS
            prepare(dsn)
            check_losses(dsn, 0, 0.1)
            pending = (product for products in read_pending(dsn, "1") for product in products)
            answers = (
                Classification(p.id, "1", "Bags", 0.5, False, None, datetime.now(UTC), fingerprint(p), None, p.url)
                for p in pending
            )
            assert write_predictions(dsn, answers, batch_rows=256) == PRODUCTS
            assert [*read_pending(dsn, "1")] == [] and failed_share(dsn) == remove_orphans(dsn) == 0
            reading = read_products(dsn)
            next(reading)
            reading.close()
            with suppress(ZeroDivisionError), connected(dsn) as ours:
                ours.execute("BEGIN")
                raise ZeroDivisionError
            with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as other:
                # In turn on each of the three sessions.
                settings = [other.execute("SHOW statement_timeout").fetchone() for _ in range(6)]
            assert settings == [("0",)] * 6, "settings must not reach other clients of the pooler"
            assert "unclean" not in log.read_text() and "not ready" not in log.read_text()
        if not indexed:
            connection.execute("CREATE INDEX ProductImages_by_index ON ProductImages (ProductId, ImageIndex, ImageId)")


def test_a_pooler_that_permits_no_transactions(server: str) -> None:
    """In statement mode the error says so, and nothing is retried."""
    with (
        pgbouncer(server, "statement") as (dsn, _),
        pytest.raises(CatalogueError, match="(?s)pooler.*pool_mode") as raised,
    ):
        next(read_products(dsn))
    assert not isinstance(raised.value, LostConnectionError)


def test_a_server_without_ssl(server: str) -> None:
    """Where SSL is required and the server has none, the error names sslmode."""
    with pgbouncer(server) as (dsn, _), pytest.raises(LostConnectionError, match="does not support SSL") as raised:
        next(read_products(f"{dsn} sslmode=require"))
    assert raised.value.next_step.startswith("sslmode=prefer in the DSN")


def test_a_pooler_that_refuses_options(server: str) -> None:
    """The next step is a search path without the options of the DSN."""
    with pgbouncer(server) as (dsn, _), pytest.raises(LostConnectionError, match="(?s)options.*ALTER ROLE"):
        next(read_products(f"{dsn} options=-csearch_path=shop"))
