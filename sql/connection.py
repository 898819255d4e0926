"""Connections to the catalogue's PostgreSQL: DSNs without secrets, time-outs, retries, and errors for users."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import ProgrammingError, errors, pq
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.contract.errors import UserError
from pipeline.contract.retries import call_with_retries

TIMEOUT: Final = 60.0
"""The default limit in seconds for one request to the server."""
RETRIES: Final = 5
"""How often a lost connection is opened again before the error is raised; progress resets the count."""
Result = TypeVar("Result")

# How libpq marks the parameters that a program must not display.
_SECRET: Final = (b"*", b"D")
# They notice a host that is gone. `_Connection.wait` notices one that is there and does not respond.
_KEEPALIVES: Final = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# A server that is alive reports its own time-out first, and its message says more than ours.
_SERVER_MARGIN_SECONDS: Final = 1.0


class CatalogueError(UserError):
    """The catalogue cannot be read or written; no part of the message contains a password."""


class LostConnectionError(CatalogueError):
    """There is no connection, it broke, or the server stopped responding: a retry may succeed."""


class ConflictError(LostConnectionError):
    """Another transaction was in the way, by a deadlock or a serialization failure: the same one may succeed now."""


def parse_dsn(dsn: str) -> dict[str, str]:
    """Returns the parameters of a DSN by their libpq names.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...". What it leaves out comes from the environment
            (PGHOST, PGUSER, ~/.pgpass and so on) as with psql.

    Raises:
        CatalogueError: The text is not a DSN. The message does not repeat it, as it may hold a password.
    """
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except (ProgrammingError, UnicodeError):
        # Without its cause: libpq quotes the part that it could not read.
        raise _unreadable_dsn("something else") from None
    if "://" in parameters.get("dbname", ""):
        # libpq would read it as another DSN.
        raise _unreadable_dsn("a URI in place of the database's name")
    if _is_torn(dsn, parameters):
        raise _unreadable_dsn("a URI with parts of a user or password in its host, port or database")
    return parameters


def redact_dsn(dsn: str) -> str:
    """Returns a DSN without its secrets, as "host=... user=...", for messages and records.

    An empty DSN is read as psql reads it, from the environment.
    """
    public = [option for option in pq.Conninfo.get_defaults() if option.dispchar not in _SECRET]
    try:
        parameters = parse_dsn(dsn)
    except CatalogueError:
        return "(an unreadable DSN)"
    if not parameters:
        # psql's variables name the catalogue.
        parameters = {option.keyword.decode(): os.environ.get((option.envvar or b"").decode(), "") for option in public}
    names = {option.keyword.decode() for option in public}
    return make_conninfo("", **{name: value for name, value in parameters.items() if value and name in names})


@contextmanager
def connected(dsn: str, timeout: float = TIMEOUT) -> Iterator[psycopg.Connection[Any]]:
    """Yields a connection in autocommit mode and closes it; database errors become CatalogueErrors.

    Args:
        dsn: What libpq reads.
        timeout: The most seconds for one statement.

    Raises:
        LostConnectionError: There is no connection, it broke, or the server does not respond.
        CatalogueError: Anything else that the server refuses.
    """
    # Two seconds are the least that libpq accepts.
    defaults = _KEEPALIVES | {
        "connect_timeout": str(min(10, max(2, math.ceil(timeout)))),
        "application_name": "fashion",
    }
    parameters = defaults | parse_dsn(dsn) | {"client_encoding": "utf8"}
    try:
        # No prepared statements: a pooler in transaction mode gives the next transaction another session.
        connection = _Connection.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
    except (psycopg.Error, UnicodeError) as error:
        # Without its cause, here and below: psycopg's exceptions hold all of the connection, the password too.
        raise _connection_refused(error, dsn) from None
    connection.response_timeout = timeout + _SERVER_MARGIN_SECONDS
    try:
        yield connection
    except psycopg.Error as error:
        raise _to_catalogue_error(error, dsn, timeout) from None
    except UnicodeError as error:
        raise _not_utf8(dsn, str(error)) from None
    finally:
        _end_transaction(connection)
        connection.close()


def begin_transaction(connection: psycopg.Connection[Any], timeout: float, characteristics: str = "") -> None:
    """Begins a transaction in which each statement may take `timeout` seconds."""
    # The planner thinks the catalogue's statements expensive enough to be compiled; the first row would wait for that.
    settings = f"SET LOCAL jit = off; SET LOCAL statement_timeout = {max(1, round(timeout * 1000))}"
    connection.execute(f"BEGIN {characteristics}; {settings}")


def retry_lost_connection(
    attempt: Callable[[], Result], retries: int = RETRIES, kind: type[LostConnectionError] = LostConnectionError
) -> Result:
    """Calls `attempt` and retries it where it fails with an error of this kind; returns its result."""
    return call_with_retries(attempt, is_transient=lambda error: isinstance(error, kind), retries=retries)


class _Connection(psycopg.Connection[Any]):
    """A connection on which no request waits longer than `response_timeout` seconds.

    TCP notices a host that is gone, and the server its own slow statements. Neither notices a server that is stopped or
    a proxy that no longer forwards: its kernel goes on to acknowledge what we send.
    """

    response_timeout: float | None = None

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or self.response_timeout)
        except errors._WaitTimeout:
            # Closed before anybody sends a ROLLBACK and waits for its answer.
            self.close()
            raise


def _end_transaction(connection: _Connection) -> None:
    """Rolls an open transaction back: a pooler closes the session of a client that leaves in the middle of one."""
    if connection.info.transaction_status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
        connection.response_timeout = _SERVER_MARGIN_SECONDS
        with suppress(psycopg.Error):
            connection.rollback()


def _is_torn(dsn: str, parameters: dict[str, str]) -> bool:
    """Whether a URI is cut in the wrong places, as one with @ or / in its password is: libpq would quote the pieces."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        return False
    ports = parameters.get("port", "").split(",")
    return "@" in parameters.get("host", "") + parameters.get("dbname", "") or not all(p.isdigit() for p in ports if p)


def _unreadable_dsn(received: str) -> CatalogueError:
    return CatalogueError(
        "The DSN cannot be read.",
        expected="postgresql://user@host/database or host=... dbname=... user=...",
        received=f"{received} (not repeated here: it may hold a password)",
        next_step="write @ / : # % in a password as %40 %2F %3A %23 %25, or leave it to PGPASSWORD or ~/.pgpass",
    )


_REFUSALS: Final = {
    "server does not support SSL": "sslmode=prefer in the DSN if you trust the network; else turn SSL on in the server",
    "no encryption": "sslmode=require in the DSN, or an entry for this user without SSL in the server's pg_hba.conf",
    "SSL off": "sslmode=require in the DSN, or an entry for this user without SSL in the server's pg_hba.conf",
    "certificate": "sslrootcert=FILE in the DSN with the certificate authority of the server, for sslmode=verify-full; "
    "sslmode=require encrypts without this check",
    "SSL": "another sslmode in the DSN (disable, prefer, require, verify-full), as the server requires",
    "unsupported startup parameter: options": "no options in the DSN, as the pooler refuses them: set search_path by "
    "ALTER ROLE ... SET search_path",
}
"""The next step by a part of the server's message; the first that matches counts."""


def _connection_refused(error: Exception, dsn: str) -> LostConnectionError:
    connection = error.pgconn if isinstance(error, psycopg.Error) else None
    message = _server_message(error)
    if connection is not None and connection.needs_password:
        next_step = "set the password in PGPASSWORD or ~/.pgpass"
    else:
        known = (step for part, step in _REFUSALS.items() if part in message)
        next_step = next(known, "check host, port, user, password and database; psql takes the same DSN")
    return LostConnectionError(
        f"There is no connection to the catalogue ({redact_dsn(dsn)}).",
        expected="a PostgreSQL that accepts this user",
        received=message,
        next_step=next_step,
    )


def _to_catalogue_error(error: psycopg.Error, dsn: str, timeout: float) -> CatalogueError:
    server, message = redact_dsn(dsn), _server_message(error)
    match error:
        case errors.QueryCanceled() | errors.LockNotAvailable():
            if holders := _lock_holders(dsn):
                return CatalogueError(
                    f"A table of the catalogue is locked ({server}).",
                    expected=f"every lock within {timeout:g} s",
                    received=f"{message}; {'; '.join(holders)}",
                    next_step="wait until the other session ends its transaction, or end it: "
                    "SELECT pg_terminate_backend(PROCESS)",
                )
            return CatalogueError(
                f"The catalogue took too long ({server}).",
                expected=f"every answer within {timeout:g} s",
                received=message,
                next_step="set a longer time-out, or see in pg_stat_activity and pg_locks what blocks the statement",
            )
        case errors._WaitTimeout():
            return LostConnectionError(
                f"The catalogue does not respond ({server}).",
                expected=f"an answer within {timeout:g} s",
                received="none, on an open connection",
                next_step="check that the server, and any proxy before it, is alive, or set a longer time-out",
            )
        case errors.CharacterNotInRepertoire() | errors.UntranslatableCharacter():
            return _not_utf8(dsn, message)
        case errors.InsufficientPrivilege():
            return CatalogueError(
                f"The database does not permit this user to do that ({server}).",
                expected="the rights that docs/catalogue_query.md lists",
                received=message,
                next_step="GRANT the missing right, or connect as another user",
            )
        case errors.ProtocolViolation() if "pooling mode" in message:
            return CatalogueError(
                f"The connection pooler does not permit transactions ({server}).",
                expected="PgBouncer with pool_mode = transaction or session",
                received=message,
                next_step="change pool_mode, or use the DSN of the server behind the pooler",
            )
        case _ if (error.sqlstate or "").startswith("40"):
            return ConflictError(
                f"Another transaction of the catalogue was in the way ({server}).",
                expected="no deadlock and no serialization failure, after some retries",
                received=message,
                next_step="run the same command again",
            )
        case _ if _is_lost(error):
            return LostConnectionError(
                f"The connection to the catalogue broke ({server}).",
                expected="a connection until the end",
                received=message,
                next_step="run the same command again when the server is healthy",
            )
        case psycopg.OperationalError():
            return CatalogueError(
                f"The database server cannot do that ({server}).",
                expected="a server with enough room and permissions",
                received=message,
                next_step="read the server's log",
            )
    return CatalogueError(
        f"The database rejects the statement ({server}).",
        expected="a catalogue like sql/schema.sql",
        received=message,
        next_step="compare the database with sql/schema.sql",
    )


# Readers wait for the first, writers for all of them.
_LOCK_HOLDERS: Final = """
SELECT DISTINCT format('process %s (%s, %s) holds %s on %s', pid, usename, application_name, mode, relation::regclass)
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE granted AND pid <> pg_backend_pid() AND pg_table_is_visible(relation)
  AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1 LIMIT 5
"""


def _lock_holders(dsn: str) -> list[str]:
    """Returns which sessions hold strong locks on tables, one sentence each; empty where that cannot be read."""
    try:
        parameters = {"connect_timeout": "5"} | parse_dsn(dsn)
        with psycopg.connect(**parameters, autocommit=True, prepare_threshold=None) as connection:  # type: ignore[arg-type]
            return [sentence for (sentence,) in connection.execute(_LOCK_HOLDERS)]
    except psycopg.Error:
        return []


def _is_lost(error: psycopg.Error) -> bool:
    """Whether another connection may succeed, because this one is gone.

    A full disk or a statement that is too complex is an OperationalError too, and the next connection would meet it.
    """
    if error.diag.severity_nonlocalized == "FATAL":
        return True
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate[:2] == "08" or error.sqlstate[:3] == "57P"
    )


def _not_utf8(dsn: str, received: str) -> CatalogueError:
    return CatalogueError(
        f"A text is not UTF-8 and cannot be converted to it ({redact_dsn(dsn)}).",
        expected="texts in the encoding that the database declares, and parameters in UTF-8",
        received=received,
        next_step="SHOW server_encoding; if it is SQL_ASCII, convert the texts that are not UTF-8",
    )


def _server_message(error: Exception) -> str:
    """Returns the server's message on one line, or else the driver's."""
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((message or str(error) or type(error).__name__).split()).rstrip(".?")
