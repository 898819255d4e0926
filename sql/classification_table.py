"""The table of the answers: made where it is not there, and what must be true of it before anything is scored."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from sql.catalogue_error import CatalogueError
from sql.connection import TIMEOUT, begin, connected
from sql.statements import CLASSIFICATION
from sql.tables import CATALOGUE, TEXT, WHOLE, Columns, check

MADE_BY: Final = "sql/classification.sql"
COLUMNS: Final[Columns] = {
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
}
_THERE: Final = "SELECT to_regclass('product_classification'), to_regclass('product_to_review')"
_KEYED: Final = """
SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
WHERE indrelid = to_regclass('product_classification') AND attname = 'product_id'
  AND indisunique AND indimmediate AND indnkeyatts = 1 AND indpred IS NULL
"""
_KEY: Final = """
SELECT quote_ident(conname) FROM pg_constraint
WHERE conrelid = to_regclass('product_classification') AND contype = 'p'
"""
_LACKING: Final = """
SELECT kind || ' on product_classification' FROM unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kind
WHERE NOT has_table_privilege('product_classification', kind)
UNION ALL
SELECT 'TEMPORARY on the database' WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
"""


def prepare(dsn: str, *, timeout: float = TIMEOUT) -> None:
    """Makes the table and the view of `sql/classification.sql` where they are not there yet.

    Raises:
        CatalogueError: There is no catalogue, there is another table of that name, or the user may not make one.
    """
    with connected(dsn, timeout) as connection:
        check(connection, CATALOGUE, "sql/schema.sql")
        if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
            raise CatalogueError(
                "This server does not write.",
                expected="one that takes answers: no replica, and default_transaction_read_only off",
                received="transaction_read_only = on",
                next_step="the same with the DSN of the primary server",
            )
        # Not where they are there: whoever may write to the table need not own it.
        table, view = connection.execute(_THERE).fetchone() or (None, None)
        if table:
            check(connection, COLUMNS, MADE_BY)
        if not (table and view):
            _make(connection, timeout)
        if not connection.execute(_KEYED).rowcount:
            (instead,) = connection.execute(_KEY).fetchone() or ("",)
            raise CatalogueError(
                "A product may have two answers in product_classification.",
                expected=f"product_id as its key, as in {MADE_BY}",
                received="no unique index of it that is checked at once",
                next_step=f"ALTER TABLE product_classification {instead and f'DROP CONSTRAINT {instead}, '}"
                "ADD PRIMARY KEY (product_id)",
            )
        if lacking := [right for (right,) in connection.execute(_LACKING)]:
            raise CatalogueError(
                "This user may not write answers back.",
                expected="SELECT, INSERT, UPDATE and DELETE on product_classification, and temporary tables",
                received=f"no {', no '.join(lacking)}",
                next_step=f"GRANT {lacking[0]} TO the user",
            )


def _make(connection: Connection[Any], timeout: float) -> None:
    begin(connection, timeout)
    try:
        # Others may be about to make them too, and IF NOT EXISTS does not wait for these.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('product_classification'))")
        connection.execute(CLASSIFICATION)
        connection.execute("COMMIT")
    except InsufficientPrivilege as error:
        raise CatalogueError(
            "This user may not make the table of the answers.",
            expected=f"{MADE_BY} run by the owner of the schema, or CREATE on it",
            received=str(error.diag.message_primary),
            next_step=f"psql -f {MADE_BY}, as the owner; then GRANT this user to write to product_classification",
        ) from None
