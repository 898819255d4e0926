"""The tables that the catalogue needs: the scripts that create them, their columns, and a check of a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from sql.connection import CatalogueError

# The types that the drivers read and write as int, str, float, bool and datetime.
WHOLE: Final = "int8 int4 int2"
TEXT: Final = "text varchar bpchar name"
KEY: Final = "int8 int4 int2 text varchar uuid"
KEY_TYPES: Final = {
    "int8": "bigint", "int4": "bigint", "int2": "bigint", "text": "text", "varchar": "text", "uuid": "uuid"
}  # fmt: skip
"""The type of `product_classification.product_id` by the type of `Product.Id`; only equal ones can be compared."""


@dataclass(frozen=True)
class Tables:
    """Tables that one script creates.

    Attributes:
        script: The file that creates them, relative to the project's root.
        columns: By table and column, the types that can be read, separated by spaces. A view with these columns does
            as well.
        references: The columns with ids of another table, and the columns that they refer to.
    """

    script: str
    columns: Mapping[str, Mapping[str, str]]
    references: Mapping[str, str]

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
        "Product": {"Id": KEY, "Title": TEXT},
        "Image": {"Id": KEY, "Url": TEXT},
        "ProductImages": {"ProductId": KEY, "ImageId": KEY, "ImageIndex": WHOLE},
        "ProductDescription": {
            "Id": KEY,
            "ProductId": KEY,
            "CountryCode": TEXT,
            "OriginalText": TEXT,
            "TranslatedText": TEXT,
        },
    },
    {
        "ProductImages.ProductId": "Product.Id",
        "ProductImages.ImageId": "Image.Id",
        "ProductDescription.ProductId": "Product.Id",
    },
)
"""What `sql/products.sql` reads."""

GARMENTS: Final = Tables(
    "sql/garments.sql",
    {"ProductGarment": {"ProductId": KEY, "Garment": TEXT}},
    {"ProductGarment.ProductId": "Product.Id"},
)
"""Which garment a product is: the label for training."""

CLASSIFICATION: Final = Tables(
    "sql/classification.sql",
    {
        "product_classification": {
            "product_id": KEY,
            "model_version": TEXT,
            "product_group": TEXT,
            "confidence": "float8",
            "abstain": "bool",
            "failure": TEXT,
            "scored_at": "timestamptz",
            "fingerprint": TEXT,
            "image_content": TEXT,
            "url": TEXT,
        }
    },
    {"product_classification.product_id": "Product.Id"},
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
# Tables of that name that the search path does not reach: in another schema, or with capital letters.
_ELSEWHERE: Final = """
SELECT wanted.name, quote_ident(nspname), quote_ident(relname), relname <> lower(relname),
       nspname = ANY (current_schemas(false)), has_schema_privilege(pg_namespace.oid, 'USAGE'),
       ARRAY(SELECT format('%%I AS %%I', attname, lower(attname)) FROM pg_attribute
             WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, position)
JOIN pg_class ON lower(relname) = lower(wanted.name) AND relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_namespace ON pg_namespace.oid = relnamespace
ORDER BY position, 5 DESC, nspname, relname LIMIT 20
"""
# Tables, partitioned ones and views; a materialized view cannot be locked, and changes as a whole.
_LOCKABLE: Final = """
SELECT name FROM unnest(%s::text[]) AS wanted (name) JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE relkind IN ('r', 'p', 'v')
"""
_NOT_READABLE: Final = """
SELECT name FROM unnest(%s::text[]) AS wanted (name) WHERE NOT has_table_privilege(to_regclass(name), 'SELECT')
"""


def check_tables(connection: psycopg.Connection[Any], tables: Tables) -> None:
    """Checks that a database has the tables, and that the user may read them.

    Raises:
        CatalogueError: Tables or columns are missing, or of a type that cannot be read, or the user lacks rights; it
            names all of them.
    """
    found = _find_columns(connection, tables)
    faults = [
        fault for table, columns in tables.columns.items() for fault in _column_faults(table, columns, found.get(table))
    ]
    faults += [] if faults else _reference_faults(tables, found)
    if faults:
        missing = [table for table in tables.columns if table not in found]
        elsewhere, next_step = _look_elsewhere(connection, missing)
        repair = f"create them (psql -f {tables.script})" if missing else f"change them to match {tables.script}"
        raise CatalogueError(
            "The database lacks tables or columns.",
            expected=f"the tables and columns of {tables.script}, or views like them, on this user's search path",
            received="; ".join(faults + elsewhere),
            next_step=next_step or f"{repair}, or set search_path or the database to where they are",
        )
    if closed := not_readable(connection, tables):
        raise CatalogueError(
            "This user may not read the catalogue.",
            expected=f"SELECT on {', '.join(tables.columns)}",
            received=f"no SELECT on {', '.join(closed)}",
            next_step=f"GRANT SELECT ON {', '.join(closed)} TO {current_user(connection)}",
        )


def not_readable(connection: psycopg.Connection[Any], tables: Tables) -> list[str]:
    """Returns which of the tables the user may not read."""
    return [name for (name,) in connection.execute(_NOT_READABLE, [list(tables.columns)])]


def current_user(connection: psycopg.Connection[Any]) -> str:
    """Returns the name of the user, quoted where SQL requires it."""
    [(name,)] = connection.execute("SELECT quote_ident(current_user)").fetchall()
    return str(name)


def key_type(connection: psycopg.Connection[Any]) -> str:
    """Returns the type for a column with the ids of products: bigint, text or uuid."""
    return KEY_TYPES[_find_columns(connection, CATALOGUE)["Product"]["id"]]


def lockable_tables(connection: psycopg.Connection[Any], tables: Tables) -> list[str]:
    """Returns which of the tables can be locked against being emptied or rewritten."""
    return [name for (name,) in connection.execute(_LOCKABLE, [list(tables.columns)])]


def _find_columns(connection: psycopg.Connection[Any], tables: Tables) -> dict[str, dict[str, str]]:
    """Returns the types of the columns, by table and column in lower case, of the tables and those they refer to."""
    names = dict.fromkeys([*tables.columns, *(column.partition(".")[0] for column in tables.references.values())])
    found: dict[str, dict[str, str]] = {}
    for table, column, type_name in connection.execute(_COLUMNS, [list(names)]):
        found.setdefault(table, {})[column] = type_name
    return found


def _column_faults(table: str, needed: Mapping[str, str], found: Mapping[str, str] | None) -> list[str]:
    if found is None:
        return [f"no table {table}"]
    faults = []
    for column, types in needed.items():
        received = found.get(column.lower())
        if received is None:
            faults.append(f"no column {table}.{column}")
        elif received not in types.split():
            alternatives = (
                " or ".join(sorted({KEY_TYPES[t] for t in types.split()})) if types == KEY else types.split()[0]
            )
            faults.append(f"{table}.{column} has type {received}, not {alternatives}")
    return faults


def _reference_faults(tables: Tables, found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Returns the ids that PostgreSQL could not compare with the ids that they refer to."""
    faults = []
    for reference, target in tables.references.items():
        ours, theirs = (
            found.get(table, {}).get(column.lower(), "")
            for table, column in (name.split(".") for name in (reference, target))
        )
        if theirs and KEY_TYPES.get(ours) != KEY_TYPES.get(theirs):
            faults.append(f"{reference} has type {ours}, but {target} has type {theirs}")
    return faults


class _Namesake(NamedTuple):
    """A table that the search path does not reach, with the name of a wanted one."""

    wanted: str
    schema: str
    table: str
    quoted: bool
    on_path: bool
    may_use: bool
    columns: list[str]


def _look_elsewhere(connection: psycopg.Connection[Any], missing: list[str]) -> tuple[list[str], str]:
    """Returns where else tables of these names exist, and the next step that makes them readable."""
    found = [_Namesake(*row) for row in connection.execute(_ELSEWHERE, [missing])]
    places = [
        f"{each.schema}.{each.table} exists" + ("" if each.may_use else ", but this user lacks USAGE on its schema")
        for each in found
    ]
    unquoted = [] if any(each.quoted and each.on_path for each in found) else [e for e in found if not e.quoted]
    if not unquoted:
        first = {each.wanted: each for each in reversed(found) if each.quoted}
        views = [
            f"CREATE VIEW {name.lower()} AS SELECT {', '.join(each.columns)} FROM {each.schema}.{each.table};"
            for name, each in first.items()
        ]
        return places, " ".join(reversed(views))
    path = ",".join(dict.fromkeys(each.schema for each in unquoted))
    user, closed = current_user(connection), sorted({each.schema for each in unquoted if not each.may_use})
    grants = "".join(f"GRANT USAGE ON SCHEMA {schema} TO {user}; " for schema in closed)
    return places, f"{grants}options='-csearch_path={path}' in the DSN, or ALTER ROLE {user} SET search_path = {path}"
