"""Writes a model's answers back beside the catalogue, and says which products have none that holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from psycopg.rows import args_row

from sql.classification_table import COLUMNS, MADE_BY
from sql.connection import RETRIES, TIMEOUT, begin, connected, retried
from sql.extract import Product, read_products
from sql.tables import check

BATCH_ROWS: Final = 5000
NO_IMAGE: Final = "no_image"
"""Why a product without a URL has no group."""


class Classification(NamedTuple):
    """A row of `product_classification`: what a model says of a product.

    Attributes:
        product_id: The product's id.
        model_version: The version of the model.
        product_group: The group; None where there is none, then `failure` says why.
        confidence: The calibrated probability of the group, 0 to 1; None where there is no group.
        abstain: Whether the model leaves the decision to a human.
        failure: Why there is no group: `NO_IMAGE`, or why the image cannot be had; else None.
        scored_at: When, with a time zone. Of two answers about a product the later one stays.
        fingerprint: Of title, URL and description, by `fingerprint`.
        image_content: The name of the image's content, such as its SHA-256; None where it is not known.
    """

    product_id: int
    model_version: str
    product_group: str | None
    confidence: float | None
    abstain: bool
    failure: str | None
    scored_at: datetime
    fingerprint: str
    image_content: str | None


class _Known(NamedTuple):
    """What is compared of an earlier answer."""

    product_id: int
    model_version: str
    fingerprint: str
    image_content: str | None
    failed: bool
    age_seconds: float


_NAMES: Final = ", ".join(Classification._fields)
_KNOWN: Final = """
SELECT product_id, model_version, fingerprint, image_content, failure IS NOT NULL,
       extract(epoch FROM clock_timestamp() - scored_at)::float8
FROM product_classification WHERE product_id = ANY(%s)
"""
# A shop whose image server is down for an hour must not lose its groups.
_KEEPS: Final = f"(kept.product_group IS NOT NULL AND excluded.failure <> '{NO_IMAGE}')"
# A row that says the same already is not written again, and one from a clock that was ahead does not stay for ever.
_UPSERT: Final = f"""
INSERT INTO product_classification AS kept ({_NAMES})
SELECT {_NAMES} FROM incoming ORDER BY product_id
ON CONFLICT (product_id) DO UPDATE SET {
    ", ".join(
        f"{name} = CASE WHEN {_KEEPS} THEN kept.{name} ELSE excluded.{name} END"
        for name in Classification._fields
        if name != "failure"
    )
}, failure = excluded.failure
WHERE excluded.scored_at >= least(kept.scored_at, clock_timestamp()) AND CASE WHEN {_KEEPS}
    THEN excluded.failure IS DISTINCT FROM kept.failure ELSE excluded IS DISTINCT FROM kept END
"""
_FAILED: Final = f"SELECT count(*) FILTER (WHERE failure <> '{NO_IMAGE}'), count(*) FROM product_classification"


def fingerprint(product: Product) -> str:
    """Returns a name for what a product says: another one as soon as its title, URL or description is another."""
    return hashlib.sha256(json.dumps(product[1:]).encode()).hexdigest()


def pending(
    dsn: str,
    model_version: str,
    *,
    country: str = "us",
    image_index: int = 0,
    content_of: Callable[[str], str | None] = lambda url: None,
    trusted_seconds: float = math.inf,
    timeout: float = TIMEOUT,
) -> Iterator[list[Product]]:
    """Yields the products that this version of the model has not scored as they are now, in the order of id.

    Those are new ones; those with another title, URL, description, image or model version than at their last answer;
    and those that failed and have a URL, since the network may be better today. Each list is of a snapshot of its own:
    between two nothing is held, and what is written meanwhile does not disturb it.

    Args:
        dsn: What libpq reads.
        model_version: The version that is going to score them.
        country: As for `read_products`.
        image_index: As for `read_products`.
        content_of: Returns the name of the content that a URL has now, as far as it is known without fetching.
            Defaults to: it is not known.
        trusted_seconds: Where the content is not known, the age from which an answer about an image does not hold any
            more. Defaults to never: then an image counts as changed only when its URL has.
        timeout: Seconds that the server may take for a list.

    Raises:
        CatalogueError: As `read_products`; or `prepare` was never called.
    """
    with connected(dsn, timeout) as connection:
        check(connection, COLUMNS, MADE_BY)
    read = read_products(dsn, country=country, image_index=image_index, one_snapshot=False, timeout=timeout)
    for products in read:
        known = retried(partial(_known, dsn, [product.id for product in products], timeout))
        changed = [p for p in products if not _holds(known.get(p.id), p, model_version, content_of, trusted_seconds)]
        if changed:
            yield changed


def write(
    dsn: str,
    answers: Iterable[Classification],
    *,
    batch_rows: int = BATCH_ROWS,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> int:
    """Writes answers over earlier ones, a transaction a batch; returns how many it was given.

    A batch is written whole or not at all, and writing it again changes nothing: whoever was killed goes on with what
    `pending` says. A batch whose connection is lost is sent again, but for the first one, which shows that there is a
    server. Of several answers about a product the latest stays; but where an image cannot be had, an earlier group is
    kept as it is, and only the failure is written beside it.

    Raises:
        CatalogueError: As `read_products`; or `prepare` was never called.
    """
    written, rest = 0, iter(answers)
    while batch := list(islice(rest, batch_rows)):
        retried(partial(_write_batch, dsn, batch, timeout), retries if written else 0)
        written += len(batch)
    return written


def remove_gone(dsn: str, *, timeout: float = TIMEOUT) -> int:
    """Removes the answers about products that are no longer in the catalogue; returns how many.

    Raises:
        CatalogueError: As `write`.
    """
    with connected(dsn, timeout) as connection:
        check(connection, COLUMNS, MADE_BY)
        begin(connection, timeout)
        gone = "NOT EXISTS (SELECT FROM Product WHERE Product.Id = product_id)"
        removed = connection.execute(f"DELETE FROM product_classification WHERE {gone}").rowcount
        connection.execute("COMMIT")
    return removed


def failed_share(dsn: str, *, timeout: float = TIMEOUT) -> float:
    """Returns of how many of the products with an answer the image could not be had when it was last asked for.

    Raises:
        CatalogueError: As `write`.
    """
    with connected(dsn, timeout) as connection:
        check(connection, COLUMNS, MADE_BY)
        begin(connection, timeout, "READ ONLY")
        failed, answered = connection.execute(_FAILED).fetchone() or (0, 0)
    return failed / max(answered, 1)


def _write_batch(dsn: str, batch: list[Classification], timeout: float) -> None:
    # One statement must not meet a product twice.
    latest = {row.product_id: row for row in sorted(batch, key=lambda row: row.scored_at)}
    with connected(dsn, timeout) as connection:
        check(connection, COLUMNS, MADE_BY)
        begin(connection, timeout)
        connection.execute("CREATE TEMPORARY TABLE incoming (LIKE product_classification) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy(f"COPY incoming ({_NAMES}) FROM STDIN") as copy:
            for row in latest.values():
                copy.write_row(row._replace(failure=_storable(row.failure)))
        connection.execute(_UPSERT)
        connection.execute("COMMIT")


def _storable(text: str | None) -> str | None:
    """A text as PostgreSQL can hold it: what a strange server said may have any characters."""
    return text and text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _known(dsn: str, ids: list[int], timeout: float) -> dict[int, _Known]:
    with connected(dsn, timeout) as connection, connection.cursor(row_factory=args_row(_Known)) as cursor:
        begin(connection, timeout, "READ ONLY")
        return {row.product_id: row for row in cursor.execute(_KNOWN, [ids])}


def _holds(
    known: _Known | None,
    product: Product,
    model_version: str,
    content_of: Callable[[str], str | None],
    trusted_seconds: float,
) -> bool:
    """Whether an earlier answer is still one."""
    if known is None or (known.failed and product.url is not None):
        return False
    if (known.model_version, known.fingerprint) != (model_version, fingerprint(product)):
        return False
    content = product.url and content_of(product.url)
    if content is None and known.image_content is not None:
        return known.age_seconds < trusted_seconds
    return content in (None, known.image_content)
