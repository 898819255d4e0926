"""What happens in real catalogues: one product a case, with the answer that `docs/catalogue_query.md` promises."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sql.catalogue import Catalogue, Description

MEGABYTE = "0123456789abcdef" * 65536
Text = tuple[str, str | None, str | None]


def us(original: str | None, translated: str | None) -> Text:
    """A description for the country that is asked for."""
    return ("us", original, translated)


@dataclass(frozen=True)
class Edge:
    """One product and its answer.

    Attributes:
        name: What is special about it.
        url: The answer's URL.
        description: The answer's text.
        images: Image and index, for every image of the product. Image 7 has the URL "7.jpg", whoever shows it.
        texts: Country, original and translation, in the order of their ids.
        title: Its title.
    """

    name: str
    url: str | None
    description: str | None
    images: tuple[tuple[int, int], ...] = ((1, 0),)
    texts: tuple[Text, ...] = (us("original", "translated"),)
    title: str = "Shirt"


EDGES = (
    Edge("one image, both texts", "1.jpg", "translated"),
    Edge("no image", None, "translated", images=()),
    Edge("images, none at index 0", None, "translated", images=((1, 1), (2, 2))),
    Edge("two images at index 0: the lower image id", "2.jpg", "translated", images=((3, 0), (2, 0))),
    Edge("the same image twice at index 0", "1.jpg", "translated", images=((1, 0), (1, 0))),
    Edge("an image at index 0 and at others", "4.jpg", "translated", images=((4, 2), (4, 0), (5, 1))),
    Edge("an image that other products show as well", "1.jpg", "translated", images=((1, 0), (2, 1))),
    Edge("no image and no description", None, None, images=(), texts=()),
    Edge("no description", "1.jpg", None, texts=()),
    Edge(
        "descriptions for other countries only", "1.jpg", None, texts=(("de", "Hemd", "shirt"), ("fr", "chemise", None))
    ),
    Edge(
        "country code US, USA or 'us ', not us", "1.jpg", None, texts=tuple((c, "a", "b") for c in ("US", "USA", "us "))
    ),
    Edge("translation NULL", "1.jpg", "original", texts=(us("original", None),)),
    Edge("translation empty", "1.jpg", "original", texts=(us("original", ""),)),
    Edge("translation blank: spaces, tabs, newlines", "1.jpg", "original", texts=(us("original", " \t\r\n "),)),
    Edge(
        "translation blank: non-breaking and ideographic spaces",
        "1.jpg",
        "original",
        texts=(us("original", "\u00a0\u202f\u3000"),),
    ),
    Edge(
        "translation blank: zero-width space, byte order mark",
        "1.jpg",
        "original",
        texts=(us("original", "\u200b\ufeff"),),
    ),
    Edge(
        "translation with spaces around it: unchanged",
        "1.jpg",
        " translated\n",
        texts=(us("original", " translated\n"),),
    ),
    Edge("translation, no original", "1.jpg", "translated", texts=(us(None, "translated"),)),
    Edge("both texts NULL", "1.jpg", None, texts=(us(None, None),)),
    Edge("no translation, original blank", "1.jpg", None, texts=(us(" \u00a0", None),)),
    Edge("two us rows, both translated: the lower id", "1.jpg", "first", texts=(us("a", "first"), us("b", "second"))),
    Edge("two us rows, the later one translated", "1.jpg", "second", texts=(us("original", None), us("b", "second"))),
    Edge(
        "two us rows, neither translated: the lower id", "1.jpg", "first", texts=(us("first", None), us("second", " "))
    ),
    Edge("two us rows, the earlier one blank", "1.jpg", "second", texts=(us(" ", ""), us("second", None))),
    Edge("other countries beside us", "1.jpg", "shirt", texts=(("de", "Hemd", "Hemd"), us("chemise", "shirt"))),
    Edge(
        "quotes, per cent signs, backslashes",
        "1.jpg",
        """'";-- %s %(x)s \\n""",
        texts=(us("a", """'";-- %s %(x)s \\n"""),),
        title="""O'Neill "S" 100%""",
    ),
    Edge(
        "emoji, combining and right-to-left characters",
        "1.jpg",
        "👗🏽 e\u0301 فستان",
        texts=(us("a", "👗🏽 e\u0301 فستان"),),
        title="👗",
    ),
    Edge("texts of 1 MB", "1.jpg", MEGABYTE, texts=(us(MEGABYTE[::-1], MEGABYTE),)),
    Edge("a translation of 1 MB of spaces", "1.jpg", "original", texts=(us("original", " " * 2**20),)),
    Edge("empty title", "1.jpg", "translated", title=""),
)


def catalogue() -> Catalogue:
    """All cases as one catalogue, the product of case n with id n. Higher ids are inserted first."""
    made = Catalogue()
    for product, edge in reversed(list(enumerate(EDGES))):
        made.products[product] = edge.title
        made.images |= {image: f"{image}.jpg" for image, _ in edge.images}
        made.shown += [(product, image, index) for image, index in edge.images]
        texts = [Description(product * 10 + place, product, *text) for place, text in enumerate(edge.texts)]
        made.descriptions += reversed(texts)
    made.images = dict(sorted(made.images.items(), reverse=True))
    return made
