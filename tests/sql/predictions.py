"""Predictions for tests of the write-back: made for products, and read from the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql as composed

from sql.extract import Product
from sql.write_back import Classification, fingerprint, read_pending

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def answer(product: Product, **changes: Any) -> Classification:
    """A prediction for a product."""
    row = Classification(product.id, "1", "Upper part", 0.75, False, None, NOON, fingerprint(product), None)
    return row._replace(**changes)


def failed(product: Product, reason: str = "404") -> Classification:
    """A failure for a product."""
    return answer(product, product_group=None, confidence=None, failure=reason)


def waiting(dsn: str, version: str = "1", **options: Any) -> list[Product]:
    """All pending products."""
    return [product for products in read_pending(dsn, version, **options) for product in products]


def stored(dsn: str) -> list[Classification]:
    """The table's rows by id."""
    names = composed.SQL(", ").join(map(composed.Identifier, Classification._fields))
    with psycopg.connect(dsn, options=f"{options(dsn)} -ctimezone=UTC") as connection:
        found = connection.execute(composed.SQL("SELECT {} FROM product_classification ORDER BY 1").format(names))
        return [Classification(*row) for row in found]


def options(dsn: str) -> str:
    """The options of a DSN, for adding others."""
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["options"])
