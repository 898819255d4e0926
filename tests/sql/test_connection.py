"""Tests of sql.connection and sql.tables: errors name the problem and never contain a password."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from psycopg import sql as composed
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sql.connection import (
    CatalogueError,
    ConflictError,
    LostConnectionError,
    _connection_refused,
    _to_catalogue_error,
    begin_transaction,
    connected,
    parse_dsn,
    redact_dsn,
    retry_lost_connection,
)
from sql.extract import read_products
from sql.server import find_programs, running_server
from sql.tables import CATALOGUE, check_tables
from tests.waiting import wait_until

Schema = Callable[[str], str]


@pytest.fixture
def schema(dsn: str) -> Iterator[Schema]:
    """Returns a function that runs a script in a separate schema and returns a DSN for it."""
    name = f"fashion_schema_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:

        def create(script: str) -> str:
            connection.execute(f"CREATE SCHEMA {name}; SET search_path = {name}; {script}")
            return make_conninfo(dsn, options=f"-csearch_path={name}")

        yield create
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def options_of(dsn: str) -> str:
    """The options of a DSN."""
    return str(conninfo_to_dict(dsn)["options"])


def error_of_reading(dsn: str) -> str:
    """Reads a catalogue, which fails with a complete error; returns the error on one line."""
    with pytest.raises(CatalogueError) as raised:
        list(read_products(dsn))
    assert re.fullmatch(r".+\. Expected: .+\. Received: .+\. Next: .+", raised.value.one_line)
    # Nor may a traceback contain it: psycopg's exceptions hold the whole connection.
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value.one_line


def test_the_required_columns_are_those_of_the_schema(dsn: str) -> None:
    """The required columns and types are exactly those of sql/schema.sql."""
    with psycopg.connect(dsn) as connection:
        check_tables(connection, CATALOGUE)
        for table, columns in CATALOGUE.columns.items():
            cursor = connection.execute(composed.SQL("SELECT * FROM {}").format(composed.Identifier(table.lower())))
            assert [c.name for c in cursor.description or ()] == [name.lower() for name in columns]


def test_missing_tables_and_columns_are_named(schema: Schema) -> None:
    """The error names all missing columns and wrong types at once, and nothing else."""
    dsn = schema(f"""{CATALOGUE.statement}
        DROP TABLE ProductDescription;
        ALTER TABLE Image DROP COLUMN Url;
        ALTER TABLE ProductImages DROP COLUMN ImageIndex, ADD COLUMN ImageIndex text;""")
    received = "no column Image.Url; ProductImages.ImageIndex has type text, not int8; no table ProductDescription"
    assert f"Received: {received}" in error_of_reading(dsn)


def test_views_and_wider_types_are_accepted(schema: Schema) -> None:
    """Views over other tables, integer keys, varchar and domains are valid in a catalogue."""
    dsn = schema("""
        CREATE DOMAIN words AS varchar(30);
        CREATE TABLE article (number integer PRIMARY KEY, name words);
        INSERT INTO article VALUES (1, 'Shirt'), (2, 'Boot');
        CREATE VIEW Product AS SELECT number AS Id, name AS Title FROM article;
        CREATE TABLE Image (Id smallint, Url varchar);
        CREATE TABLE ProductImages (ProductId integer, ImageId smallint, ImageIndex smallint);
        CREATE TABLE ProductDescription
            (Id integer, ProductId integer, CountryCode char(2), OriginalText words, TranslatedText text);
        INSERT INTO ProductDescription VALUES (1, 2, 'us', 'Botte', 'A boot')""")
    assert list(read_products(dsn)) == [[(1, "Shirt", None, None), (2, "Boot", None, "A boot")]]


def test_materialized_views_and_domains_over_domains_are_accepted(schema: Schema) -> None:
    """A materialized view, which cannot be locked, is read without a lock."""
    dsn = schema(f"""{CATALOGUE.statement}
        CREATE DOMAIN words AS text; CREATE DOMAIN title AS words;
        INSERT INTO Product VALUES (1, 'Shirt'); ALTER TABLE Product RENAME TO article;
        CREATE MATERIALIZED VIEW Product AS SELECT Id, Title::title AS Title FROM article""")
    assert list(read_products(dsn)) == [[(1, "Shirt", None, None)]]


def test_tables_with_quoted_names(schema: Schema) -> None:
    """The next step creates the views that make quoted names readable, and it works as printed."""
    dsn = schema("""
        CREATE TABLE "Product" ("Id" bigint PRIMARY KEY, "Title" text);
        INSERT INTO "Product" VALUES (1, 'Shirt');
        CREATE TABLE "Image" ("Id" bigint, "Url" text);
        CREATE TABLE "ProductImages" ("ProductId" bigint, "ImageId" bigint, "ImageIndex" integer);
        CREATE TABLE "ProductDescription" ("Id" bigint, "ProductId" bigint, "CountryCode" text,
                                           "OriginalText" text, "TranslatedText" text)""")
    name = options_of(dsn).removeprefix("-csearch_path=")
    with pytest.raises(CatalogueError) as raised:
        list(read_products(dsn))
    assert (
        f'no table Product; no table Image; no table ProductImages; no table ProductDescription; {name}."Product" '
        in (raised.value.received)
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(raised.value.next_step)
    assert list(read_products(dsn)) == [[(1, "Shirt", None, None)]]


def test_tables_in_another_schema(dsn: str, schema: Schema) -> None:
    """The next step names the schema that has the tables, and the missing right on it."""
    ours = schema(CATALOGUE.statement)
    name = options_of(ours).removeprefix("-csearch_path=")
    role = f"fashion_stranger_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role}")
        try:
            message = error_of_reading(make_conninfo(ours, options=f"-csearch_path=pg_catalog -crole={role}"))
        finally:
            connection.execute(f"DROP ROLE {role}")
    assert f"{name}.product exists, but this user lacks USAGE on its schema" in message
    assert f"GRANT USAGE ON SCHEMA {name} TO {role};" in message
    assert re.search(rf"options='-csearch_path=[\w,]*{name}[\w,]*' in the DSN", message)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("ProductImages.ProductId", "ProductImages.ProductId has type text, but Product.Id has type int8"),
        ("ProductDescription.ProductId", "ProductDescription.ProductId has type text, but Product.Id has type int8"),
    ],
)
def test_ids_that_cannot_be_compared(schema: Schema, column: str, fault: str) -> None:
    """Ids of different types are reported before the query, which would fail with a remark on operators."""
    table, name = column.split(".")
    dsn = schema(f"""{CATALOGUE.statement}
        ALTER TABLE {table} DROP CONSTRAINT {table}_{name}_fkey; ALTER TABLE {table} ALTER {name} TYPE text""")
    assert f"Received: {fault}. Next: " in error_of_reading(dsn)


def test_reading_is_read_only(schema: Schema) -> None:
    """Reading cannot write, not even through a function of a view."""
    dsn = schema(f"""{CATALOGUE.statement}
        CREATE TABLE written (n integer);
        CREATE FUNCTION title() RETURNS text LANGUAGE sql AS 'INSERT INTO written VALUES (1); SELECT ''t''';
        ALTER TABLE Product RENAME TO hidden; INSERT INTO hidden VALUES (1, 'a');
        CREATE VIEW Product AS SELECT Id, title() AS Title FROM hidden""")
    assert "cannot execute INSERT in a read-only transaction" in error_of_reading(dsn)


def test_missing_rights(dsn: str, schema: Schema) -> None:
    """The error names all tables that the user may not read; its next step grants exactly the missing rights."""
    name = f"fashion_reader_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        ours = schema(CATALOGUE.statement)
        path = str(conninfo_to_dict(ours)["options"]).removeprefix("-csearch_path=")
        connection.execute(
            f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA {path} TO {name}; "
            f"GRANT SELECT ON {path}.product, {path}.productimages TO {name}"
        )
        theirs = make_conninfo(ours, options=f"-csearch_path={path} -crole={name}")
        try:
            message = error_of_reading(theirs)
            assert "Received: no SELECT on Image, ProductDescription. Next: " in message
            connection.execute(f"SET search_path = {path}; {message.rpartition(' Next: ')[2].removesuffix('.')}")
            assert list(read_products(theirs)) == []
        finally:
            connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
def test_no_server(host: str) -> None:
    """The error shows the unreachable host and not the password."""
    message = error_of_reading(f"postgresql://ann:sesame@{host}:1/shop")
    assert "There is no connection to the catalogue (user=ann" in message
    assert f"host={host}" in message and "sesame" not in message


def test_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors distinguish a wrong password, a missing password and an unknown database."""
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with running_server(find_programs()) as server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE ROLE ann LOGIN PASSWORD 'open sesame'")
            connection.execute("CREATE TEMPORARY TABLE hba (line text)")
            connection.execute("INSERT INTO hba VALUES ('local all postgres trust'), ('local all all scram-sha-256')")
            connection.execute("DO $$ BEGIN EXECUTE format('COPY hba TO %L', current_setting('hba_file')); END $$")
            connection.execute("SELECT pg_reload_conf()")
        bare = make_conninfo(server, user="ann")
        # The server reads its new rules a moment later.
        message = wait_until(
            lambda: "password" in (error := error_of_reading(bare)) and error, "rules that require a password"
        )
        assert message
        assert "Received: connection failed" in message and "no password supplied" in message and "~/.pgpass" in message
        assert 'password authentication failed for user "ann"' in (
            message := error_of_reading(f"{bare} password=wrong")
        )
        assert "wrong" not in message
        assert 'database "nowhere" does not exist' in error_of_reading(make_conninfo(server, dbname="nowhere"))
        assert "no table Product" in error_of_reading(f"{bare} password='open sesame'")


@pytest.mark.parametrize(
    ("message", "step"),
    [
        ('no pg_hba.conf entry for host "10.0.0.1", user "ann", database "shop", no encryption', "sslmode=require"),
        ('no pg_hba.conf entry for host "10.0.0.1", user "ann", database "shop", SSL off', "sslmode=require"),
        ("SSL error: certificate verify failed", "sslrootcert=FILE"),
        ('root certificate file "/home/ann/.postgresql/root.crt" does not exist', "sslrootcert=FILE"),
        ("SSL error: unsupported protocol", "another sslmode"),
        ("Connection refused", "check host, port, user"),
    ],
)
def test_refused_ssl(message: str, step: str) -> None:
    """The next step names the setting of SSL that the server's message calls for."""
    assert _connection_refused(psycopg.OperationalError(message), "host=shop.example").next_step.startswith(step)


@pytest.mark.parametrize(
    "dsn",
    [
        "host=shop.example password=open sesame",
        "postgresql://ann:sesame@shop.example:port/catalogue",
        "postgresql://ann:open/sesame@shop.example/catalogue",
        "postgresql://ann:12/sesame@shop.example/catalogue",
        "postgresql://ann:open@sesame@shop.example/catalogue",
        "postgresql://ann:%zzsesame@shop.example/catalogue",
        "host=shop.example dbname=postgresql://ann:sesame@shop.example/catalogue",
        "host=shop.example password=sesame\udcff",
        "sesame",
    ],
)
def test_a_dsn_that_cannot_be_read(dsn: str) -> None:
    """The error contains no part of it, since any part may belong to the password."""
    message = error_of_reading(dsn)
    assert "The DSN cannot be read. Expected: postgresql://" in message
    assert "sesame" not in message + redact_dsn(dsn)
    assert "open" not in message


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ann:s%40s%2Fme@shop.example:6000/catalogue?sslmode=require&sslpassword=s%40s%2Fme",
        "host=shop.example port=6000 user=ann dbname=catalogue sslmode=require password=s@s/me sslpassword=s@s/me",
    ],
)
def test_a_redacted_dsn(dsn: str) -> None:
    """A redacted DSN has everything but the secrets, for a URI and for words, and is a valid DSN."""
    public = {"user": "ann", "host": "shop.example", "port": "6000", "dbname": "catalogue", "sslmode": "require"}
    assert parse_dsn(dsn) == {**public, "password": "s@s/me", "sslpassword": "s@s/me"}
    assert parse_dsn(redact_dsn(dsn)) == public


def test_a_password_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a redacted DSN nor an error contains PGPASSWORD."""
    monkeypatch.setenv("PGPASSWORD", "sesame")
    assert redact_dsn("host=shop.example") == "host=shop.example"
    with pytest.raises(LostConnectionError) as raised:
        list(read_products("host=127.0.0.1 port=1"))
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("timeout", "seconds", "milliseconds"),
    [(1.0, "2", "1s"), (1.5, "2", "1500ms"), (3.2, "4", "3200ms"), (60, "10", "1min")],
)
def test_a_session_ends_in_time(dsn: str, timeout: float, seconds: str, milliseconds: str) -> None:
    """The time-out bounds connecting and every statement; a host that is gone is noticed, and no plan is compiled."""
    with connected(dsn, timeout) as connection:
        parameters = connection.info.get_parameters()
        assert parameters["connect_timeout"] == seconds
        begin_transaction(connection, timeout, "READ ONLY")
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("statement_timeout", "jit")]
        assert shown == [(milliseconds,), ("off",)]
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)
    assert connection.closed
    keepalives = {name: parameters[f"keepalives_{name}"] for name in ("idle", "interval", "count")}
    assert keepalives == {"idle": "30", "interval": "10", "count": "3"}


def test_the_shortest_time_out_is_a_millisecond(dsn: str) -> None:
    """PostgreSQL would take 0 for no time-out."""
    with connected(dsn, 5.0) as connection:
        begin_transaction(connection, 0.0001)
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(3600)")


def test_a_dsn_decides_about_its_session(dsn: str) -> None:
    """Its name and time-outs win over ours; texts are read as UTF-8 whatever it says, and nothing is prepared."""
    with connected(
        make_conninfo(dsn, application_name="shop", connect_timeout=7, client_encoding="latin1")
    ) as connection:
        parameters = connection.info.get_parameters()
        assert (parameters["application_name"], parameters["connect_timeout"]) == ("shop", "7")
        assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)
        assert connection.autocommit and connection.prepare_threshold is None
        connection.execute("BEGIN; CREATE TEMPORARY TABLE half ()")
    with connected(dsn) as connection:
        assert connection.info.get_parameters()["application_name"] == "fashion"


@pytest.mark.parametrize(
    ("state", "kind", "headline"),
    [
        ("08006", LostConnectionError, "The connection to the catalogue broke"),
        ("57P01", LostConnectionError, "The connection to the catalogue broke"),
        ("57P03", LostConnectionError, "The connection to the catalogue broke"),
        ("40001", ConflictError, "Another transaction"),
        ("40P01", ConflictError, "Another transaction"),
        ("53100", CatalogueError, "The database server cannot do that"),
        ("54001", CatalogueError, "The database server cannot do that"),
        ("57014", CatalogueError, "The catalogue took too long"),
        ("55P03", CatalogueError, "The catalogue took too long"),
        ("42501", CatalogueError, "The database does not permit this user"),
        ("42P01", CatalogueError, "The database rejects the statement"),
        ("22021", CatalogueError, "A text is not UTF-8"),
        ("22P05", CatalogueError, "A text is not UTF-8"),
    ],
)
def test_what_may_succeed_with_another_connection(state: str, kind: type[CatalogueError], headline: str) -> None:
    """Lost connections and conflicts are retried; what the next connection would meet as well is not."""
    error = _to_catalogue_error(psycopg.errors.lookup(state)("the server's words"), "host=127.0.0.1 port=1", 5.0)
    assert type(error) is kind and error.headline.startswith(headline)
    assert "host=127.0.0.1 port=1" in error.headline and "the server's words" in error.received


def test_the_number_of_retries_is_bounded() -> None:
    """A call that fails for want of a connection is made once more for each retry; other errors are raised at once."""
    calls: list[int] = []

    def fail(kind: type[CatalogueError]) -> None:
        calls.append(1)
        raise kind("No.")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipeline.contract.retries.backoff_seconds", lambda failures: 0.0)
        for raised, retried, expected in (
            (LostConnectionError, LostConnectionError, 4),
            (ConflictError, LostConnectionError, 4),
            (LostConnectionError, ConflictError, 1),
            (CatalogueError, LostConnectionError, 1),
        ):
            calls.clear()
            with pytest.raises(raised):
                retry_lost_connection(partial(fail, raised), 3, retried)
            assert len(calls) == expected, (raised, retried)


def test_parameters_that_are_not_utf8(dsn: str) -> None:
    """A country in another encoding gives an error and no traceback."""
    with pytest.raises(CatalogueError, match="not UTF-8"):
        list(read_products(dsn, country="\udcff"))


def test_texts_that_are_not_utf8() -> None:
    """The error about a text without a valid encoding names the setting to check."""
    with running_server(find_programs()) as server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        ours = make_conninfo(server, dbname="bytes")
        with psycopg.connect(ours, client_encoding="latin1") as connection:
            connection.execute(CATALOGUE.statement)
            connection.execute("INSERT INTO Product VALUES (1, E'caf\\351')")
        assert "SHOW server_encoding" in error_of_reading(ours)
