"""The catalogue for Django: an application for `INSTALLED_APPS`, or by `configure` without a Django project."""

from __future__ import annotations

from typing import Final

APPLICATION: Final = "sql.django_catalogue"


def configure(dsn: str) -> None:
    """Sets Django up, so that `sql.django_catalogue.models` can be imported and asks this database.

    In a Django project it is not needed: there, "sql.django_catalogue" goes into `INSTALLED_APPS`.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...". What it leaves out comes from the environment
            (PGHOST, PGUSER and so on) as with psql.

    Raises:
        CatalogueError: It is no DSN.
        RuntimeError: Django is set up already.
    """
    import django
    from django.conf import settings

    settings.configure(INSTALLED_APPS=[APPLICATION], DATABASES={"default": _database(dsn)}, USE_TZ=True)
    django.setup()


def _database(dsn: str) -> dict[str, object]:
    from psycopg import pq

    from sql.dsn import parse

    given = parse(dsn)
    defaults = {d.keyword.decode(): d.val.decode() for d in pq.Conninfo.get_defaults() if d.val is not None}
    # Django insists on a name, but where a service may have one; libpq takes the user's when there is none.
    name = given.pop("dbname", None) or ("" if "service" in given else defaults.get("dbname"))
    if name is None:
        name = given.get("user") or defaults.get("user")
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "OPTIONS": given}
