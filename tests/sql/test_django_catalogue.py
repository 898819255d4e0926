"""Tests of sql.django_catalogue: statements, models and settings; test_products compares the rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from sql.connection import CatalogueError
from sql.django_catalogue import _database
from tests.conftest import ROOT
from tests.sql.catalogue import Row
from tests.sql.edge_cases import EDGE_CASES, edge_case_catalogue

COLUMNS = Row._fields

ALONE = """
import sys
from sql.django_catalogue import configure

configure(sys.argv[1])
from sql.django_catalogue.models import Product

print(Product.objects.for_listing().count())
"""


@pytest.fixture
def product(database: Any) -> Any:
    """The model over the edge cases."""
    from sql.django_catalogue.models import Product

    edge_case_catalogue().insert(database)
    return Product


def test_one_statement_for_all_rows(product: Any) -> None:
    """One statement returns titles, URLs and descriptions of all products."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        rows = [Row(p.id, p.title, p.url, p.description) for p in product.objects.for_listing()]
    assert len(captured) == 1
    assert len(rows) == len(EDGE_CASES)


def test_one_statement_for_the_iterator(product: Any) -> None:
    """`iterator` returns the same rows through one server-side cursor."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        listed = product.objects.for_listing().iterator(chunk_size=7)
        rows = [Row(p.id, p.title, p.url, p.description) for p in listed]
    assert rows == edge_case_catalogue().listing()
    assert len(captured) == 1


def test_it_stays_a_queryset(product: Any) -> None:
    """Filters, slices and values work on the listing, for example to continue after a key."""
    listing = product.objects.for_listing()
    rows = edge_case_catalogue().listing()
    assert list(listing.filter(id__gt=3)[:5].values_list(*COLUMNS)) == rows[4:9]
    assert listing.get(id=2).url is None
    assert listing.filter(url=None, description=None).count() == 1


def test_models_have_the_columns_of_the_schema(product: Any) -> None:
    """Each model has the table's columns, with equal names, types and nullability."""
    from django.apps import apps
    from django.db import connection

    for model in apps.get_app_config("django_catalogue").get_models():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname, format_type(atttypid, NULL), attnotnull FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0",
                [model._meta.db_table],
            )
            in_database = set(cursor.fetchall())
        assert {(f.column, f.db_type(connection), not f.null) for f in model._meta.concrete_fields} == in_database


def test_without_a_project(dsn: str) -> None:
    """A script without a Django project only needs `configure`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, dsn], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_settings_from_a_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings contain every part of a DSN; a missing database name is resolved as psql does."""
    settings = _database("postgresql://ann:s%40crt@shop.example:6000/catalogue?sslmode=require&connect_timeout=3")
    assert settings["NAME"] == "catalogue"
    assert settings["OPTIONS"] == {
        "user": "ann",
        "password": "s@crt",
        "host": "shop.example",
        "port": "6000",
        "sslmode": "require",
        "connect_timeout": "3",
    }
    monkeypatch.delenv("PGDATABASE", raising=False)
    assert _database("host=shop.example user=ann")["NAME"] == "ann"
    monkeypatch.setenv("PGDATABASE", "shop")
    assert _database("host=shop.example user=ann")["NAME"] == "shop"


def test_a_service_names_the_database(dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service's database takes precedence over the user's name."""
    words = "\n".join(f"{name}={value}" for name, value in conninfo_to_dict(dsn).items())
    (tmp_path / "services").write_text(f"[shop]\n{words}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGDATABASE", "another")
    command = [sys.executable, "-W", "error", "-c", ALONE, "service=shop"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert _database("service=shop dbname=mine")["NAME"] == "mine"


def test_a_password_is_never_repeated() -> None:
    """The error contains neither an unreadable DSN nor the parser's message, which quotes from it."""
    with pytest.raises(CatalogueError, match="cannot be read.\nExpected: ") as raised:
        _database("host=shop.example password=open sesame")
    assert "sesame" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
