"""Looks into a DSN, as libpq understands it: a URI or `key=value` pairs."""

from __future__ import annotations


def secrets_in(dsn: str) -> list[str]:
    """Returns the names of the secrets that a DSN holds, such as `password`.

    Raises:
        ValueError: It is no DSN. libpq's reason is not told, since it quotes the DSN.
    """
    import psycopg
    from psycopg import pq

    try:
        options = pq.Conninfo.parse(dsn.encode())
    except (psycopg.Error, UnicodeEncodeError):
        raise ValueError("neither a URI of PostgreSQL nor key=value pairs") from None
    # The asterisk is libpq's own mark for what is not to be shown.
    return [option.keyword.decode() for option in options if option.val and option.dispchar == b"*"]
