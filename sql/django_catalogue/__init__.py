"""The catalogue as a Django application: for `INSTALLED_APPS`, or with `configure` outside a Django project."""

from __future__ import annotations

from typing import Final

APPLICATION: Final = "sql.django_catalogue"


def configure(dsn: str) -> None:
    """Configures Django outside a project, so that `sql.django_catalogue.models` can be imported for this database.

    A Django project does not need it: there, "sql.django_catalogue" goes into `INSTALLED_APPS`.

    Args:
        dsn: What libpq reads: a URI or words like "host=... dbname=...". What it leaves out comes from the environment
            (PGHOST, PGUSER and so on) as with psql.

    Raises:
        CatalogueError: The text is not a DSN.
        RuntimeError: Django is configured already.
    """
    import django
    from django.conf import settings

    settings.configure(INSTALLED_APPS=[APPLICATION], DATABASES={"default": _database(dsn)}, USE_TZ=True)
    django.setup()


def _database(dsn: str) -> dict[str, object]:
    from psycopg import pq

    from sql.connection import parse_dsn

    parameters = parse_dsn(dsn)
    defaults = {d.keyword.decode(): d.val.decode() for d in pq.Conninfo.get_defaults() if d.val is not None}
    # Django requires a name unless a service may have one; libpq uses the user's name when there is none.
    name = parameters.pop("dbname", None) or ("" if "service" in parameters else defaults.get("dbname"))
    if name is None:
        name = parameters.get("user") or defaults.get("user")
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "OPTIONS": parameters}
