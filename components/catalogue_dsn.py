"""The parameter that names a catalogue's PostgreSQL: checked before anything is run, shown or recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import AfterValidator

from pipeline.errors import UserError


@contextmanager
def as_user_error() -> Iterator[None]:
    """Says for users what a catalogue could not do, and what is not installed."""
    from sql.catalogue_error import CatalogueError

    try:
        yield
    except CatalogueError as error:
        raise UserError(
            error.headline, expected=error.expected, received=error.received, next_step=error.next_step
        ) from None
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise UserError(
            "Reading a catalogue needs psycopg.",
            expected="the extra `catalogue`",
            received="an installation without it",
            next_step="pip install '.[catalogue]'",
        ) from None


def without_secret(dsn: str) -> str:
    """Returns a DSN as it is.

    Raises:
        UserError: It holds a password, or is no DSN. The message does not repeat it.
    """
    with as_user_error():
        from sql.dsn import parse, redact

        secrets = parse(dsn).keys() - parse(redact(dsn)).keys()
    if secrets:
        # A command line stands in the shell's history and in every process list, and parameters stand in the record.
        raise UserError(
            f"The catalogue's DSN holds a secret: {', '.join(sorted(secrets))}.",
            expected="one without, such as postgresql://USER@HOST/DATABASE",
            received="one that the record of the run would show",
            next_step="put it into PGPASSWORD, ~/.pgpass or a service file, where libpq finds it",
        )
    return dsn


Dsn = Annotated[str, AfterValidator(without_secret)]
"""A URI of PostgreSQL or `key=value` pairs, without a password; empty for what libpq's environment variables say."""
