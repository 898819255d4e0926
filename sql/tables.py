"""Which tables and columns we need of a database, and which of them it lacks."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from sql.catalogue_error import CatalogueError

Columns = dict[str, dict[str, str]]

# The types that the drivers give and take as int, str, float, bool and datetime.
WHOLE: Final = "int8 int4 int2"
TEXT: Final = "text varchar bpchar name"

CATALOGUE: Final[Columns] = {
    "Product": {"Id": WHOLE, "Title": TEXT},
    "Image": {"Id": WHOLE, "Url": TEXT},
    "ProductImages": {"ProductId": WHOLE, "ImageId": WHOLE, "ImageIndex": WHOLE},
    "ProductDescription": {
        "Id": WHOLE,
        "ProductId": WHOLE,
        "CountryCode": TEXT,
        "OriginalText": TEXT,
        "TranslatedText": TEXT,
    },
}
"""What `sql/products.sql` reads; tables or views, of these names on the search path."""

# Domains may be over domains.
_COLUMNS: Final = """
WITH RECURSIVE typed (name, attname, oid) AS (
    SELECT wanted.name, attname, atttypid
    FROM unnest(%s::text[]) AS wanted (name)
    LEFT JOIN pg_attribute ON attrelid = to_regclass(wanted.name) AND attnum > 0 AND NOT attisdropped
    WHERE to_regclass(wanted.name) IS NOT NULL
    UNION ALL
    SELECT name, attname, typbasetype FROM typed JOIN pg_type USING (oid) WHERE typbasetype <> 0
)
SELECT name, attname, typname FROM typed LEFT JOIN pg_type USING (oid) WHERE coalesce(typbasetype, 0) = 0
"""
_QUOTED: Final = "SELECT name FROM unnest(%s::text[]) AS wanted (name) WHERE to_regclass(quote_ident(name)) IS NOT NULL"
# Tables, partitioned ones and views; a materialized view cannot be locked, and changes as a whole.
_LOCKABLE: Final = """
SELECT name FROM unnest(%s::text[]) AS wanted (name) JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE relkind IN ('r', 'p', 'v')
"""


def check(connection: psycopg.Connection[Any], needed: Columns, made_by: str) -> None:
    """Raises a CatalogueError that names every table and column that is missing or of a type we cannot read.

    Args:
        connection: To the database.
        needed: The allowed types by column by table.
        made_by: The file that makes them, for the message.
    """
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in connection.execute(_COLUMNS, [list(needed)]):
        found.setdefault(table, {})[column] = type_name
    faults = [fault for table, columns in needed.items() for fault in _faults(table, columns, found.get(table))]
    if missing := [table for table in needed if table not in found]:
        quoted = [name for (name,) in connection.execute(_QUOTED, [missing])]
        faults += [f'"{name}" is there, with a name in quotes, which needs a view without' for name in quoted]
    if faults:
        raise CatalogueError(
            "The database lacks what is needed.",
            expected=f"the tables and columns of {made_by}, or views like them, on this user's search path",
            received="; ".join(faults),
            next_step=f"{_mend(made_by, missing)}, or set search_path or the database to where they are",
        )


def _mend(made_by: str, missing: list[str]) -> str:
    return f"make them (psql -f {made_by})" if missing else f"bring them into the form of {made_by}"


def lockable(connection: psycopg.Connection[Any], needed: Columns) -> list[str]:
    """Returns which of the tables can be locked against being emptied or rewritten."""
    return [name for (name,) in connection.execute(_LOCKABLE, [list(needed)])]


def _faults(table: str, needed: dict[str, str], found: dict[str, str] | None) -> list[str]:
    if found is None:
        return [f"no table {table}"]
    faults = []
    for column, types in needed.items():
        received = found.get(column.lower())
        if received is None:
            faults.append(f"no column {table}.{column}")
        elif received not in types.split():
            faults.append(f"{table}.{column} of type {received}, not {types.split()[0]}")
    return faults
