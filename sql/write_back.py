"""Writing a model's predictions back to the catalogue, and reading which products need a new one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import args_row

from sql.connection import (
    RETRIES,
    TIMEOUT,
    CatalogueError,
    ConflictError,
    LostConnectionError,
    begin_transaction,
    connected,
    retry_lost_connection,
)
from sql.extract import Key, Product, read_products
from sql.tables import CATALOGUE, CLASSIFICATION, check_tables, current_user, key_type

BATCH_ROWS: Final = 5000
NO_IMAGE: Final = "no_image"
"""The failure of a product without a URL."""


class Classification(NamedTuple):
    """A row of `product_classification`: a model's prediction for a product.

    Attributes:
        product_id: The product's id.
        model_version: The version of the model.
        product_group: The group; None where there is none, then `failure` gives the reason.
        confidence: The calibrated probability of the group, 0 to 1; None where there is no group.
        abstain: Whether the model leaves the decision to a human.
        failure: Why there is no group: `NO_IMAGE`, or why the image could not be fetched; None where there is a group.
        scored_at: The time of the prediction, with a time zone. The later of two predictions for a product stays.
        fingerprint: Of title, URL and description, by `fingerprint`.
        image_content: The name of the image's content, such as its SHA-256; None where it is not known.
        url: The URL of the image; None where there is none.
    """

    product_id: Key
    model_version: str
    product_group: str | None
    confidence: float | None
    abstain: bool
    failure: str | None
    scored_at: datetime
    fingerprint: str
    image_content: str | None
    url: str | None = None


class _Earlier(NamedTuple):
    """The part of an earlier prediction that decides whether it still holds."""

    product_id: Key
    model_version: str
    fingerprint: str
    image_content: str | None
    failed: bool
    age_seconds: float


# The table, as far as it is of this version, and the view.
_EXISTS: Final = """
SELECT to_regclass('product_classification'), to_regclass('product_to_review'),
       EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('product_classification') AND attname = 'url')
"""
_UNIQUE_KEY: Final = """
SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
WHERE indrelid = to_regclass('product_classification') AND attname = 'product_id'
  AND indisunique AND indimmediate AND indnkeyatts = 1 AND indpred IS NULL
"""
_PRIMARY_KEY: Final = """
SELECT quote_ident(conname) FROM pg_constraint
WHERE conrelid = to_regclass('product_classification') AND contype = 'p'
"""
# As statements that grant them; the table does not exist before the first run.
_MISSING_RIGHTS: Final = """
SELECT 'SELECT ON ' || name FROM unnest(%(tables)s::text[]) AS wanted (name)
WHERE NOT has_table_privilege(to_regclass(name), 'SELECT')
UNION ALL
SELECT string_agg(kind, ', ') || ' ON product_classification'
FROM unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kind
WHERE NOT has_table_privilege(to_regclass('product_classification'), kind)
HAVING count(*) > 0
UNION ALL
SELECT format('CREATE ON SCHEMA %%I', current_schema())
WHERE to_regclass('product_classification') IS NULL AND NOT has_schema_privilege(current_schema(), 'CREATE')
UNION ALL
SELECT format('TEMPORARY ON DATABASE %%I', current_database())
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
"""
_NAMES: Final = ", ".join(Classification._fields)
_EARLIER: Final = """
SELECT product_id, model_version, fingerprint, image_content, failure IS NOT NULL,
       extract(epoch FROM clock_timestamp() - scored_at)::float8
FROM product_classification WHERE product_id = ANY(%s)
"""
# A shop whose image server is down for an hour must not lose its groups.
_STAYS: Final = f"(earlier.product_group IS NOT NULL AND excluded.failure <> '{NO_IMAGE}')"
# An identical row is not written again, and a row from a clock that was ahead does not stay for ever.
_UPSERT: Final = f"""
INSERT INTO product_classification AS earlier ({_NAMES})
SELECT {_NAMES} FROM incoming ORDER BY product_id
ON CONFLICT (product_id) DO UPDATE SET {
    ", ".join(
        f"{name} = CASE WHEN {_STAYS} THEN earlier.{name} ELSE excluded.{name} END"
        for name in Classification._fields
        if name not in ("failure", "url")
    )
}, failure = excluded.failure, url = excluded.url
WHERE excluded.scored_at >= least(earlier.scored_at, clock_timestamp()) AND CASE WHEN {_STAYS}
    THEN (excluded.failure, excluded.url) IS DISTINCT FROM (earlier.failure, earlier.url)
    ELSE excluded IS DISTINCT FROM earlier END
"""
_LOSSES: Final = """
SELECT count(*) FILTER (WHERE Product.Id IS NULL),
       count(*) FILTER (WHERE product_group IS NOT NULL AND pictured.ProductId IS NULL AND Product.Id IS NOT NULL),
       count(*)
FROM product_classification
LEFT JOIN (SELECT DISTINCT Id FROM Product) AS Product ON Product.Id = product_id
LEFT JOIN (
    SELECT DISTINCT ProductId FROM ProductImages JOIN Image ON Image.Id = ImageId WHERE ImageIndex = %s
) AS pictured ON pictured.ProductId = product_id
"""
_FAILED: Final = f"SELECT count(*) FILTER (WHERE failure <> '{NO_IMAGE}'), count(*) FROM product_classification"


def fingerprint(product: Product) -> str:
    """Returns a digest of a product's title, URL and description."""
    return hashlib.sha256(json.dumps(product[1:]).encode()).hexdigest()


def prepare(dsn: str, *, timeout: float = TIMEOUT) -> None:
    """Creates the table and the view of `sql/classification.sql` where they are missing, and checks the user's rights.

    Raises:
        CatalogueError: There is no catalogue, another table has that name, or the user may not create or write it.
    """
    with connected(dsn, timeout) as connection:
        _check_rights(connection)
        check_tables(connection, CATALOGUE)
        if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
            raise CatalogueError(
                "This server is read-only.",
                expected="a primary server with default_transaction_read_only off",
                received="transaction_read_only = on",
                next_step="the same command with the DSN of the primary server",
            )
        # Not where they exist: a user who may write to the table need not own it.
        table, view, current = connection.execute(_EXISTS).fetchone() or (None, None, False)
        if table and current:
            check_tables(connection, CLASSIFICATION)
        if not (table and view and current):
            _create_tables(connection, timeout)
            check_tables(connection, CLASSIFICATION)
        if not connection.execute(_UNIQUE_KEY).rowcount:
            (key,) = connection.execute(_PRIMARY_KEY).fetchone() or ("",)
            raise CatalogueError(
                "product_classification may hold two predictions for one product.",
                expected=f"product_id as its key, as in {CLASSIFICATION.script}",
                received="no unique index on product_id that is checked at once",
                next_step=f"ALTER TABLE product_classification {key and f'DROP CONSTRAINT {key}, '}"
                "ADD PRIMARY KEY (product_id)",
            )


def read_pending(
    dsn: str,
    model_version: str,
    *,
    country: str = "us",
    image_index: int = 0,
    content_of: Callable[[str], str | None] = lambda url: None,
    max_age_seconds: float = math.inf,
    timeout: float = TIMEOUT,
    on_read: Callable[[list[Product]], None] = lambda products: None,
) -> Iterator[list[Product]]:
    """Yields the products without a current prediction of this model version, in the order of id.

    Those are new products; those whose title, URL, description, image or model version has changed since their last
    prediction; and those that failed and have a URL, since a retry may succeed. Each list is of its own snapshot:
    nothing is locked between two, and concurrent writes do not disturb it.

    Args:
        dsn: What libpq reads.
        model_version: The version that is going to score them.
        country: As for `read_products`.
        image_index: As for `read_products`.
        content_of: Returns the name of a URL's present content, as far as it is known without a download. Defaults to
            a function that knows none.
        max_age_seconds: The age at which a prediction expires where the present content of its image is not known.
            Defaults to never: then an image counts as changed only when its URL has.
        timeout: Seconds that the server may take for a list.
        on_read: Called with each list of all products, pending or not. Defaults to a function that ignores them.

    Raises:
        CatalogueError: As `read_products`; or `prepare` was never called.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, CLASSIFICATION)
    lists = read_products(dsn, country=country, image_index=image_index, one_snapshot=False, timeout=timeout)
    for products in lists:
        on_read(products)
        earlier = retry_lost_connection(partial(_read_earlier, dsn, [product.id for product in products], timeout))
        changed = [
            p for p in products if not _is_current(earlier.get(p.id), p, model_version, content_of, max_age_seconds)
        ]
        if changed:
            yield changed


def write_predictions(
    dsn: str,
    predictions: Iterable[Classification],
    *,
    batch_rows: int = BATCH_ROWS,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> int:
    """Writes predictions over earlier ones, one transaction a batch; returns how many it received.

    A batch is written whole or not at all, and writing it again changes nothing: after a kill, `read_pending` yields
    the rest. A batch is sent again after a conflict with another transaction, and after a lost connection, except the
    first one, which shows that there is a server.
    The latest prediction for a product stays; but where an image cannot be fetched, an earlier group stays as it is,
    and only the failure is written.

    Raises:
        CatalogueError: As `read_products`; or `prepare` was never called.
    """
    written, rest = 0, iter(predictions)
    while batch := list(islice(rest, batch_rows)):
        retry_lost_connection(
            partial(_write_batch, dsn, batch, timeout), retries, LostConnectionError if written else ConflictError
        )
        written += len(batch)
    return written


def check_losses(dsn: str, image_index: int, most_lost_share: float, *, timeout: float = TIMEOUT) -> None:
    """Raises an error where too many products would lose their group: they are gone, or have no image any more.

    A wrong image index and an emptied table look the same as products that were really removed.

    Args:
        dsn: What libpq reads.
        image_index: As for `read_products`.
        most_lost_share: The largest share of the products with a group that may lose it.
        timeout: Seconds that the server may take.

    Raises:
        CatalogueError: More would lose it; or as `write_predictions`.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, CLASSIFICATION)
        begin_transaction(connection, timeout, "READ ONLY")
        gone, without_image, total = connection.execute(_LOSSES, [image_index]).fetchone() or (0, 0, 0)
    lost = f"{gone:,} that are no longer in Product, {without_image:,} without an image at index {image_index}"
    _check_lost(gone + without_image, total, most_lost_share, lost)


def remove_orphans(dsn: str, most_lost_share: float = 1.0, *, timeout: float = TIMEOUT) -> int:
    """Removes the predictions for products that are no longer in the catalogue; returns how many.

    Raises:
        CatalogueError: They are more than `most_lost_share` of all; then none is removed. Or as `write_predictions`.
    """
    return retry_lost_connection(partial(_remove_orphans, dsn, most_lost_share, timeout))


def _remove_orphans(dsn: str, most_lost_share: float, timeout: float) -> int:
    with connected(dsn, timeout) as connection:
        check_tables(connection, CLASSIFICATION)
        begin_transaction(connection, timeout)
        orphan = "NOT EXISTS (SELECT FROM Product WHERE Product.Id = product_id)"
        [(total,)] = connection.execute("SELECT count(*) FROM product_classification").fetchall()
        removed = connection.execute(f"DELETE FROM product_classification WHERE {orphan}").rowcount
        _check_lost(removed, total, most_lost_share, f"{removed:,} that are no longer in Product")
        connection.execute("COMMIT")
    return removed


def failed_share(dsn: str, *, timeout: float = TIMEOUT) -> float:
    """Returns the share of the products in the table whose image could not be fetched at the last attempt.

    Raises:
        CatalogueError: As `write_predictions`.
    """
    with connected(dsn, timeout) as connection:
        check_tables(connection, CLASSIFICATION)
        begin_transaction(connection, timeout, "READ ONLY")
        failed, total = connection.execute(_FAILED).fetchone() or (0, 0)
    return failed / max(total, 1)


def _check_lost(lost: int, total: int, most_lost_share: float, received: str) -> None:
    if lost > most_lost_share * total:
        raise CatalogueError(
            "Too many products would lose their group. Nothing was removed.",
            expected=f"at most {most_lost_share:.0%} of {total:,} products with a result",
            received=received,
            next_step="check Product, ProductImages and --image-index; to remove the groups all the same, "
            "--max-failed-share 1",
        )


def _check_rights(connection: Connection[Any]) -> None:
    """Raises a CatalogueError with all rights that the user lacks, before anything is read, created or written."""
    if missing := [right for (right,) in connection.execute(_MISSING_RIGHTS, {"tables": list(CATALOGUE.columns)})]:
        user = current_user(connection)
        raise CatalogueError(
            "This user may not write predictions back.",
            expected="SELECT on the catalogue; SELECT, INSERT, UPDATE and DELETE on product_classification, or CREATE "
            "on the schema where it does not exist; and temporary tables",
            received=f"no {'; no '.join(missing)}",
            next_step=" ".join(f"GRANT {right} TO {user};" for right in missing)
            + (f" or psql -f {CLASSIFICATION.script}, as the owner" if "CREATE ON" in " ".join(missing) else ""),
        )


def _create_tables(connection: Connection[Any], timeout: float) -> None:
    statement = CLASSIFICATION.statement.replace("bigint PRIMARY KEY", f"{key_type(connection)} PRIMARY KEY")
    begin_transaction(connection, timeout)
    try:
        # Other processes may be about to create them too, and IF NOT EXISTS does not wait for these.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('product_classification'))")
        connection.execute(statement)
        connection.execute("COMMIT")
    except InsufficientPrivilege as error:
        script = CLASSIFICATION.script
        raise CatalogueError(
            "This user may not create the table of predictions.",
            expected=f"{script} run by the owner of the schema, or CREATE on it",
            received=str(error.diag.message_primary),
            next_step=f"psql -f {script}, as the owner; then GRANT this user to write to product_classification",
        ) from None


def _write_batch(dsn: str, batch: list[Classification], timeout: float) -> None:
    # One statement must not meet a product twice.
    latest = {row.product_id: row for row in sorted(batch, key=lambda row: row.scored_at)}
    with connected(dsn, timeout) as connection:
        check_tables(connection, CLASSIFICATION)
        begin_transaction(connection, timeout)
        connection.execute("CREATE TEMPORARY TABLE incoming (LIKE product_classification) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy(f"COPY incoming ({_NAMES}) FROM STDIN") as copy:
            for row in latest.values():
                copy.write_row(row._replace(failure=_storable(row.failure)))
        connection.execute(_UPSERT)
        connection.execute("COMMIT")


def _storable(text: str | None) -> str | None:
    """Returns a text that PostgreSQL can store: a message from an unknown server may have any characters."""
    return text and text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _read_earlier(dsn: str, ids: list[Key], timeout: float) -> dict[Key, _Earlier]:
    with connected(dsn, timeout) as connection, connection.cursor(row_factory=args_row(_Earlier)) as cursor:
        begin_transaction(connection, timeout, "READ ONLY")
        return {row.product_id: row for row in cursor.execute(_EARLIER, [ids])}


def _is_current(
    earlier: _Earlier | None,
    product: Product,
    model_version: str,
    content_of: Callable[[str], str | None],
    max_age_seconds: float,
) -> bool:
    """Whether an earlier prediction still holds for the product as it is now."""
    if earlier is None or (earlier.failed and product.url is not None):
        return False
    if (earlier.model_version, earlier.fingerprint) != (model_version, fingerprint(product)):
        return False
    content = product.url and content_of(product.url)
    if content is None and earlier.image_content is not None:
        return earlier.age_seconds < max_age_seconds
    return content in (None, earlier.image_content)
