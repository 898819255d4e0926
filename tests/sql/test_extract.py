"""Tests of sql.extract: every product exactly once, from one snapshot, under any fault of the connection."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sql.connection import (
    CatalogueError,
    LostConnectionError,
    _to_catalogue_error,
    begin_transaction,
    connected,
)
from sql.extract import Product, estimate, read_ahead, read_products
from tests.conftest import ROOT
from tests.sql.catalogue import Catalogue, catalogues, countries, indexes
from tests.sql.edge_cases import edge_case_catalogue
from tests.sql.faulty_proxy import Fault, proxy
from tests.waiting import wait_until

Put = Callable[[Catalogue], None]

PHASES = {
    "the connection": Fault(),
    "the look at the tables": Fault(b"pg_attribute"),
    "the transaction's begin": Fault(b"BEGIN"),
    "the lock": Fault(b"LOCK TABLE"),
    "the cursor": Fault(b"DECLARE"),
    "the first rows": Fault(b"FETCH"),
    "the middle of the first row": Fault(b"FETCH", passed=80),
}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects without pauses."""
    monkeypatch.setattr("sql.extract.sleep", lambda seconds: None)


@pytest.fixture
def edges(put: Put, monkeypatch: pytest.MonkeyPatch) -> list[Product]:
    """The rows of the edge cases, which are in the database and are fetched four at a time."""
    monkeypatch.setattr("sql.extract.FIRST_ROWS", 4)
    monkeypatch.setattr("sql.extract.MOST_ROWS", 4)
    catalogue = edge_case_catalogue()
    put(catalogue)
    return [Product(*row) for row in catalogue.listing()]


def read(dsn: str, **options: Any) -> list[Product]:
    """Reads all rows."""
    return [row for rows in read_products(dsn, **options) for row in rows]


def test_every_edge_case(dsn: str, edges: list[Product]) -> None:
    """Reading returns the edge cases like the query, including texts of 1 MB."""
    assert read(dsn) == edges
    assert read(dsn, after=edges[6].id) == edges[7:]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(catalogue=catalogues(), country=countries, image_index=indexes, first=st.integers(1, 4), drops=st.data())
def test_no_row_is_lost_and_none_comes_twice(
    put: Put, dsn: str, catalogue: Catalogue, country: str, image_index: int, first: int, drops: st.DataObject
) -> None:
    """For any catalogue, batch size and broken connection, the rows are those of plain Python."""
    put(catalogue)
    faults = st.builds(Fault, st.just(b"FETCH"), st.integers(1, 3), st.sampled_from([0, 1, 30, 90, 200]))
    read_so_far: list[Product] = []
    with pytest.MonkeyPatch.context() as patched, proxy(dsn, *drops.draw(st.lists(faults, max_size=4))) as before:
        patched.setattr("sql.extract.FIRST_ROWS", first)
        patched.setattr("sql.extract.MOST_ROWS", drops.draw(st.integers(1, 3)))
        while True:
            after = read_so_far[-1].id if read_so_far else None
            options = {"country": country, "image_index": image_index, "after": after, "retries": 1}
            try:
                for rows in read_products(before.dsn, **options):  # type: ignore[arg-type]
                    read_so_far += rows
                break
            except LostConnectionError:
                # The rows so far have no gap, so the caller can continue after them.
                continue
    assert read_so_far == [Product(*row) for row in catalogue.listing(country, image_index)]


def test_a_lost_connection_is_reported_and_opened_again(dsn: str, edges: list[Product]) -> None:
    """After each loss a new connection continues after the last row, and calls `on_reconnect`."""
    reported: list[tuple[int, LostConnectionError]] = []
    with proxy(dsn, Fault(b"FETCH", 2), Fault(b"FETCH", 3, 100)) as before:
        assert read(before.dsn, on_reconnect=lambda *call: reported.append(call)) == edges
        assert before.connections == 3
    assert [after for after, _ in reported] == [edges[3].id, edges[11].id]
    assert all("The connection to the catalogue broke" in str(error) for _, error in reported)


@pytest.mark.parametrize("phase", PHASES)
def test_a_failure_before_the_first_row_is_not_retried(dsn: str, edges: list[Product], phase: str) -> None:
    """A connection that is cut before its first row gives an error at once."""
    with proxy(dsn, PHASES[phase]) as before:
        with pytest.raises(LostConnectionError, match=r"(?s)Expected: .*\nReceived: .*\nNext: "):
            read(before.dsn)
        assert before.connections == 1


def test_the_number_of_retries_is_bounded(dsn: str, edges: list[Product]) -> None:
    """Without new rows, the reader reconnects a bounded number of times."""
    read_so_far: list[Product] = []
    with proxy(dsn, Fault(b"FETCH", 2), *([Fault(b"LOCK TABLE")] * 9)) as before:
        with pytest.raises(LostConnectionError):
            read_so_far += (row for rows in read_products(before.dsn, retries=3) for row in rows)
        assert before.connections == 4


@pytest.mark.parametrize("when", [b"LOCK TABLE", b"FETCH"])
def test_a_server_that_stalls_is_an_error(dsn: str, edges: list[Product], when: bytes) -> None:
    """An open connection without any response ends in an error."""
    with proxy(dsn, Fault(when, kind="stall")) as before, pytest.raises(LostConnectionError, match="does not respond"):
        read(before.dsn, timeout=3.0)


def test_a_server_that_does_not_accept_the_session(dsn: str) -> None:
    """A server that accepts TCP connections and sends nothing ends in an error."""
    with (
        proxy(dsn, Fault(kind="stall")) as before,
        pytest.raises(LostConnectionError, match="(?s)no connection.*timeout"),
    ):
        read(f"{before.dsn} connect_timeout=2")


@pytest.mark.parametrize("call", [lambda dsn: read(dsn, timeout=0.1), lambda dsn: estimate(dsn, timeout=0.1)])
def test_a_locked_table_is_an_error(dsn: str, put: Put, call: Callable[[str], object]) -> None:
    """A table that stays locked gives an error that names the table and the session, and no retry."""
    with psycopg.connect(dsn, application_name="vacuum full") as other:
        other.execute("LOCK TABLE Product IN ACCESS EXCLUSIVE MODE")
        holder = f"process {other.info.backend_pid} .*, vacuum full. holds AccessExclusiveLock on product"
        with pytest.raises(CatalogueError, match=f"(?s)is locked.*within 0.1 s.*statement timeout; {holder}") as raised:
            call(dsn)
    assert not isinstance(raised.value, LostConnectionError)


def test_a_slow_statement_is_not_a_lock(dsn: str, put: Put) -> None:
    """Without a lock, the error blames the time-out."""
    with connected(dsn, 0.1) as connection:
        begin_transaction(connection, 0.1)
        with pytest.raises(psycopg.errors.QueryCanceled) as slow:
            connection.execute("SELECT pg_sleep(60)")
    message = str(_to_catalogue_error(slow.value, dsn, 0.1))
    assert re.search("(?s)took too long.*within 0.1 s.*statement timeout", message)


def test_an_impossible_request_is_not_a_lost_connection(dsn: str, put: Put) -> None:
    """A lock time-out from the DSN and a statement beyond the server's limits are not retried."""
    schema = conninfo_to_dict(dsn)["options"]
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE Image IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(CatalogueError, match="(?s)is locked.*lock timeout") as raised:
            read(make_conninfo(dsn, options=f"{schema} -clock_timeout=100ms"))
    assert not isinstance(raised.value, LostConnectionError)
    with (
        pytest.raises(CatalogueError, match="(?s)cannot do that.*at most 1664 entries") as raised,
        connected(dsn) as connection,
    ):
        connection.execute("SELECT " + ", ".join("1" * 2_000))
    assert not isinstance(raised.value, LostConnectionError)


def test_one_snapshot(dsn: str, edges: list[Product]) -> None:
    """Concurrent writes do not appear in the rows."""
    reading = read_products(dsn)
    read_so_far = next(reading)
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE Product SET Title = 'changed'")
        other.execute("INSERT INTO Product VALUES (1000, 'new')")
        other.execute("DELETE FROM ProductDescription")
    assert read_so_far + [row for rows in reading for row in rows] == edges


def test_a_table_that_was_just_rewritten(dsn: str, edges: list[Product]) -> None:
    """A reader that waited for the lock sees all rows: its snapshot is not older than the lock."""
    waits = "SELECT FROM pg_stat_activity WHERE application_name = 'fashion' AND wait_event_type = 'Lock'"
    with psycopg.connect(dsn) as other, ThreadPoolExecutor(1) as reading:
        other.execute("LOCK TABLE Image IN ACCESS EXCLUSIVE MODE")
        rows = reading.submit(read, dsn)
        with psycopg.connect(dsn, autocommit=True) as watching:
            wait_until(lambda: rows.done() or watching.execute(waits).rowcount, "a reader that waits for a lock")
            assert not rows.done()
        other.execute("ALTER TABLE Image ALTER Url TYPE text USING Url || ''")
        other.commit()
        assert rows.result() == edges


def test_tables_cannot_be_truncated_or_altered_meanwhile(dsn: str, edges: list[Product]) -> None:
    """TRUNCATE and ALTER TABLE, which would invalidate the snapshot, wait for the reader."""
    reading = read_products(dsn)
    next(reading)
    with psycopg.connect(dsn, autocommit=True, options=f"{options_of(dsn)} -clock_timeout=1") as other:
        for statement in ("TRUNCATE Image CASCADE", "ALTER TABLE ProductDescription DROP COLUMN OriginalText"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(statement)
    reading.close()


def options_of(dsn: str) -> str:
    """The options of a DSN, for adding others."""
    return str(conninfo_to_dict(dsn)["options"])


def test_a_reader_that_stops_releases_its_locks(dsn: str, edges: list[Product]) -> None:
    """Closing the generator early ends its session, transaction and locks."""
    reading = read_products(dsn)
    next(reading)
    reading.close()
    with psycopg.connect(dsn, autocommit=True, options=f"{options_of(dsn)} -clock_timeout=60s") as other:
        other.execute("TRUNCATE Product, Image, ProductImages, ProductDescription CASCADE")


def test_a_session_that_the_server_ends_is_opened_again(dsn: str, edges: list[Product]) -> None:
    """A server that ends an idle session between two lists costs no row."""
    limited = make_conninfo(dsn, options=f"{options_of(dsn)} -cidle_in_transaction_session_timeout=2000")
    reading = read_products(limited)
    read_so_far = next(reading)
    ours = "SELECT FROM pg_stat_activity WHERE application_name = 'fashion'"
    with psycopg.connect(dsn, autocommit=True) as other:
        wait_until(lambda: not other.execute(ours).rowcount, "the end of the session")
    assert read_so_far + next(reading) == edges[:8]
    reading.close()


def test_reading_ahead(dsn: str, edges: list[Product]) -> None:
    """Reading ahead returns the same lists in the same order, and raises an error after the lists before it."""
    assert [*read_ahead(read_products(dsn))] == [*read_products(dsn)]
    received: list[list[Product]] = []
    with proxy(dsn, Fault(b"FETCH", 3)) as before, pytest.raises(LostConnectionError):
        received.extend(read_ahead(read_products(before.dsn, retries=0)))
    assert received == [edges[:4], edges[4:8]]


def test_one_snapshot_for_each_list(dsn: str, edges: list[Product]) -> None:
    """The rows are the same; nothing is locked between two lists, and concurrent writes appear."""
    assert read(dsn, one_snapshot=False) == edges
    assert read(dsn, one_snapshot=False, after=edges[6].id) == edges[7:]
    reading = read_products(dsn, one_snapshot=False)
    first = next(reading)
    with psycopg.connect(dsn, autocommit=True, options=f"{options_of(dsn)} -clock_timeout=60s") as other:
        sessions = "SELECT state, backend_xmin FROM pg_stat_activity WHERE application_name = 'fashion'"
        assert other.execute(sessions).fetchall() == [("idle", None)]
        other.execute("ALTER TABLE Product ALTER Title SET DEFAULT 'new'")
        other.execute("UPDATE Product SET Title = 'changed'")
    assert first + [row for rows in reading for row in rows] == [
        *edges[:4],
        *(row._replace(title="changed") for row in edges[4:]),
    ]


def test_connections_that_are_lost_between_snapshots(dsn: str, edges: list[Product]) -> None:
    """With a snapshot for each list, reading continues after the last key."""
    with proxy(dsn, Fault(b"LOCK TABLE", 2), Fault(b"COMMIT", 1), Fault(b"LIMIT", 2, 100)) as before:
        assert read(before.dsn, one_snapshot=False) == edges


def test_a_title_that_is_null(dsn: str, edges: list[Product]) -> None:
    """Other catalogues allow NULL titles, and both ways of reading return them."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("ALTER TABLE Product ALTER Title DROP NOT NULL")
        try:
            other.execute("UPDATE Product SET Title = NULL WHERE Id = %s", [edges[5].id])
            expected = [row._replace(title=None) if row.id == edges[5].id else row for row in edges]
            assert read(dsn) == read(dsn, one_snapshot=False) == expected
        finally:
            other.execute("UPDATE Product SET Title = '' WHERE Title IS NULL")
            other.execute("ALTER TABLE Product ALTER Title SET NOT NULL")


def test_long_texts_after_short_ones(dsn: str, put: Put) -> None:
    """The size of a list is bounded even when texts suddenly become long, for both ways of reading."""
    long = 100_000
    put(Catalogue(products={i: "short" if i < 1000 else "x" * long for i in range(1200)}))
    for one_snapshot in (True, False):
        lists = [*read_products(dsn, one_snapshot=one_snapshot)]
        assert [row.id for rows in lists for row in rows] == [*range(1200)]
        assert max(len(rows) for rows in lists) <= 1000
        assert max(sum(len(str(row.title)) for row in rows) for rows in lists) <= 2_000_000 + long + 1000 * len("short")


@pytest.mark.parametrize("one_snapshot", [True, False])
def test_the_first_list_comes_soon(dsn: str, put: Put, one_snapshot: bool) -> None:
    """It is short, so that it arrives early; the others have a thousand rows."""
    put(Catalogue(products=dict.fromkeys(range(2150), "Shirt")))
    lists = [*read_products(dsn, one_snapshot=one_snapshot)]
    assert [len(rows) for rows in lists] == [100, 1_000, 1_000, 50]
    assert [row.id for rows in lists for row in rows] == [*range(2_150)]


def test_ctrl_c_while_the_server_does_not_respond(dsn: str, edges: list[Product]) -> None:
    """The command ends at once and does not wait for another session's lock."""
    words = [sys.executable, "-m", "pipeline.commands.cli", "catalogue", "query", "--dsn", dsn, "--timeout", "600"]
    with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as watching:
        other.execute("LOCK TABLE Image IN ACCESS EXCLUSIVE MODE")
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=accept_ctrl_c) as query:
            waits = "SELECT FROM pg_stat_activity WHERE application_name = 'fashion' AND wait_event_type = 'Lock'"
            wait_until(lambda: query.poll() is not None or watching.execute(waits).rowcount, "a command that waits")
            assert query.poll() is None
            query.send_signal(signal.SIGINT)
            assert query.wait(timeout=600) == 130


def accept_ctrl_c() -> None:
    """Restores SIGINT, which shells make background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_empty_catalogue(dsn: str, put: Put) -> None:
    """A catalogue without products gives no list."""
    assert list(read_products(dsn)) == []


def test_the_estimate(dsn: str, edges: list[Product]) -> None:
    """The planner's estimate is right after ANALYZE."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE Product")
    assert estimate(dsn) == len(edges)
