"""The parameter that names a catalogue's PostgreSQL: checked before anything is run, shown or recorded."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from pipeline.errors import UserError

EXAMPLE = "postgresql://USER@HOST/DATABASE"


def missing_extra() -> UserError:
    """Returns what to say where psycopg is not installed."""
    return UserError(
        "Reading a catalogue needs psycopg.",
        expected="the extra `catalogue`",
        received="an installation without it",
        next_step="pip install '.[catalogue]'",
    )


def without_secret(dsn: str) -> str:
    """Returns a DSN as it is.

    Raises:
        UserError: It holds a password, or is no DSN. The message does not repeat it.
    """
    try:
        from sql.dsn import secrets_in

        found = secrets_in(dsn)
    except ImportError:
        raise missing_extra() from None
    except ValueError as error:
        raise UserError(
            "The catalogue's DSN cannot be read.", expected=f"{EXAMPLE}, or key=value pairs", received=str(error)
        ) from None
    if found:
        # A command line stands in the shell's history and in every process list, and parameters stand in the record.
        raise UserError(
            f"The catalogue's DSN holds a secret: {', '.join(found)}.",
            expected=f"one without, such as {EXAMPLE}",
            received="one that the record of the run would show",
            next_step="put it into PGPASSWORD, ~/.pgpass or a service file, where libpq finds it",
        )
    return dsn


Dsn = Annotated[str, AfterValidator(without_secret)]
"""A URI of PostgreSQL or `key=value` pairs, without a password; empty for what libpq's environment variables say."""
