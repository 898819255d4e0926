"""A connection that never waits for ever, and whose errors say what to do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

from sql.catalogue_error import CatalogueError, LostConnectionError
from sql.dsn import parse, redact

TIMEOUT: Final = 60.0
"""Seconds that the server may take for one request, where nothing else is said."""
RETRIES: Final = 5
"""How often a lost connection is made again before it is given up, counted anew whenever something got through."""
Answer = TypeVar("Answer")
# For a host that is gone. One that is there and says nothing is noticed by `_Connection.wait`.
PATIENCE: Final = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# The server gives up first if it is alive: its own words are better than our silence.
GRACE: Final = 1.0


@contextmanager
def connected(dsn: str, timeout: float = TIMEOUT) -> Iterator[psycopg.Connection[Any]]:
    """Yields a connection in autocommit mode, and closes it; what fails on it is raised as a CatalogueError.

    Args:
        dsn: What libpq reads.
        timeout: Seconds that the server may take for one statement, and a little more that it may be silent.

    Raises:
        LostConnectionError: There is no connection, it broke, or the server fell silent.
        CatalogueError: Anything else that the server refuses.
    """
    # Two seconds are the least that libpq takes.
    patience = PATIENCE | {"connect_timeout": str(min(10, max(2, math.ceil(timeout))))}
    given = patience | {"application_name": "fashion"} | parse(dsn) | {"client_encoding": "utf8"}
    try:
        connection = _Connection.connect(**given, autocommit=True)  # type: ignore[arg-type]
    except (psycopg.Error, UnicodeError) as error:
        # Without its cause, here and below: psycopg's exceptions hold all of the connection, the password too.
        raise _unreachable(error, dsn) from None
    connection.patience = timeout + GRACE
    try:
        yield connection
    except psycopg.Error as error:
        raise _told(error, dsn, timeout) from None
    except UnicodeError as error:
        raise _not_utf8(dsn, str(error)) from None
    finally:
        connection.close()


def begin(connection: psycopg.Connection[Any], timeout: float, characteristics: str = "") -> None:
    """Begins a transaction whose statements may take so many seconds each."""
    # The planner thinks the catalogue's statements expensive enough to be compiled; the first row would wait for that.
    settings = f"SET LOCAL jit = off; SET LOCAL statement_timeout = {max(1, round(timeout * 1000))}"
    connection.execute(f"BEGIN {characteristics}; {settings}")


def retried(attempt: Callable[[], Answer], retries: int = RETRIES) -> Answer:
    """Returns what an attempt returns, which is made again where its connection is lost."""
    for number in range(retries):
        try:
            return attempt()
        except LostConnectionError:
            pause(number)
    return attempt()


def pause(number: int) -> None:
    """Waits before the next connection: 0.1 s at number 0, twice as long each time, 5 s at most."""
    time.sleep(min(0.1 * 2**number, 5.0))


class _Connection(psycopg.Connection[Any]):
    """A connection on which nothing takes longer than its patience.

    TCP notices a host that is gone, and the server its own slow statements. Neither notices a server that is stopped or
    a proxy that no longer forwards: its kernel goes on to acknowledge what we send.
    """

    patience: float | None = None

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except errors._WaitTimeout:
            # Closed before anybody sends a ROLLBACK, and waits for its answer.
            self.close()
            raise


def _unreachable(error: Exception, dsn: str) -> LostConnectionError:
    connection = error.pgconn if isinstance(error, psycopg.Error) else None
    wanting = connection is not None and connection.needs_password
    return LostConnectionError(
        f"There is no connection to the catalogue ({redact(dsn)}).",
        expected="a PostgreSQL that lets this user in",
        received=_said(error),
        next_step="give the password in PGPASSWORD or ~/.pgpass"
        if wanting
        else "check host, port, user, password and database; psql takes the same DSN",
    )


def _told(error: psycopg.Error, dsn: str, timeout: float) -> CatalogueError:
    place, said = redact(dsn), _said(error)
    match error:
        case errors.QueryCanceled() | errors.LockNotAvailable():
            return CatalogueError(
                f"The catalogue took too long ({place}).",
                expected=f"every answer within {timeout:g} s",
                received=said,
                next_step="a longer timeout; or see what holds it up in pg_stat_activity and pg_locks",
            )
        case errors._WaitTimeout():
            return LostConnectionError(
                f"The catalogue has fallen silent ({place}).",
                expected=f"an answer within {timeout:g} s",
                received="none, on a connection that is open",
                next_step="see whether the server, or a proxy before it, is alive; or a longer timeout",
            )
        case errors.CharacterNotInRepertoire() | errors.UntranslatableCharacter():
            return _not_utf8(dsn, said)
        case errors.InsufficientPrivilege():
            return CatalogueError(
                f"The database does not let this user do that ({place}).",
                expected="SELECT on Product, Image, ProductImages and ProductDescription, and on ProductGarment where "
                "it is learnt from",
                received=said,
                next_step="GRANT it, or take another user",
            )
        case _ if _lost(error):
            return LostConnectionError(
                f"The connection to the catalogue broke ({place}).",
                expected="a connection until the end",
                received=said,
                next_step="the same again, when the server is well",
            )
        case psycopg.OperationalError():
            return CatalogueError(
                f"The database server cannot do that ({place}).",
                expected="a server with room and leave for it",
                received=said,
                next_step="see what its log says of it",
            )
    return CatalogueError(
        f"The database refuses ({place}).",
        expected="a catalogue like sql/schema.sql",
        received=said,
        next_step="compare it with sql/schema.sql",
    )


def _lost(error: psycopg.Error) -> bool:
    """Whether the same may go well on another connection: this one is gone, or its transaction was in another's way.

    A full disk or a statement that is too complex is an OperationalError too, and the next connection would meet it.
    """
    if error.diag.severity_nonlocalized == "FATAL":
        return True
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate[:2] in ("08", "40") or error.sqlstate[:3] == "57P"
    )


def _not_utf8(dsn: str, received: str) -> CatalogueError:
    return CatalogueError(
        f"A text is no UTF-8 and cannot be made into it ({redact(dsn)}).",
        expected="texts in the encoding that the database says it has, and words to ask for in UTF-8",
        received=received,
        next_step="SHOW server_encoding; where it is SQL_ASCII, the texts that are not UTF-8 are to be converted",
    )


def _said(error: Exception) -> str:
    """The server's words on one line, or else the driver's."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((said or str(error) or type(error).__name__).split()).rstrip(".?")
