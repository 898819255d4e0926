"""Edge cases of real catalogues: one product each, with the row that docs/catalogue_query.md promises."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sql.catalogue import Catalogue, Description

MEGABYTE = "0123456789abcdef" * 65536
Text = tuple[str, str | None, str | None]


def us(original: str | None, translated: str | None) -> Text:
    """A description for the queried country."""
    return ("us", original, translated)


@dataclass(frozen=True)
class EdgeCase:
    """One product and its row in the result.

    Attributes:
        name: The special property of the product.
        url: The URL in the result.
        description: The text in the result.
        images: Image id and index of every image of the product. Image 7 has the URL "7.jpg" for every product.
        texts: Country, original and translation, in the order of their ids.
        title: The product's title.
        why: Where `sql/products_plain.sql` returns something else, the reason for the row above.
    """

    name: str
    url: str | None
    description: str | None
    images: tuple[tuple[int, int], ...] = ((1, 0),)
    texts: tuple[Text, ...] = (us("original", "translated"),)
    title: str = "Shirt"
    why: str = ""


TWICE = "a product must not appear twice"
EMPTY = "an empty text is not a description"
BLANK = "a text without a visible character is not a description"
EDGE_CASES = (
    EdgeCase("one image, both texts", "1.jpg", "translated"),
    EdgeCase("no image", None, "translated", images=()),
    EdgeCase("images, none at index 0", None, "translated", images=((1, 1), (2, 2))),
    EdgeCase("two images at index 0: the lower image id", "2.jpg", "translated", images=((3, 0), (2, 0)), why=TWICE),
    EdgeCase("the same image twice at index 0", "1.jpg", "translated", images=((1, 0), (1, 0)), why=TWICE),
    EdgeCase("an image at index 0 and at others", "4.jpg", "translated", images=((4, 2), (4, 0), (5, 1))),
    EdgeCase("an image that other products share", "1.jpg", "translated", images=((1, 0), (2, 1))),
    EdgeCase("no image and no description", None, None, images=(), texts=()),
    EdgeCase("no description", "1.jpg", None, texts=()),
    EdgeCase(
        "descriptions for other countries only", "1.jpg", None, texts=(("de", "Hemd", "shirt"), ("fr", "chemise", None))
    ),
    EdgeCase(
        "country code US, USA or 'us ', not us", "1.jpg", None, texts=tuple((c, "a", "b") for c in ("US", "USA", "us "))
    ),
    EdgeCase("translation NULL", "1.jpg", "original", texts=(us("original", None),)),
    EdgeCase("translation empty", "1.jpg", "original", texts=(us("original", ""),), why=EMPTY),
    EdgeCase(
        "translation blank: spaces, tabs, newlines", "1.jpg", "original", texts=(us("original", " \t\r\n "),), why=BLANK
    ),
    EdgeCase(
        "translation blank: non-breaking and ideographic spaces",
        "1.jpg",
        "original",
        texts=(us("original", "\u00a0\u202f\u3000"),),
        why=BLANK,
    ),
    EdgeCase(
        "translation blank: zero-width space, byte order mark",
        "1.jpg",
        "original",
        texts=(us("original", "\u200b\ufeff"),),
        why=BLANK,
    ),
    EdgeCase(
        "translation with spaces around it: unchanged",
        "1.jpg",
        " translated\n",
        texts=(us("original", " translated\n"),),
    ),
    EdgeCase("translation, no original", "1.jpg", "translated", texts=(us(None, "translated"),)),
    EdgeCase("both texts NULL", "1.jpg", None, texts=(us(None, None),)),
    EdgeCase("no translation, original blank", "1.jpg", None, texts=(us(" \u00a0", None),), why=BLANK),
    EdgeCase(
        "two us rows, both translated: lower id",
        "1.jpg",
        "first",
        texts=(us("a", "first"), us("b", "second")),
        why=TWICE,
    ),
    EdgeCase(
        "two us rows, the later translated",
        "1.jpg",
        "second",
        texts=(us("original", None), us("b", "second")),
        why=TWICE,
    ),
    EdgeCase(
        "two us rows, neither translated: lower id",
        "1.jpg",
        "first",
        texts=(us("first", None), us("second", " ")),
        why=TWICE,
    ),
    EdgeCase("two us rows, the earlier blank", "1.jpg", "second", texts=(us(" ", ""), us("second", None)), why=TWICE),
    EdgeCase("other countries beside us", "1.jpg", "shirt", texts=(("de", "Hemd", "Hemd"), us("chemise", "shirt"))),
    EdgeCase(
        "quotes, per cent signs, backslashes",
        "1.jpg",
        """'";-- %s %(x)s \\n""",
        texts=(us("a", """'";-- %s %(x)s \\n"""),),
        title="""O'Neill "S" 100%""",
    ),
    EdgeCase(
        "emoji, combining and right-to-left characters",
        "1.jpg",
        "👗🏽 e\u0301 فستان",
        texts=(us("a", "👗🏽 e\u0301 فستان"),),
        title="👗",
    ),
    EdgeCase("texts of 1 MB", "1.jpg", MEGABYTE, texts=(us(MEGABYTE[::-1], MEGABYTE),)),
    EdgeCase("a translation of 1 MB of spaces", "1.jpg", "original", texts=(us("original", " " * 2**20),), why=BLANK),
    EdgeCase("empty title", "1.jpg", "translated", title=""),
)


def edge_case_catalogue() -> Catalogue:
    """Returns all cases as one catalogue, with case n as product n. Higher ids are inserted first."""
    catalogue = Catalogue()
    for product, case in reversed(list(enumerate(EDGE_CASES))):
        _add(case, product, catalogue)
    catalogue.images = dict(sorted(catalogue.images.items(), reverse=True))
    return catalogue


def catalogue_of(case: EdgeCase) -> Catalogue:
    """Returns a catalogue with one case alone, as product 1."""
    catalogue = Catalogue()
    _add(case, 1, catalogue)
    return catalogue


def _add(case: EdgeCase, product: int, catalogue: Catalogue) -> None:
    catalogue.products[product] = case.title
    catalogue.images |= {image: f"{image}.jpg" for image, _ in case.images}
    catalogue.product_images += [(product, image, index) for image, index in case.images]
    texts = [Description(product * 10 + number, product, *text) for number, text in enumerate(case.texts)]
    catalogue.descriptions += reversed(texts)
