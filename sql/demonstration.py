"""A synthetic catalogue for the demonstration and the tests: reproducible, with the cases of real catalogues."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg

from sql.synthetic_descriptions import SHOP, WORDS, describe, describe_in
from sql.tables import CATALOGUE, GARMENTS

ORDINARY: Final = "one text for each country, one image or more"
SHARED: Final = "an image that another product shares"
UNLABELLED: Final = "no garment label"
CASES: Final = (
    ORDINARY,
    "no image",
    "images, none at index 0",
    "two images at index 0",
    SHARED,
    "no translation: NULL",
    "no translation: empty",
    "no translation: blank",
    "both texts NULL",
    "no text",
    "no text for us",
    "country code US instead of us",
    "two texts for us, the later one translated",
    UNLABELLED,
)
"""The special cases. The first products are one of each; about half of the others are ordinary."""

_INDEXES: Final = {"no image": (), "images, none at index 0": (1, 2), "two images at index 0": (0, 0, 1)}
# Besides "us", whose texts the cases decide.
_COUNTRIES: Final = {"gb": "en", "de": "de", "fr": "fr"}
_LANGUAGES: Final = ("en", "de", "fr")
_BRANDS: Final = ("Marlow", "Côte Sud", "Nørd", "O'Hara", "Zwölf", "Kito")
# The cases decide which texts are missing and in which language a text is.
_NOISE: Final = replace(SHOP, missing=0.0, foreign=0.0)

# Country, original, translated.
Description = tuple[str, str | None, str | None]


@dataclass
class Demonstration:
    """The rows of a synthetic catalogue.

    Attributes:
        products: Titles by product id.
        images: The garment that an image shows, by image id.
        product_images: Product id, image id and index of each image of a product.
        descriptions: Id, product, country, original text (as the retailer wrote it, in a language of its choice) and
            translated text.
        garments: The garment of a product, by product id, without the unlabelled ones.
        cases: One of CASES by product id.
    """

    products: dict[int, str] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    product_images: list[tuple[int, int, int]] = field(default_factory=list)
    descriptions: list[tuple[int, int, str, str | None, str | None]] = field(default_factory=list)
    garments: dict[int, str] = field(default_factory=dict)
    cases: dict[int, str] = field(default_factory=dict)

    def add(self, case: str, garment: str, rng: random.Random) -> None:
        """Adds the next product, with the images and texts of the case."""
        product = len(self.products) + 1
        if case == SHARED:
            shared = rng.randrange(1, len(self.images) + 1)
            garment = self.images[shared]
            self.product_images.append((product, shared, 0))
        else:
            self._add_images(product, case, garment, rng)
        self.products[product], self.cases[product] = _title(garment, rng), case
        if case != UNLABELLED:
            self.garments[product] = garment
        retailer = rng.choice(_LANGUAGES)
        for country, original, translated in _texts(case, garment, retailer, rng):
            self.descriptions.append((len(self.descriptions) + 1, product, country, original, translated))

    def _add_images(self, product: int, case: str, garment: str, rng: random.Random) -> None:
        for index in _INDEXES.get(case, range(rng.choice([1, 1, 2, 3]))):
            image = len(self.images) + 1
            self.images[image] = garment
            self.product_images.append((product, image, index))


def make_demonstration(products: int = 300, seed: int = 0) -> Demonstration:
    """Returns a synthetic catalogue with uniformly drawn garments and ids from 1, the same for the same arguments."""
    rng = random.Random(seed)
    catalogue = Demonstration()
    for number in range(products):
        special = CASES[number] if number < len(CASES) else rng.choice(CASES)
        ordinary = number >= len(CASES) and rng.random() < 0.5
        catalogue.add(ORDINARY if ordinary else special, rng.choice([*WORDS]), rng)
    return catalogue


def fill(dsn: str, catalogue: Demonstration, url_of: Callable[[int], str]) -> None:
    """Creates the tables of `sql/schema.sql` and `sql/garments.sql` in an empty database, and fills them.

    Args:
        dsn: The database.
        catalogue: The rows.
        url_of: Returns the URL of an image by its id.

    Raises:
        psycopg.Error: The database is not empty, or cannot be reached.
    """
    tables: dict[str, Iterable[tuple[Any, ...]]] = {
        "Product": catalogue.products.items(),
        "Image": ((image, url_of(image)) for image in catalogue.images),
        "ProductImages": catalogue.product_images,
        "ProductDescription": catalogue.descriptions,
        "ProductGarment": catalogue.garments.items(),
    }
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(CATALOGUE.statement)
        cursor.execute(GARMENTS.statement)
        for table, rows in tables.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        cursor.execute(f"ANALYZE {', '.join(tables)}")


def _title(garment: str, rng: random.Random) -> str:
    """Draws a title: a brand and the garment's name, or sometimes a number instead of the name."""
    name = str(rng.randrange(100, 1000)) if rng.random() < SHOP.vague else WORDS[garment].names[0]
    return f"{rng.choice(_BRANDS)} {name}"


def _description(language: str, garment: str, rng: random.Random) -> str:
    return describe(garment, rng, _NOISE) if language == "en" else describe_in(language, garment, rng)


def _texts(case: str, garment: str, retailer: str, rng: random.Random) -> list[Description]:
    """Returns a product's descriptions. A text that the retailer wrote in the country's language has no translation."""
    if case == "no text":
        return []
    original = _description(retailer, garment, rng)
    others: list[Description] = [
        (country, original, None if language == retailer else _description(language, garment, rng))
        for country, language in _COUNTRIES.items()
    ]
    translated = _description("en", garment, rng)
    ours: dict[str, list[Description]] = {
        "no translation: NULL": [("us", original, None)],
        "no translation: empty": [("us", original, "")],
        "no translation: blank": [("us", original, " \u00a0\n")],
        "both texts NULL": [("us", None, None)],
        "no text for us": [],
        "country code US instead of us": [("US", original, translated)],
        "two texts for us, the later one translated": [("us", original, None), ("us", original, translated)],
    }
    return [*ours.get(case, [("us", original, None if retailer == "en" else translated)]), *others]
