"""The two forms of the catalogue query, and the indexes that decide which of them is fast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple

from psycopg import Connection

from sql.tables import CATALOGUE, read_script

_LITERALS: Final = {
    "ImageIndex = 0": "ImageIndex = %(image_index)s",
    "CountryCode = 'us'": "CountryCode = %(country)s",
}


def _with_parameters(script: str) -> str:
    """Returns the query of a script with psycopg's parameters for its literals, and without its semicolon."""
    statement = read_script(script).rstrip().removesuffix(";")
    for literal, parameter in _LITERALS.items():
        before, found, after = statement.partition(literal)
        assert found and literal not in after, f"{script} contains {literal} once"
        statement = before + parameter + after
    return statement


PRODUCTS: Final = _with_parameters("products.sql")
"""One row a product: id, title, url, description. Parameters in psycopg's style: `country` and `image_index`."""
PRODUCTS_SET_BASED: Final = _with_parameters("products_set_based.sql")
"""The same rows and parameters, without look-ups: sorts the whole tables before the first row."""


class Lookup(NamedTuple):
    """How `PRODUCTS` finds the rows of a table.

    Attributes:
        table: The table.
        key: The column with the id that it looks up.
        other: Another column that it compares, which may stand before the key in an index; empty where there is none.
    """

    table: str
    key: str
    other: str = ""


LOOKUPS: Final = (
    Lookup("Product", "Id"),
    Lookup("Image", "Id"),
    Lookup("ProductImages", "ProductId", "ImageIndex"),
    Lookup("ProductDescription", "ProductId", "CountryCode"),
)

# Complete and usable indexes, with their key columns in order; an expression has no name.
_INDEXES: Final = """
SELECT wanted.name, ARRAY(
    SELECT coalesce(attname::text, '') FROM unnest((indkey::int2[])[0:indnkeyatts - 1]) WITH ORDINALITY AS k (number, n)
    LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = k.number ORDER BY n
)
FROM unnest(%s::text[]) AS wanted (name)
JOIN pg_index ON indrelid = to_regclass(wanted.name)
JOIN pg_class ON pg_class.oid = indexrelid
JOIN pg_am ON pg_am.oid = relam
WHERE indisvalid AND indisready AND indpred IS NULL AND amname IN ('btree', 'hash')
"""
_VIEWS: Final = """
SELECT name FROM unnest(%s::text[]) AS wanted (name) JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE relkind NOT IN ('r', 'p', 'm')
"""


def choose_query(connection: Connection[Any]) -> str:
    """Returns `PRODUCTS` where every look-up has an index, and `PRODUCTS_SET_BASED` otherwise.

    Without an index, a look-up reads its whole table for each product, so the time grows with the square of the number
    of products. Which indexes a view uses is unknown, so a view counts as a table without indexes.
    """
    return PRODUCTS_SET_BASED if _without_index(connection) else PRODUCTS


def missing_indexes(connection: Connection[Any]) -> list[str]:
    """Returns the statements that create the indexes that `PRODUCTS` lacks; a view needs none, as it can have none."""
    names = [lookup.table for lookup in LOOKUPS]
    views = {name for (name,) in connection.execute(_VIEWS, [names])}
    created = dict(
        reversed(match) for match in re.findall(r"^(CREATE INDEX .* ON (\w+) .*;)$", CATALOGUE.statement, re.MULTILINE)
    )
    return [
        created.get(lookup.table, f"CREATE INDEX ON {lookup.table} ({lookup.key});")
        for lookup in _without_index(connection)
        if lookup.table not in views
    ]


def _without_index(connection: Connection[Any]) -> list[Lookup]:
    found: dict[str, list[list[str]]] = {}
    for table, columns in connection.execute(_INDEXES, [[lookup.table for lookup in LOOKUPS]]):
        found.setdefault(table, []).append(columns)
    return [
        lookup for lookup in LOOKUPS if not any(_serves(columns, lookup) for columns in found.get(lookup.table, []))
    ]


def _serves(columns: Sequence[str], lookup: Lookup) -> bool:
    """Whether an index with these key columns finds the rows of a product: the key leads, or follows the other."""
    key, other = lookup.key.lower(), lookup.other.lower()
    before = list(takewhile(lambda column: column != key, columns))
    return key in columns and before in ([], [other])
