"""Tests of sql.write_back: predictions are written completely, once, and only where they are needed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.connection import CatalogueError, ConflictError, LostConnectionError
from sql.extract import Product
from sql.write_back import (
    check_losses,
    failed_share,
    read_pending,
    remove_orphans,
    write_predictions,
)
from tests.conftest import ROOT
from tests.sql.catalogue import Catalogue
from tests.sql.faulty_proxy import Fault, proxy
from tests.sql.predictions import NOON, answer, failed, options, stored, waiting
from tests.waiting import wait_until

PHASES = {
    "the check of the table": Fault(b"pg_attribute"),
    "the temporary table": Fault(b"CREATE TEMPORARY"),
    "the copy": Fault(b"COPY incoming"),
    "the upsert": Fault(b"INSERT INTO"),
    "the commit": Fault(b"COMMIT"),
}

# Another process, which scores the pending products in batches of four.
WRITER = """
import sys
from tests.sql.predictions import answer
from sql.write_back import read_pending, write_predictions

answers = (answer(product) for products in read_pending(sys.argv[1], "1") for product in products)
write_predictions(sys.argv[1], answers, batch_rows=4)
"""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects without pauses."""
    monkeypatch.setattr("pipeline.contract.retries.backoff_seconds", lambda failures: 0.0)


def test_written_predictions_are_stored_and_not_pending(dsn: str, edges: list[Product]) -> None:
    """All products are pending at first; predictions of every kind are stored unchanged; then none is pending."""
    assert waiting(dsn) == edges
    answers = [answer(p, abstain=p.id % 2 == 0, image_content=f"sha256 of {p.url}") for p in edges]
    assert write_predictions(dsn, iter(answers), batch_rows=7) == len(edges)
    assert stored(dsn) == answers
    assert waiting(dsn) == []


def test_writing_again_changes_nothing(dsn: str, edges: list[Product]) -> None:
    """Equal predictions leave the stored rows untouched."""
    write_predictions(dsn, map(answer, edges))
    with psycopg.connect(dsn, autocommit=True) as connection:
        versions = connection.execute("SELECT ctid, xmin FROM product_classification ORDER BY product_id").fetchall()
        write_predictions(dsn, map(answer, edges))
        again = connection.execute("SELECT ctid, xmin FROM product_classification ORDER BY product_id").fetchall()
    assert versions == again


def test_new_and_changed_products_are_pending(dsn: str, edges: list[Product]) -> None:
    """A product is pending exactly when it is new, or its title, URL, text or the model version has changed."""
    write_predictions(dsn, map(answer, edges))
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO Product VALUES (1000, 'new')")
        connection.execute("UPDATE Product SET Title = 'Boot' WHERE Id = 3")
        connection.execute("UPDATE Image SET Url = 'other.jpg' WHERE Id = 4")
        connection.execute("UPDATE ProductDescription SET TranslatedText = 'other' WHERE Id = 110")
    by_image = [p.id for p in edges if p.url == "4.jpg"]
    assert [p.id for p in waiting(dsn)] == sorted([3, 11, 1000, *by_image])
    assert len(waiting(dsn, "2")) == len(edges) + 1


def test_an_image_with_new_content_is_pending(dsn: str, edges: list[Product]) -> None:
    """Where the caller knows a URL's present content, another content makes its products pending."""
    write_predictions(dsn, (answer(p, image_content=p.url and "old") for p in edges))
    now = {"2.jpg": "new", "1.jpg": "old"}
    changed = waiting(dsn, content_of=now.get)
    assert {p.url for p in changed} == {"2.jpg"}


def test_an_image_without_cached_content_is_pending_after_the_maximum_age(dsn: str, edges: list[Product]) -> None:
    """Where the content is not cached, the age of the prediction decides."""
    now = datetime.now(UTC)
    for age, expected in ((timedelta(days=2), [p for p in edges if p.url]), (timedelta(hours=2), [])):
        write_predictions(dsn, (answer(p, image_content=p.url and "old", scored_at=now - age) for p in edges))
        assert waiting(dsn, max_age_seconds=86_400) == expected
        assert waiting(dsn) == waiting(dsn, max_age_seconds=86_400, content_of=lambda url: "old") == []
    # Where the content was never known, there is nothing that could have changed.
    write_predictions(dsn, (answer(p, scored_at=now) for p in edges))
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE product_classification SET scored_at = scored_at - interval '2 days'")
    assert waiting(dsn, max_age_seconds=86_400) == []


def test_failures_with_a_url_are_pending(dsn: str, edges: list[Product]) -> None:
    """A failure is stored with its reason, and is pending where the product has a URL."""
    write_predictions(dsn, map(failed, edges))
    assert waiting(dsn) == [p for p in edges if p.url is not None]
    write_predictions(dsn, map(answer, edges))
    assert waiting(dsn) == []


def test_a_group_stays_when_its_image_can_no_longer_be_fetched(dsn: str, edges: list[Product]) -> None:
    """A failed download keeps the earlier group; a product without a URL loses it."""
    write_predictions(dsn, map(answer, edges))
    later = NOON + timedelta(hours=1)
    write_predictions(dsn, (failed(p, "http_503")._replace(model_version="2", scored_at=later) for p in edges[:4]))
    write_predictions(dsn, [failed(edges[4], "no_image")._replace(scored_at=later)])
    assert stored(dsn)[:4] == [answer(p)._replace(failure="http_503") for p in edges[:4]]
    assert stored(dsn)[4].product_group is None
    assert [p.id for p in waiting(dsn)] == [p.id for p in edges[:5] if p.url]
    assert failed_share(dsn) == 4 / len(edges)
    with psycopg.connect(dsn) as connection:
        reasons = connection.execute("SELECT DISTINCT reason FROM product_to_review ORDER BY 1").fetchall()
    assert reasons == [("http_503",), ("no_image",)]
    write_predictions(dsn, (answer(p)._replace(scored_at=later) for p in edges[:4]))
    assert stored(dsn)[:4] == [answer(p)._replace(scored_at=later) for p in edges[:4]]


def test_the_later_prediction_stays(dsn: str, edges: list[Product]) -> None:
    """Of two predictions for a product, in one batch or in two runs, the later one is stored."""
    early, late = (answer(edges[0], scored_at=NOON + timedelta(hours=h), confidence=h / 10) for h in (1, 2))
    write_predictions(dsn, [late, early])
    assert stored(dsn) == [late]
    write_predictions(dsn, [early])
    assert stored(dsn) == [late]


def test_a_prediction_from_a_clock_that_was_ahead(dsn: str, edges: list[Product]) -> None:
    """It does not block predictions with an earlier, correct time."""
    write_predictions(dsn, [answer(edges[0], scored_at=datetime.now(UTC) + timedelta(days=1))])
    now = answer(edges[0], scored_at=datetime.now(UTC) + timedelta(minutes=1), confidence=0.5)
    write_predictions(dsn, [now])
    assert stored(dsn) == [now]


def test_any_text_can_be_a_reason(dsn: str, edges: list[Product]) -> None:
    """A server's text is stored as far as PostgreSQL can: tabs and quotes unchanged, NUL replaced."""
    write_predictions(dsn, [failed(edges[0], "a\tb\\N'\"\n\0\udc80;--")])
    assert stored(dsn)[0].failure == "a\tb\\N'\"\n\ufffd?;--"


def test_orphans_can_be_written_and_removed(dsn: str, edges: list[Product]) -> None:
    """A prediction for a deleted product does not fail its batch, is not up for review, and can be removed."""
    ghost = Product(-7, "gone", None, None)
    write_predictions(dsn, [answer(ghost, abstain=True), *map(answer, edges)])
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT * FROM product_to_review").fetchall() == []
    assert remove_orphans(dsn) == 1
    assert [row.product_id for row in stored(dsn)] == [p.id for p in edges]


def test_only_products_with_a_group_can_lose_it(dsn: str, edges: list[Product]) -> None:
    """The limit counts products whose group would go; those without an image never had one."""
    pictured = [p for p in edges if p.url]
    write_predictions(dsn, [answer(p) if p.url else failed(p, "no_image") for p in edges])
    check_losses(dsn, 0, most_lost_share=0.0)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("ProductImages", "ProductDescription"):
            connection.execute(f"DELETE FROM {table} WHERE ProductId = %s", [pictured[0].id])
        connection.execute("DELETE FROM Product WHERE Id = %s", [pictured[0].id])
        connection.execute("DELETE FROM ProductImages WHERE ProductId = %s", [pictured[1].id])
    check_losses(dsn, 0, most_lost_share=2 / len(edges))
    with pytest.raises(CatalogueError, match="Too many products would lose their group") as raised:
        check_losses(dsn, 0, most_lost_share=1.9 / len(edges))
    assert raised.value.received == "1 that are no longer in Product, 1 without an image at index 0"
    assert raised.value.expected == f"at most 6% of {len(edges)} products with a result"
    assert remove_orphans(dsn, most_lost_share=1 / len(edges)) == 1


def test_nothing_is_locked_while_pending_products_are_scored(
    dsn: str, edges: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two lists other sessions change the catalogue, and the next list has their changes."""
    monkeypatch.setattr("sql.extract.FIRST_ROWS", 4)
    with closing(read_pending(dsn, "1")) as reading:  # type: ignore[type-var]
        assert next(reading) == edges[:4]
        with psycopg.connect(dsn, autocommit=True, options=f"{options(dsn)} -clock_timeout=20s") as other:
            other.execute("ALTER TABLE Product ALTER Title SET DEFAULT 'new'")
            other.execute("UPDATE Product SET Title = 'changed'")
        assert [p.title for products in reading for p in products] == ["changed"] * (len(edges) - 4)


def test_products_for_review(dsn: str, edges: list[Product]) -> None:
    """The view lists failures and abstentions with their reason, the least certain first."""
    answers = [answer(edges[1]), failed(edges[2]), *(answer(p, abstain=True, confidence=p.id / 10) for p in edges[3:5])]
    write_predictions(dsn, [*reversed(answers)])
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT product_id, title, reason, product_group FROM product_to_review").fetchall()
    assert rows == [
        (2, "Shirt", "404", None),
        (3, "Shirt", "the model abstains", "Upper part"),
        (4, "Shirt", "the model abstains", "Upper part"),
    ]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_connection_that_is_cut(dsn: str, edges: list[Product], phase: str, batch: int) -> None:
    """A cut in the first batch is an error, a later batch is sent again; each batch is stored whole or not at all."""
    undisturbed = [Fault(b"there is no such word")] * (batch - 1)
    with proxy(dsn, *undisturbed, PHASES[phase]) as before:
        if batch == 1:
            with pytest.raises(LostConnectionError, match=r"(?s)Expected: .*\nReceived: .*\nNext: "):
                write_predictions(before.dsn, map(answer, edges), batch_rows=4)
            assert stored(dsn) in ([], [*map(answer, edges[:4])])
        write_predictions(before.dsn, map(answer, edges), batch_rows=4)
    assert stored(dsn) == [*map(answer, edges)]


def test_a_server_that_stalls(dsn: str, edges: list[Product]) -> None:
    """A server that stalls during a write gives an error and stores nothing of the batch."""
    stall = Fault(b"INSERT INTO", kind="stall")
    with proxy(dsn, stall) as before, pytest.raises(LostConnectionError, match="does not respond"):
        write_predictions(before.dsn, map(answer, edges), timeout=3.0)
    assert stored(dsn) == []


def test_a_writer_that_is_killed(dsn: str, edges: list[Product]) -> None:
    """After SIGKILL within a transaction, complete batches are stored, and the next run writes exactly the rest."""
    with psycopg.connect(dsn, autocommit=True) as other:
        # The third batch waits for this transaction, which has written one of its rows.
        other.execute("BEGIN")
        blocking = answer(edges[9], confidence=0.1)
        other.cursor().execute(
            "INSERT INTO product_classification VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", blocking
        )
        with subprocess.Popen([sys.executable, "-c", WRITER, make_conninfo(dsn, application_name="w")], cwd=ROOT) as w:
            waits = "SELECT FROM pg_stat_activity WHERE application_name = 'w' AND wait_event_type = 'Lock'"
            with psycopg.connect(dsn, autocommit=True) as watching:
                wait_until(lambda: w.poll() is not None or watching.execute(waits).rowcount, "a writer that waits")
                assert w.poll() is None
            w.send_signal(signal.SIGKILL)
        other.execute("ROLLBACK")
    assert stored(dsn) == [*map(answer, edges[:8])]
    rest = waiting(dsn)
    assert rest == edges[8:]
    write_predictions(dsn, map(answer, rest))
    assert stored(dsn) == [*map(answer, edges)]


FAILING = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.product_id = {product} AND nextval('failures') = 1 THEN
        RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON product_classification FOR EACH ROW EXECUTE FUNCTION fail();
"""


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization"])
@pytest.mark.parametrize("position", [0, 5])
def test_a_conflict_with_another_transaction_is_retried(
    dsn: str, edges: list[Product], code: str, position: int
) -> None:
    """A batch that fails by a deadlock or a serialization failure is sent again, the first one too."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FAILING.format(product=edges[position].id, code=code))
        try:
            with pytest.raises(ConflictError, match="(?s)was in the way.*in the way"):
                write_predictions(dsn, [answer(edges[position])], retries=0)
            connection.execute("SELECT setval('failures', 1, false)")
            assert write_predictions(dsn, map(answer, edges), batch_rows=4) == len(edges)
        finally:
            connection.execute("DROP FUNCTION fail CASCADE; DROP SEQUENCE failures")
    assert stored(dsn) == [*map(answer, edges)]


def test_a_full_disk_is_not_retried(dsn: str, edges: list[Product]) -> None:
    """Another attempt would meet it again."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FAILING.format(product=edges[5].id, code="53100"))
        try:
            with pytest.raises(CatalogueError, match="cannot do that") as raised:
                write_predictions(dsn, map(answer, edges), batch_rows=4)
        finally:
            connection.execute("DROP FUNCTION fail CASCADE; DROP SEQUENCE failures")
    assert not isinstance(raised.value, LostConnectionError) and stored(dsn) == [*map(answer, edges[:4])]


def test_the_url_of_the_last_attempt(dsn: str, edges: list[Product]) -> None:
    """Where an earlier group stays, the list for review shows the URL that could not be fetched."""
    write_predictions(dsn, [answer(edges[0])._replace(url="old.jpg")])
    write_predictions(dsn, [failed(edges[0], "http_404")._replace(url="new.jpg", scored_at=NOON + timedelta(hours=1))])
    assert stored(dsn) == [answer(edges[0])._replace(url="new.jpg", failure="http_404")]
    newest = failed(edges[0], "http_404")._replace(url="newest.jpg", scored_at=NOON + timedelta(hours=2))
    write_predictions(dsn, [newest])
    assert stored(dsn) == [answer(edges[0])._replace(url="newest.jpg", failure="http_404")]


def test_a_missing_table_is_an_error(dsn: str, put: Callable[[Catalogue], None]) -> None:
    """Without the table, the error names it and the script that creates it."""
    for call in (
        lambda: write_predictions(dsn, [answer(Product(1, "", None, None))]),
        lambda: waiting(dsn),
        lambda: remove_orphans(dsn),
    ):
        with pytest.raises(CatalogueError, match="(?s)no table product_classification.*psql -f sql/classification.sql"):
            call()
    assert write_predictions(dsn, []) == 0


def test_a_cut_while_reading_earlier_predictions(dsn: str, edges: list[Product]) -> None:
    """The read is retried."""
    write_predictions(dsn, map(answer, edges[:3]))
    undisturbed = [Fault(b"there is no such word")] * 2  # the check, and the reading itself
    with proxy(dsn, *undisturbed, Fault(b"= ANY")) as before:
        assert waiting(before.dsn) == edges[3:]
