"""What a DSN says, and what of it may be shown: all but its secrets."""

from __future__ import annotations

from typing import Final

from psycopg import ProgrammingError, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sql.catalogue_error import CatalogueError

SECRET: Final = (b"*", b"D")
"""How libpq marks what a program must not display."""


def parse(dsn: str) -> dict[str, str]:
    """Returns the parameters of a DSN by their libpq names.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...". What it leaves out comes from the environment
            (PGHOST, PGUSER, ~/.pgpass and so on) as with psql.

    Raises:
        CatalogueError: It is no DSN. The message does not repeat it, as it may hold a password.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except (ProgrammingError, UnicodeError):
        # Without its cause: libpq quotes the part that it stumbled over.
        raise _unreadable("something else") from None
    if "://" in given.get("dbname", ""):
        # libpq would read it as another DSN.
        raise _unreadable("a URI in place of the database's name")
    if _torn(dsn, given):
        raise _unreadable("a URI that ends up with parts of a user or password in its host, port or database")
    return given


def redact(dsn: str) -> str:
    """Returns a DSN without its secrets, as "host=... user=...", for messages and records."""
    shown = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar not in SECRET}
    try:
        return make_conninfo("", **{name: value for name, value in parse(dsn).items() if name in shown})
    except CatalogueError:
        return "(a DSN that cannot be read)"


def _torn(dsn: str, given: dict[str, str]) -> bool:
    """Whether a URI is cut in the wrong places, as one with @ or / in its password is: libpq would quote the pieces."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        return False
    ports = given.get("port", "").split(",")
    return "@" in given.get("host", "") + given.get("dbname", "") or not all(p.isdigit() for p in ports if p)


def _unreadable(received: str) -> CatalogueError:
    return CatalogueError(
        "The DSN cannot be read.",
        expected="postgresql://user@host/database or host=... dbname=... user=...",
        received=f"{received} (not repeated here: it may hold a password)",
        next_step="write @ / : # % in a password as %40 %2F %3A %23 %25, or leave it to PGPASSWORD or ~/.pgpass",
    )
