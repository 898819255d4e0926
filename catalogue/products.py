"""The products of a catalogue that can be learnt from, and whether any of them has changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from catalogue.dsn import as_user_error, given
from serving.fetching.errors import redact_url

if TYPE_CHECKING:
    from sql.extract import Product

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """What is read of which catalogue.

    Attributes:
        dsn: Where it is.
        country: Whose descriptions are read.
        image_index: Which of a product's images is read.
        garments: Their names, by index.
    """

    dsn: str
    country: str
    image_index: int
    garments: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A product without an example: a line of `failures.jsonl`.

    Attributes:
        product: Its id.
        url: Of its image, without a password.
        reason: In a stable word: one of `serving.fetching`'s `Failed`, `unknown_garment`, `blank` or `placeholder`.
        message: In a sentence.
    """

    product: int
    url: str
    reason: str
    message: str


@dataclass
class Selection:
    """The products to learn from, and what became of the others.

    Attributes:
        products: With a URL and a garment.
        garments: The garments' indices, one for each of these.
        failures: Products that should have an example and have none.
        counts: `products`, `without_garment` and `without_image`.
    """

    products: list[Product] = field(default_factory=list)
    garments: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def catalogue_state(parameters: Mapping[str, Any]) -> Mapping[str, str]:
    """Returns a digest of what ExampleGen would read of the catalogue with these parameters.

    Raises:
        UserError: The catalogue cannot be read.
    """
    if parameters["source"] != "catalogue":
        return {}
    with as_user_error():
        from sql.digest import catalogue_digest

        digest = catalogue_digest(
            given(parameters["dsn"]), country=parameters["country"], image_index=parameters["image_index"]
        )
    return {"catalogue": digest}


def select_products(catalogue: Catalogue) -> Selection:
    """Reads a catalogue to its end and sorts its products out.

    Raises:
        UserError: The catalogue cannot be read, or knows no garments.
    """
    known = {name: index for index, name in enumerate(catalogue.garments)}
    selected = Selection()
    for product, garment in _named(catalogue):
        selected.counts["products"] += 1
        if garment is None:
            selected.counts["without_garment"] += 1
        elif product.url is None:
            selected.counts["without_image"] += 1
        elif garment not in known:
            message = f"Its garment is not known. Expected: {', '.join(known)}. Received: {garment[:80]!r}"
            selected.failures.append(Failure(product.id, redact_url(product.url), "unknown_garment", message))
        else:
            selected.products.append(product)
            selected.garments.append(known[garment])
    return selected


def _named(catalogue: Catalogue) -> Iterator[tuple[Product, str | None]]:
    """Yields the products with the names of their garments."""
    with as_user_error():
        from sql.extract import read_products
        from sql.garments import read_garments

        garments = read_garments(catalogue.dsn)
        read = read_products(
            catalogue.dsn,
            country=catalogue.country,
            image_index=catalogue.image_index,
            on_reconnect=lambda after, error: logger.warning(
                "%s Going on after product %d, with a new snapshot.", error.headline, after
            ),
        )
        for some in read:
            yield from ((product, garments.get(product.id)) for product in some)
