"""What a reader should know before it reads a catalogue: missing indexes, and parameters that match nothing."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection

from sql.connection import TIMEOUT, begin_transaction, connected
from sql.indexes import missing_indexes
from sql.tables import CATALOGUE, check_tables

MOST_LISTED: Final = 10
_COUNTRIES: Final = "SELECT CountryCode FROM ProductDescription GROUP BY 1 ORDER BY count(*) DESC, 1"
_INDEXES: Final = "SELECT ImageIndex FROM ProductImages GROUP BY 1 ORDER BY count(*) DESC, 1"


def inspect(dsn: str, *, country: str, image_index: int, timeout: float = TIMEOUT) -> list[str]:
    """Returns warnings, one sentence or more each; none for a catalogue and parameters that fit.

    Args:
        dsn: What libpq reads.
        country: The country whose texts are going to be read.
        image_index: The index of the images that are going to be read.
        timeout: Seconds that the server may take for a statement.

    Raises:
        CatalogueError: The catalogue cannot be read.
        LostConnectionError: There is no connection, or it broke.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, CATALOGUE)
        statements = missing_indexes(connection)
        begin_transaction(connection, timeout, "READ ONLY")
        warnings = [
            *_unmatched(
                connection, "No text is for the country {}.", "ProductDescription.CountryCode", country, _COUNTRIES
            ),
            *_unmatched(connection, "No image has the index {}.", "ProductImages.ImageIndex", image_index, _INDEXES),
        ]
    if statements:
        warnings.append(
            "The tables lack indexes, so the set-based form of the query reads and sorts whole tables before the first "
            f"row. To avoid that:\n  {chr(10).join(statements).replace(chr(10), chr(10) + '  ')}"
        )
    return warnings


def _unmatched(connection: Connection[Any], sentence: str, name: str, value: object, statement: str) -> list[str]:
    """Returns a sentence with the values that exist, where there are rows and none has the value."""
    table, column = name.split(".")
    if connection.execute(f"SELECT FROM {table} WHERE {column} = %s LIMIT 1", [value]).rowcount:
        return []
    found = [str(row[0]) for row in connection.execute(f"{statement} LIMIT {MOST_LISTED + 1}")]
    if not found:
        return []
    listed = ", ".join(found[:MOST_LISTED]) + (", ..." if len(found) > MOST_LISTED else "")
    return [f"{sentence.format(value)} {name} has: {listed}"]
