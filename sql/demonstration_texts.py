"""Words for made-up products: titles and texts in three languages, some vague, some misleading, some misspelt."""

from __future__ import annotations

import random
from typing import Final, Literal, NamedTuple

Language = Literal["en", "de", "fr"]

NOUNS: Final[dict[str, dict[Language, str]]] = {
    "T-shirt/top": {"en": "T-shirt", "de": "T-Shirt", "fr": "T-shirt"},
    "Trouser": {"en": "trousers", "de": "Hose", "fr": "pantalon"},
    "Pullover": {"en": "pullover", "de": "Pullover", "fr": "pull"},
    "Dress": {"en": "dress", "de": "Kleid", "fr": "robe"},
    "Coat": {"en": "coat", "de": "Mantel", "fr": "manteau"},
    "Sandal": {"en": "sandals", "de": "Sandalen", "fr": "sandales"},
    "Shirt": {"en": "shirt", "de": "Hemd", "fr": "chemise"},
    "Sneaker": {"en": "sneakers", "de": "Sneaker", "fr": "baskets"},
    "Bag": {"en": "bag", "de": "Tasche", "fr": "sac"},
    "Ankle boot": {"en": "ankle boots", "de": "Stiefeletten", "fr": "bottines"},
}
"""The garments, and what a shop calls them."""

_COLOURS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("black", "white", "red", "blue", "green", "grey"),
    "de": ("Schwarz", "Weiß", "Rot", "Blau", "Grün", "Grau"),
    "fr": ("noir", "blanc", "rouge", "bleu", "vert", "gris"),
}
_MATERIALS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("cotton", "linen", "wool", "leather", "canvas"),
    "de": ("Baumwolle", "Leinen", "Wolle", "Leder", "Segeltuch"),
    "fr": ("coton", "lin", "laine", "cuir", "toile"),
}
_LOOKS: Final[dict[Language, str]] = {
    "en": "in {colour}, made of {material}.",
    "de": "in {colour}, aus {material}.",
    "fr": "en {material}, {colour}.",
}
_PRAISE: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("For every day.", "New this season.", "True to size."),
    "de": ("Für jeden Tag.", "Neu in dieser Saison.", "Fällt normal aus."),
    "fr": ("Pour tous les jours.", "Nouveau cette saison.", "Taille normalement."),
}
_BESIDE: Final[dict[Language, str]] = {
    "en": "Goes with any {other}.",
    "de": "Passt gut zu {other}.",
    "fr": "Se porte avec {other}.",
}
_BRANDS: Final = ("Marlow", "Côte Sud", "Nørd", "O'Hara", "Zwölf", "Kito")

VAGUE: Final = 0.2
"""The share of texts, and of titles, that do not name the garment."""
MISLEADING: Final = 0.2
"""The share of texts that name another garment as well."""
MISSPELT: Final = 0.1
"""The share of texts in which two letters have changed places."""


class Text(NamedTuple):
    """What is said of a product, in any language; made by `text`.

    Attributes:
        garment: What it is.
        named: Whether the text says so.
        other: Another garment that the text names.
        colour: The number of its colour.
        material: The number of its material.
        praise: The number of its last sentence.
    """

    garment: str
    named: bool
    other: str | None
    colour: int
    material: int
    praise: int

    def written(self, language: Language, chance: random.Random) -> str:
        """Returns the text in a language, now and then misspelt."""
        looks = _LOOKS[language].format(
            colour=_COLOURS[language][self.colour], material=_MATERIALS[language][self.material]
        )
        sentences = [f"{NOUNS[self.garment][language]} {looks}" if self.named else looks]
        if self.other:
            sentences.append(_BESIDE[language].format(other=NOUNS[self.other][language]))
        sentences.append(_PRAISE[language][self.praise])
        text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
        return _misspelt(text, chance) if chance.random() < MISSPELT else text


def text(garment: str, chance: random.Random) -> Text:
    """Draws what is said of a garment."""
    return Text(
        garment,
        chance.random() >= VAGUE,
        chance.choice([other for other in NOUNS if other != garment]) if chance.random() < MISLEADING else None,
        chance.randrange(len(_COLOURS["en"])),
        chance.randrange(len(_MATERIALS["en"])),
        chance.randrange(len(_PRAISE["en"])),
    )


def title(garment: str, chance: random.Random) -> str:
    """Draws a title: a brand and what it is, or a number instead."""
    name = str(chance.randrange(100, 1000)) if chance.random() < VAGUE else NOUNS[garment]["en"]
    return f"{chance.choice(_BRANDS)} {name}"


def _misspelt(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) - 1)
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
