"""The parameter that names a catalogue's PostgreSQL: checked before anything is run, shown or recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from pydantic import AfterValidator

from pipeline.contract.errors import UserError

ENVIRONMENT: Final = "FASHION_CATALOGUE_DSN"
"""The environment variable that names a catalogue where no parameter does; nobody records it."""


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
        if (error.name or "").partition(".")[0] != "psycopg":
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
            next_step=f"put it into PGPASSWORD, ~/.pgpass or a service file, or the whole DSN into {ENVIRONMENT}",
        )
    return dsn


def given(dsn: str | None) -> str:
    """Returns the DSN of the parameter, or else of the environment.

    Raises:
        UserError: There is neither.
    """
    if found := dsn or os.environ.get(ENVIRONMENT):
        return found
    raise UserError(
        "There is no catalogue to read.",
        expected=f"example_gen.dsn, or {ENVIRONMENT} in the environment",
        received="neither",
        next_step="fashion run --profile catalogue --set example_gen.dsn=postgresql://USER@HOST/DATABASE",
    )


Dsn = Annotated[str, AfterValidator(without_secret)]
"""A URI of PostgreSQL or `key=value` pairs, without a password."""
