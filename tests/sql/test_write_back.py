"""Tests of sql.write_back: answers arrive whole, once, and only where they are needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql as composed
from psycopg.conninfo import make_conninfo

from sql.connection import CatalogueError, LostConnectionError
from sql.extract import Product
from sql.write_back import (
    Classification,
    failed_share,
    fingerprint,
    prepare,
    read_pending,
    remove_orphans,
    write_predictions,
)
from tests.conftest import ROOT
from tests.sql.catalogue import Catalogue
from tests.sql.edge_cases import edge_case_catalogue
from tests.sql.faulty_proxy import Fault, proxy
from tests.waiting import wait_until

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
PHASES = {
    "the look at the table": Fault(b"pg_attribute"),
    "the temporary table": Fault(b"CREATE TEMPORARY"),
    "the copy's begin": Fault(b"COPY incoming"),
    "the upsert": Fault(b"INSERT INTO"),
    "the answer to the commit": Fault(b"COMMIT"),
}

# Another process, which scores what is pending and tells after which lists; it never asks whether it should stop.
WRITER = """
import sys
from tests.sql.test_write_back import answer
from sql.write_back import read_pending, write_predictions

answers = (answer(product) for products in read_pending(sys.argv[1], "1") for product in products)
write_predictions(sys.argv[1], answers, batch_rows=4)
"""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is made again at once."""
    monkeypatch.setattr("pipeline.contract.retries.backoff_seconds", lambda failures: 0.0)


@pytest.fixture
def edges(dsn: str, put: Callable[[Catalogue], None]) -> Iterator[list[Product]]:
    """The documented cases and an empty table of answers are in the database; the products that are to be scored."""
    made = edge_case_catalogue()
    put(made)
    prepare(dsn)
    yield [Product(*row) for row in made.listing()]
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE product_classification CASCADE")


def answer(product: Product, **changes: Any) -> Classification:
    """What a model might say of a product."""
    made = Classification(product.id, "1", "Upper part", 0.75, False, None, NOON, fingerprint(product), None)
    return made._replace(**changes)


def failed(product: Product, reason: str = "404") -> Classification:
    """That there is no answer."""
    return answer(product, product_group=None, confidence=None, failure=reason)


def waiting(dsn: str, version: str = "1", **options: Any) -> list[Product]:
    """All that is pending."""
    return [product for products in read_pending(dsn, version, **options) for product in products]


def stored(dsn: str) -> list[Classification]:
    """The table's rows by id."""
    names = composed.SQL(", ").join(map(composed.Identifier, Classification._fields))
    with psycopg.connect(dsn, options=f"{options(dsn)} -ctimezone=UTC") as connection:
        found = connection.execute(composed.SQL("SELECT {} FROM product_classification ORDER BY 1").format(names))
        return [Classification(*row) for row in found]


def options(dsn: str) -> str:
    """The options of a DSN, to which others can be added."""
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["options"])


def test_what_is_written_is_there_and_no_longer_pending(dsn: str, edges: list[Product]) -> None:
    """Everything is pending at first; answers of every kind are stored as they are; then nothing is pending."""
    assert waiting(dsn) == edges
    answers = [answer(p, abstain=p.id % 2 == 0, image_content=f"sha256 of {p.url}") for p in edges]
    assert write_predictions(dsn, iter(answers), batch_rows=7) == len(edges)
    assert stored(dsn) == answers
    assert waiting(dsn) == []


def test_writing_again_changes_nothing(dsn: str, edges: list[Product]) -> None:
    """The same answers leave the same rows, not even written anew."""
    write_predictions(dsn, map(answer, edges))
    with psycopg.connect(dsn, autocommit=True) as connection:
        versions = connection.execute("SELECT ctid, xmin FROM product_classification ORDER BY product_id").fetchall()
        write_predictions(dsn, map(answer, edges))
        again = connection.execute("SELECT ctid, xmin FROM product_classification ORDER BY product_id").fetchall()
    assert versions == again


def test_new_and_changed_products_are_pending(dsn: str, edges: list[Product]) -> None:
    """A product is pending when it is new, or its title, URL, text or the model has changed, and only then."""
    write_predictions(dsn, map(answer, edges))
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO Product VALUES (1000, 'new')")
        connection.execute("UPDATE Product SET Title = 'Boot' WHERE Id = 3")
        connection.execute("UPDATE Image SET Url = 'other.jpg' WHERE Id = 4")
        connection.execute("UPDATE ProductDescription SET TranslatedText = 'other' WHERE Id = 110")
    by_image = [p.id for p in edges if p.url == "4.jpg"]
    assert [p.id for p in waiting(dsn)] == sorted([3, 11, 1000, *by_image])
    assert len(waiting(dsn, "2")) == len(edges) + 1


def test_an_image_that_has_changed_under_its_url(dsn: str, edges: list[Product]) -> None:
    """Where the caller knows what a URL gives now, another content makes its products pending."""
    write_predictions(dsn, (answer(p, image_content=p.url and "old") for p in edges))
    now = {"2.jpg": "new", "1.jpg": "old"}
    changed = waiting(dsn, content_of=now.get)
    assert {p.url for p in changed} == {"2.jpg"}


def test_an_image_that_nobody_remembers_is_asked_for_when_its_answer_is_old(dsn: str, edges: list[Product]) -> None:
    """What was downloaded may be gone, or lie on another machine: then the age of the answer decides."""
    now = datetime.now(UTC)
    for age, expected in ((timedelta(days=2), [p for p in edges if p.url]), (timedelta(hours=2), [])):
        write_predictions(dsn, (answer(p, image_content=p.url and "old", scored_at=now - age) for p in edges))
        assert waiting(dsn, max_age_seconds=86_400) == expected
        assert waiting(dsn) == waiting(dsn, max_age_seconds=86_400, content_of=lambda url: "old") == []


def test_what_failed_is_tried_again(dsn: str, edges: list[Product]) -> None:
    """A failure is kept with its reason, and pending again where there is an image to fetch."""
    write_predictions(dsn, map(failed, edges))
    assert waiting(dsn) == [p for p in edges if p.url is not None]
    write_predictions(dsn, map(answer, edges))
    assert waiting(dsn) == []


def test_a_group_is_kept_where_an_image_cannot_be_had_any_more(dsn: str, edges: list[Product]) -> None:
    """An image server that is down takes no group away; a product that has lost its image has none."""
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


def test_the_later_answer_stays(dsn: str, edges: list[Product]) -> None:
    """Of two answers about a product, in one batch or in two runs, the one that was made later is kept."""
    early, late = (answer(edges[0], scored_at=NOON + timedelta(hours=h), confidence=h / 10) for h in (1, 2))
    write_predictions(dsn, [late, early])
    assert stored(dsn) == [late]
    write_predictions(dsn, [early])
    assert stored(dsn) == [late]


def test_an_answer_from_a_clock_that_was_ahead(dsn: str, edges: list[Product]) -> None:
    """It does not keep later ones out until that day has come."""
    write_predictions(dsn, [answer(edges[0], scored_at=datetime.now(UTC) + timedelta(days=1))])
    now = answer(edges[0], scored_at=datetime.now(UTC) + timedelta(minutes=1), confidence=0.5)
    write_predictions(dsn, [now])
    assert stored(dsn) == [now]


def test_any_text_can_be_a_reason(dsn: str, edges: list[Product]) -> None:
    """What a strange server said is stored as far as PostgreSQL can: tabs and quotes as they are, NUL not."""
    write_predictions(dsn, [failed(edges[0], "a\tb\\N'\"\n\0\udc80;--")])
    assert stored(dsn)[0].failure == "a\tb\\N'\"\n\ufffd?;--"


def test_answers_about_products_that_are_gone(dsn: str, edges: list[Product]) -> None:
    """They can be written, so that others of the batch are, need no human, and are removed when asked."""
    ghost = Product(-7, "gone", None, None)
    write_predictions(dsn, [answer(ghost, abstain=True), *map(answer, edges)])
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT * FROM product_to_review").fetchall() == []
    assert remove_orphans(dsn) == 1
    assert [row.product_id for row in stored(dsn)] == [p.id for p in edges]


def test_what_needs_a_human(dsn: str, edges: list[Product]) -> None:
    """The view lists what failed and where the model abstains, the least certain first, with the reason."""
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
    """The first batch is told of, a later one is sent again; either way every batch is there whole or not at all."""
    undisturbed = [Fault(b"there is no such word")] * (batch - 1)
    with proxy(dsn, *undisturbed, PHASES[phase]) as before:
        if batch == 1:
            with pytest.raises(LostConnectionError, match=r"(?s)Expected: .*\nReceived: .*\nNext: "):
                write_predictions(before.dsn, map(answer, edges), batch_rows=4)
            assert stored(dsn) in ([], [*map(answer, edges[:4])])
        write_predictions(before.dsn, map(answer, edges), batch_rows=4)
    assert stored(dsn) == [*map(answer, edges)]


def test_a_server_that_stalls(dsn: str, edges: list[Product]) -> None:
    """A server that falls silent while it is written to ends in an error, and nothing of the batch is there."""
    silent = Fault(b"INSERT INTO", kind="stall")
    with proxy(dsn, silent) as before, pytest.raises(LostConnectionError, match="does not respond"):
        write_predictions(before.dsn, map(answer, edges), timeout=1.0)
    assert stored(dsn) == []


def test_a_writer_that_is_killed(dsn: str, edges: list[Product]) -> None:
    """After SIGKILL in the middle of a transaction, whole batches are there, and the next run does exactly the rest."""
    with psycopg.connect(dsn, autocommit=True) as other:
        # The third batch has to wait for this one: its row is being written, and not committed.
        other.execute("BEGIN")
        blocking = answer(edges[9], confidence=0.1)
        other.cursor().execute(
            "INSERT INTO product_classification VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", blocking
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


def test_it_must_be_prepared(dsn: str, put: Callable[[Catalogue], None]) -> None:
    """Without the table the error names it and the file that makes it."""
    for ask in (
        lambda: write_predictions(dsn, [answer(Product(1, "", None, None))]),
        lambda: waiting(dsn),
        lambda: remove_orphans(dsn),
    ):
        with pytest.raises(CatalogueError, match="(?s)no table product_classification.*psql -f sql/classification.sql"):
            ask()
    assert write_predictions(dsn, []) == 0


def test_preparing_again(dsn: str, edges: list[Product]) -> None:
    """It leaves what is there, and a table of that name with other columns is an error that names them."""
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
    """It is told before anything is scored, with the statement that mends it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE product_classification DROP CONSTRAINT product_classification_pkey")
        with pytest.raises(CatalogueError) as raised:
            prepare(dsn)
        connection.execute(raised.value.next_step)
    prepare(dsn)


def test_a_key_that_is_checked_too_late(dsn: str, edges: list[Product]) -> None:
    """No answer can be written over another by it, so it is none; the statement that mends it is told."""
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


def test_a_server_that_does_not_write(dsn: str, edges: list[Product]) -> None:
    """A replica is told of before anything is scored."""
    with pytest.raises(CatalogueError, match="(?s)read-only.*Next: the same command with the DSN of the primary"):
        prepare(make_conninfo(dsn, options=f"{options(dsn)} -cdefault_transaction_read_only=on"))


def test_a_cut_while_looking_what_is_known(dsn: str, edges: list[Product]) -> None:
    """The look is made again; it has changed nothing."""
    write_predictions(dsn, map(answer, edges[:3]))
    undisturbed = [Fault(b"there is no such word")] * 2  # the check, and the reading itself
    with proxy(dsn, *undisturbed, Fault(b"= ANY")) as before:
        assert waiting(before.dsn) == edges[3:]


def test_many_prepare_at_once(dsn: str, put: Callable[[Catalogue], None]) -> None:
    """None of them fails, whoever comes first; and a view that is missing is made."""
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
    """Whoever may not make the table, or not write to it, is told at the beginning which right is missing."""
    reader = f"fashion_writer_{os.getpid()}"
    path = options(dsn).removeprefix("-csearch_path=")
    theirs = make_conninfo(dsn, options=f"{options(dsn)} -crole={reader}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {reader}; GRANT USAGE ON SCHEMA {path} TO {reader};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {path} TO {reader}"
        )
        try:
            with pytest.raises(CatalogueError, match="(?s)may not create the table.*psql -f sql/classification.sql"):
                prepare(theirs)
            prepare(dsn)
            connection.execute(f"GRANT SELECT, INSERT, UPDATE ON product_classification TO {reader}")
            with pytest.raises(CatalogueError, match="Received: no DELETE on product_classification\nNext: GRANT"):
                prepare(theirs)
            connection.execute(f"GRANT DELETE ON product_classification TO {reader}")
            prepare(theirs)
            write_predictions(theirs, [answer(Product(1, "", None, None))])
            assert remove_orphans(theirs) == 1
        finally:
            connection.execute(f"DROP TABLE IF EXISTS product_classification CASCADE; DROP OWNED BY {reader}")
            connection.execute(f"DROP ROLE {reader}")
