"""The tables that the catalogue needs: the scripts that create them, their columns, and a check of a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from sql.connection import CatalogueError

# The types that the drivers read and write as int, str, float, bool and datetime.
WHOLE: Final = "int8 int4 int2"
TEXT: Final = "text varchar bpchar name"


@dataclass(frozen=True)
class Tables:
    """Tables that one script creates.

    Attributes:
        script: The file that creates them, relative to the project's root.
        columns: By table and column, the types that can be read, separated by spaces. A view with these columns does
            as well.
    """

    script: str
    columns: Mapping[str, Mapping[str, str]]

    @property
    def statement(self) -> str:
        """The text of the script."""
        return read_script(Path(self.script).name)


def read_script(name: str) -> str:
    """Returns the text of one of the `.sql` files in this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


CATALOGUE: Final = Tables(
    "sql/schema.sql",
    {
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
    },
)
"""What `sql/products.sql` reads."""

GARMENTS: Final = Tables("sql/garments.sql", {"ProductGarment": {"ProductId": WHOLE, "Garment": TEXT}})
"""Which garment a product is: the label for training."""

CLASSIFICATION: Final = Tables(
    "sql/classification.sql",
    {
        "product_classification": {
            "product_id": WHOLE,
            "model_version": TEXT,
            "product_group": TEXT,
            "confidence": "float8",
            "abstain": "bool",
            "failure": TEXT,
            "scored_at": "timestamptz",
            "fingerprint": TEXT,
            "image_content": TEXT,
        }
    },
)
"""The model's predictions. The script creates this table, and a view of the products for review, when missing."""

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


def check_tables(connection: psycopg.Connection[Any], tables: Tables) -> None:
    """Checks that a database has the tables.

    Raises:
        CatalogueError: Tables or columns are missing, or of a type that cannot be read; it names all of them.
    """
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in connection.execute(_COLUMNS, [list(tables.columns)]):
        found.setdefault(table, {})[column] = type_name
    faults = [
        fault for table, columns in tables.columns.items() for fault in _column_faults(table, columns, found.get(table))
    ]
    if missing := [table for table in tables.columns if table not in found]:
        quoted = [name for (name,) in connection.execute(_QUOTED, [missing])]
        faults += [f'"{name}" exists under a quoted name and needs a view without quotes' for name in quoted]
    if faults:
        repair = f"create them (psql -f {tables.script})" if missing else f"change them to match {tables.script}"
        raise CatalogueError(
            "The database lacks tables or columns.",
            expected=f"the tables and columns of {tables.script}, or views like them, on this user's search path",
            received="; ".join(faults),
            next_step=f"{repair}, or set search_path or the database to where they are",
        )


def lockable_tables(connection: psycopg.Connection[Any], tables: Tables) -> list[str]:
    """Returns which of the tables can be locked against being emptied or rewritten."""
    return [name for (name,) in connection.execute(_LOCKABLE, [list(tables.columns)])]


def _column_faults(table: str, needed: Mapping[str, str], found: Mapping[str, str] | None) -> list[str]:
    if found is None:
        return [f"no table {table}"]
    faults = []
    for column, types in needed.items():
        received = found.get(column.lower())
        if received is None:
            faults.append(f"no column {table}.{column}")
        elif received not in types.split():
            faults.append(f"{table}.{column} has type {received}, not {types.split()[0]}")
    return faults
