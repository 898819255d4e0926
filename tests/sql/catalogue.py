"""A catalogue as plain Python, its rows in a database, and what the query must answer, by loops alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

INVISIBLE = "\u200b\u2060\ufeff"


class Description(NamedTuple):
    """A row of ProductDescription."""

    id: int
    product: int
    country: str
    original: str | None
    translated: str | None


class Row(NamedTuple):
    """A row of the answer."""

    id: int
    title: str | None
    url: str | None
    description: str | None


@dataclass
class Catalogue:
    """The rows of the four tables, in the order in which they are inserted.

    Attributes:
        products: Titles by id.
        images: URLs by id.
        shown: Product, image, index.
        descriptions: The texts.
    """

    products: dict[int, str] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    shown: list[tuple[int, int, int]] = field(default_factory=list)
    descriptions: list[Description] = field(default_factory=list)

    def insert(self, connection: Any) -> None:
        """Puts the rows into the tables of a psycopg connection."""
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO Product VALUES (%s, %s)", list(self.products.items()))
            cursor.executemany("INSERT INTO Image VALUES (%s, %s)", list(self.images.items()))
            cursor.executemany("INSERT INTO ProductImages VALUES (%s, %s, %s)", self.shown)
            cursor.executemany("INSERT INTO ProductDescription VALUES (%s, %s, %s, %s, %s)", self.descriptions)

    def listing(self, country: str = "us", image_index: int = 0) -> list[Row]:
        """What the query must answer."""
        return [
            Row(product, title, self._url(product, image_index), self._text(product, country))
            for product, title in sorted(self.products.items())
        ]

    def _url(self, product: int, image_index: int) -> str | None:
        matching = [image for owner, image, index in self.shown if (owner, index) == (product, image_index)]
        return self.images[min(matching)] if matching else None

    def _text(self, product: int, country: str) -> str | None:
        matching = sorted(d for d in self.descriptions if (d.product, d.country) == (product, country))
        candidates = [d.translated for d in matching] + [d.original for d in matching]
        return next((text for text in candidates if text is not None and not blank(text)), None)


def blank(text: str) -> bool:
    """Whether a text shows nothing: white space as Python knows it, and characters without width."""
    return all(character.isspace() or character in INVISIBLE for character in text)
