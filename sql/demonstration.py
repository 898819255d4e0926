"""A made-up catalogue, the same for the same seed, with everything that happens in real ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg

from sql.descriptions import SHOP, WORDS, describe, describe_in
from sql.statements import GARMENTS, SCHEMA

ORDINARY: Final = "one text for each country, one image or more"
SHARED: Final = "an image that another product shows as well"
UNSAID: Final = "nobody has said which garment it is"
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
    UNSAID,
)
"""What is special about a product. The first products are one of each; of the others about half are ordinary."""

_INDEXES: Final = {"no image": (), "images, none at index 0": (1, 2), "two images at index 0": (0, 0, 1)}
# Besides us, whose texts are the cases.
_COUNTRIES: Final = {"gb": "en", "de": "de", "fr": "fr"}
_LANGUAGES: Final = ("en", "de", "fr")
_BRANDS: Final = ("Marlow", "Côte Sud", "Nørd", "O'Hara", "Zwölf", "Kito")
# What is missing, and in which language a text is, the cases say.
_NOISE: Final = replace(SHOP, missing=0.0, foreign=0.0)

# Country, original, translated.
Description = tuple[str, str | None, str | None]


@dataclass
class Demonstration:
    """The rows of a made-up catalogue.

    Attributes:
        products: Titles by product id.
        images: Which garment an image shows, by image id.
        shown: Product, image, index.
        descriptions: Id, product, country, original text (as the retailer wrote it, in a language of its choice) and
            translated text.
        garments: Which garment a product is, by product id, where somebody has said so.
        cases: What is special about a product, one of CASES, by product id.
    """

    products: dict[int, str] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    shown: list[tuple[int, int, int]] = field(default_factory=list)
    descriptions: list[tuple[int, int, str, str | None, str | None]] = field(default_factory=list)
    garments: dict[int, str] = field(default_factory=dict)
    cases: dict[int, str] = field(default_factory=dict)

    def add(self, case: str, garment: str, chance: random.Random) -> None:
        """Adds the next product, with images and texts as the case says."""
        product = len(self.products) + 1
        if case == SHARED:
            shared = chance.randrange(1, len(self.images) + 1)
            garment = self.images[shared]
            self.shown.append((product, shared, 0))
        else:
            self._photograph(product, case, garment, chance)
        self.products[product], self.cases[product] = _title(garment, chance), case
        if case != UNSAID:
            self.garments[product] = garment
        retailer = chance.choice(_LANGUAGES)
        for country, original, translated in _texts(case, garment, retailer, chance):
            self.descriptions.append((len(self.descriptions) + 1, product, country, original, translated))

    def _photograph(self, product: int, case: str, garment: str, chance: random.Random) -> None:
        for index in _INDEXES.get(case, range(chance.choice([1, 1, 2, 3]))):
            image = len(self.images) + 1
            self.images[image] = garment
            self.shown.append((product, image, index))


def demonstration(products: int = 300, seed: int = 0) -> Demonstration:
    """Returns a made-up catalogue: garments in equal shares by chance, ids from 1, the same for the same arguments."""
    chance = random.Random(seed)
    made = Demonstration()
    for number in range(products):
        special = CASES[number] if number < len(CASES) else chance.choice(CASES)
        ordinary = number >= len(CASES) and chance.random() < 0.5
        made.add(ORDINARY if ordinary else special, chance.choice([*WORDS]), chance)
    return made


def fill(dsn: str, made: Demonstration, url_of: Callable[[int], str]) -> None:
    """Makes the tables of `sql/schema.sql` and `sql/garments.sql` in an empty database, and fills them.

    Args:
        dsn: The database.
        made: What they are to hold.
        url_of: The URL of an image, by its id; `made.images` says which garment is to be seen there.

    Raises:
        psycopg.Error: The database is not empty, or not there.
    """
    tables: dict[str, Iterable[tuple[Any, ...]]] = {
        "Product": made.products.items(),
        "Image": ((image, url_of(image)) for image in made.images),
        "ProductImages": made.shown,
        "ProductDescription": made.descriptions,
        "ProductGarment": made.garments.items(),
    }
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(GARMENTS)
        for table, rows in tables.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        cursor.execute(f"ANALYZE {', '.join(tables)}")


def _title(garment: str, chance: random.Random) -> str:
    """Draws a title: a brand and what it is, or now and then a number instead."""
    name = str(chance.randrange(100, 1000)) if chance.random() < SHOP.vague else WORDS[garment].names[0]
    return f"{chance.choice(_BRANDS)} {name}"


def _written(language: str, garment: str, chance: random.Random) -> str:
    return describe(garment, chance, _NOISE) if language == "en" else describe_in(language, garment, chance)


def _texts(case: str, garment: str, retailer: str, chance: random.Random) -> list[Description]:
    """The product's descriptions. What the retailer wrote in the country's language is not translated."""
    if case == "no text":
        return []
    original = _written(retailer, garment, chance)
    others: list[Description] = [
        (country, original, None if language == retailer else _written(language, garment, chance))
        for country, language in _COUNTRIES.items()
    ]
    translated = _written("en", garment, chance)
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
