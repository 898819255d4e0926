"""The products of a catalogue: the DSN that names it, the labelled products for training, and a digest of them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator

from pipeline.contract.errors import UserError
from pipeline.contract.suggestions import nearest
from serving.fetching.errors import redact_url

if TYPE_CHECKING:
    from sql.extract import Product

DSN_VARIABLE: Final = "FASHION_CATALOGUE_DSN"
"""The environment variable that names a catalogue where no parameter does; no record contains it."""
LIBPQ_VARIABLES: Final = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE")
"""The variables of psql that name a server or a database; with one of them, libpq finds the rest by itself."""

IMAGE_CACHE: Final = "images.sqlite"
"""The cache of downloaded images, a file in `workspace/cache/`."""

logger = logging.getLogger(__name__)


def require_psycopg() -> None:
    """Raises a UserError where psycopg is not installed: modules in `sql` import it."""
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        raise UserError(
            "Reading a catalogue needs psycopg.",
            expected="the extra `catalogue`",
            received="an installation without it",
            next_step="pip install '.[catalogue]'",
        ) from None


def require_dsn(
    dsn: str | None,
    setting: str = "example_gen.dsn",
    next_step: str = "fashion run --profile catalogue --set example_gen.dsn=postgresql://USER@HOST/DATABASE",
) -> str:
    """Returns the DSN of a setting, or else of the environment; an empty DSN where libpq's own variables name it.

    Args:
        dsn: The value of the setting; None or empty where it is not set.
        setting: Its name, for the message. Defaults to ExampleGen's parameter.
        next_step: The command to type next, for the message. Defaults to ExampleGen's.

    Raises:
        UserError: Neither names a catalogue.
    """
    if found := dsn or os.environ.get(DSN_VARIABLE):
        return found
    if any(os.environ.get(name) for name in LIBPQ_VARIABLES):
        return ""
    raise UserError(
        "No catalogue is named.",
        expected=f"{setting}, or {DSN_VARIABLE} or psql's {', '.join(LIBPQ_VARIABLES)} in the environment",
        received="none of them",
        next_step=next_step,
    )


def _without_secret(dsn: str) -> str:
    """Returns a DSN unchanged.

    Raises:
        UserError: It contains a password, or it is not a DSN. The message does not repeat it.
    """
    require_psycopg()
    from sql.connection import parse_dsn, redact_dsn

    secrets = parse_dsn(dsn).keys() - parse_dsn(redact_dsn(dsn)).keys()
    if secrets:
        # A command line stands in the shell's history and in every process list, and parameters stand in the record.
        raise UserError(
            f"The catalogue's DSN contains a secret: {', '.join(sorted(secrets))}.",
            expected="a DSN without secrets, such as postgresql://USER@HOST/DATABASE",
            received="a DSN whose secret the record of the run would show",
            next_step=f"put it into PGPASSWORD, ~/.pgpass or a service file, or the whole DSN into {DSN_VARIABLE}",
        )
    return dsn


Dsn = Annotated[str, AfterValidator(_without_secret)]
"""A PostgreSQL URI or `key=value` pairs, without a password: checked before anything runs or is recorded."""


@dataclass(frozen=True)
class Catalogue:
    """Which catalogue is read, and what of it.

    Attributes:
        dsn: What libpq reads.
        country: The country of the descriptions.
        image_index: Which of a product's images; 0 is the first.
        garments: The garments' names, by index.
    """

    dsn: str
    country: str
    image_index: int
    garments: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A product without an example: a line of `failures.jsonl`.

    Attributes:
        product: The product's id; a UUID as a text.
        url: The URL of its image, without a password.
        reason: A stable word: a reason of `serving.fetching`, or `unknown_garment`, `blank` or `placeholder`.
        message: A sentence.
    """

    product: int | str
    url: str
    reason: str
    message: str


@dataclass
class Selection:
    """The products for training, and what happened to the others.

    Attributes:
        products: Products with a URL and a garment.
        garments: The index of each product's garment.
        failures: Products that should have an example and have none.
        counts: The numbers of `products`, products `without_garment` and products `without_image`.
    """

    products: list[Product] = field(default_factory=list)
    garments: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def record_id(product: Product) -> int | str:
    """Returns a product's id as records have it: a number, or a text."""
    return product.id if isinstance(product.id, int) else str(product.id)


def count_content(products: list[Product]) -> dict[str, int]:
    """Returns the numbers of `products`, of those with `images`, and of those with `texts`."""
    return {
        "products": len(products),
        "images": sum(product.url is not None for product in products),
        "texts": sum(product.description is not None for product in products),
    }


def catalogue_state(parameters: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns a digest of the content that ExampleGen would read from the catalogue with these parameters.

    Raises:
        UserError: The catalogue cannot be read.
    """
    if parameters["source"] != "catalogue":
        return {}
    require_psycopg()
    from sql.extract import catalogue_digest

    digest = catalogue_digest(
        require_dsn(parameters["dsn"]), country=parameters["country"], image_index=parameters["image_index"]
    )
    return {"catalogue": digest}


def select_products(catalogue: Catalogue) -> Selection:
    """Reads all products of a catalogue and selects those with a known garment and a URL.

    Raises:
        UserError: The catalogue cannot be read, or has no table of garments.
    """
    known = {name: index for index, name in enumerate(catalogue.garments)}
    selected, unknown = Selection(), Counter[str]()
    for product, garment in _read_labelled(catalogue):
        selected.counts["products"] += 1
        if garment is None:
            selected.counts["without_garment"] += 1
        elif product.url is None:
            selected.counts["without_image"] += 1
        elif garment not in known:
            unknown[garment[:80]] += 1
            error = UserError("Its garment is not known.", expected=", ".join(known), received=repr(garment[:80]))
            selected.failures.append(
                Failure(record_id(product), redact_url(product.url), "unknown_garment", error.one_line)
            )
        else:
            selected.products.append(product)
            selected.garments.append(known[garment])
    if unknown:
        listed = "; ".join(f"{name!r} ({count:,}){nearest(name, known)}" for name, count in unknown.most_common(10))
        logger.warning(
            "Products whose garment the taxonomy does not have, by garment: %s. It has: %s.", listed, ", ".join(known)
        )
    return selected


def _read_labelled(catalogue: Catalogue) -> Iterator[tuple[Product, str | None]]:
    """Yields the products with the names of their garments, None where there is none."""
    require_psycopg()
    from sql.extract import read_garments, read_products
    from sql.inspection import inspect

    for warning in inspect(catalogue.dsn, country=catalogue.country, image_index=catalogue.image_index):
        logger.warning("%s", warning)
    garments = read_garments(catalogue.dsn)
    lists = read_products(
        catalogue.dsn,
        country=catalogue.country,
        image_index=catalogue.image_index,
        on_reconnect=lambda after, error: logger.warning(
            "%s Continuing after product %s with a new snapshot.", error.headline, after
        ),
    )
    for products in lists:
        yield from ((product, garments.get(product.id)) for product in products)
