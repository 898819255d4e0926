"""Catalogues for tests of the query: as plain Python, in a database, and drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from hypothesis import strategies as st

from sql.indexes import PRODUCTS
from sql.tables import read_script

INVISIBLE = "\u200b\u2060\ufeff"


class Description(NamedTuple):
    """A row of ProductDescription."""

    id: int
    product: int
    country: str
    original: str | None
    translated: str | None


class Row(NamedTuple):
    """A row of the result."""

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
        product_images: Product id, image id and index.
        descriptions: The descriptions.
    """

    products: dict[int, str] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    product_images: list[tuple[int, int, int]] = field(default_factory=list)
    descriptions: list[Description] = field(default_factory=list)

    def insert(self, connection: Any) -> None:
        """Inserts the rows through a psycopg connection."""
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO Product VALUES (%s, %s)", list(self.products.items()))
            cursor.executemany("INSERT INTO Image VALUES (%s, %s)", list(self.images.items()))
            cursor.executemany("INSERT INTO ProductImages VALUES (%s, %s, %s)", self.product_images)
            cursor.executemany("INSERT INTO ProductDescription VALUES (%s, %s, %s, %s, %s)", self.descriptions)

    def listing(self, country: str = "us", image_index: int = 0) -> list[Row]:
        """Returns the rows that the query must return, by plain loops."""
        return [
            Row(product, title, self._url(product, image_index), self._text(product, country))
            for product, title in sorted(self.products.items())
        ]

    def plain_listing(self) -> list[tuple[str | None, ...]]:
        """Returns the rows of plain joins: title, URL and text for every pair of matching image and description."""
        return [
            (title, url, text)
            for product, title in sorted(self.products.items())
            for url in [self.images[i] for o, i, n in self.product_images if (o, n) == (product, 0)] or [None]
            for text in [
                d.original if d.translated is None else d.translated
                for d in self.descriptions
                if (d.product, d.country) == (product, "us")
            ]
            or [None]
        ]

    def clean(self) -> Catalogue:
        """Returns the catalogue without duplicates and blank texts: the first image and text of each product stay."""
        images = {(product, index): image for product, image, index in reversed(self.product_images)}
        texts = {(text.product, text.country): text for text in reversed(self.descriptions)}
        return Catalogue(
            self.products,
            self.images,
            [(product, image, index) for (product, index), image in images.items()],
            [
                text._replace(original=_visible(text.original), translated=_visible(text.translated))
                for text in texts.values()
            ],
        )

    def _url(self, product: int, image_index: int) -> str | None:
        matching = [image for owner, image, index in self.product_images if (owner, index) == (product, image_index)]
        return self.images[min(matching)] if matching else None

    def _text(self, product: int, country: str) -> str | None:
        matching = sorted(d for d in self.descriptions if (d.product, d.country) == (product, country))
        candidates = [d.translated for d in matching] + [d.original for d in matching]
        return next((text for text in candidates if text is not None and not blank(text)), None)


def _visible(text: str | None) -> str | None:
    return None if text is None or blank(text) else text


def blank(text: str) -> bool:
    """Whether a text consists of white space, in Python's sense, and zero-width characters only."""
    return all(character.isspace() or character in INVISIBLE for character in text)


def query_by_sql(connection: Any, country: str = "us", image_index: int = 0) -> list[Row]:
    """Returns the rows of `sql/products.sql`, with parameters bound by the server."""
    answer = psycopg.Cursor(connection).execute(PRODUCTS, {"country": country, "image_index": image_index})
    return [Row(*row) for row in answer]


def query_by_orm(connection: Any, country: str = "us", image_index: int = 0) -> list[Row]:
    """Returns the rows of `for_listing`, from the model's instances; the connection is Django's own."""
    from sql.django_catalogue.models import Product

    listed = Product.objects.for_listing(country=country, image_index=image_index)
    return [Row(product.id, product.title, product.url, product.description) for product in listed]


QUERIES = (query_by_sql, query_by_orm)


def plain_query_by_sql(connection: Any) -> list[tuple[str | None, ...]]:
    """Returns the rows of `sql/products_plain.sql`, sent as it is."""
    return list(psycopg.Cursor(connection).execute(read_script("products_plain.sql")))


def plain_query_by_orm(connection: Any) -> list[tuple[str | None, ...]]:
    """Returns the rows of `plain_listing`; the connection is Django's own."""
    from sql.django_catalogue.plain_listing import plain_listing

    return list(plain_listing())


PLAIN_QUERIES = (plain_query_by_sql, plain_query_by_orm)

BIGINT = st.integers(-(2**63), 2**63 - 1)
ids = st.one_of(st.integers(-3, 9), BIGINT)
anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
texts = st.one_of(st.none(), st.sampled_from(["", " ", "\t\n", "\u00a0", "\u2003\ufeff", " a ", "'%s"]), anything)
countries = st.sampled_from(["us", "US", "us ", "de", "", "ü"])
indexes = st.one_of(st.integers(-1, 2), st.sampled_from([-(2**31), 2**31 - 1]))


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    """Draws catalogues in which few ids and countries meet often; rows come in any order."""
    products = draw(st.dictionaries(ids, anything, max_size=6))
    images = draw(st.dictionaries(ids, anything, max_size=4))
    drawn = Catalogue(products, images)
    if products:
        owners = st.sampled_from(sorted(products))
        if images:
            pairs = st.tuples(owners, st.sampled_from(sorted(images)), indexes)
            drawn.product_images = draw(st.lists(pairs, max_size=12))
        rows = st.builds(Description, ids, owners, countries, texts, texts)
        drawn.descriptions = draw(st.lists(rows, unique_by=lambda row: row.id, max_size=12))
    return drawn


@st.composite
def crowded_catalogues(draw: st.DrawFn) -> Catalogue:
    """Draws catalogues of two products in which several images and texts compete for nearly every row."""
    drawn = Catalogue({1: "Shirt", 2: "Boot"}, {number: f"{number}.jpg" for number in range(1, 5)})
    owners, order = st.integers(1, 2), draw(st.permutations(range(1, 9)))
    pairs = st.tuples(owners, st.integers(1, 4), st.sampled_from([0, 0, 0, 1]))
    drawn.product_images = draw(st.lists(pairs, max_size=8))
    few = st.sampled_from([None, "", " ", "a", "b", "c", "d"])
    descriptions = st.tuples(owners, st.sampled_from(["us", "us", "us", "de"]), few, few)
    rows = draw(st.lists(descriptions, max_size=8))
    drawn.descriptions = [Description(number, *row) for number, row in zip(order, rows, strict=False)]
    return drawn
