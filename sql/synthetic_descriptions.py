"""Synthetic product descriptions, for the demonstration catalogue and for experiments with text.

No real texts were available, so these are templates: plain English about a garment, with invented brands. The defects
of shops' texts are added on purpose, each kind with a rate of its own (`Noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import NamedTuple


@dataclass(frozen=True)
class Noise:
    """Rates of the defects in the texts, each kind independent of the others; all are shares from 0 to 1.

    Attributes:
        missing: Products whose text is empty.
        vague: Texts that do not name the garment, only its material and details.
        typos: Words of four letters and more in which two letters are swapped, or one is dropped or doubled.
        foreign: Texts in German, French, Italian or Dutch.
        babble: Texts with a sentence about the brand, an invented word in it.
        companions: Texts that also name a garment of another kind that goes well with this one.
        misleading: Texts that describe another garment, one that this one is worn with: the photograph shows an outfit,
            and the text describes its other part.
    """

    missing: float = 0.0
    vague: float = 0.0
    typos: float = 0.0
    foreign: float = 0.0
    babble: float = 0.0
    companions: float = 0.0
    misleading: float = 0.0

    def __post_init__(self) -> None:
        for name, share in asdict(self).items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is not a share from 0 to 1: {share!r}")


CLEAN = Noise()
SHOP = Noise(missing=0.1, vague=0.2, typos=0.03, foreign=0.05, babble=0.5, companions=0.3, misleading=0.01)
"""Our guess of the rates in a shop: no shop's texts were available."""


class Words(NamedTuple):
    """The words that shops use for a garment.

    Attributes:
        names: Its names, the plainest first.
        foreign: The same in German, French, Italian and Dutch, in the order of `LANGUAGES`.
        materials: Its possible materials.
        details: Its possible details.
        worn_with: Garments of other groups.
    """

    names: tuple[str, ...]
    foreign: tuple[str, ...]
    materials: tuple[str, ...]
    details: tuple[str, ...]
    worn_with: tuple[str, ...]


# Names overlap on purpose: "top" may mean three garments, a shirt dress is not a shirt, a boot bag not a boot.
WORDS = {
    "T-shirt/top": Words(
        ("T-shirt", "tee", "top", "tank top", "crew-neck tee", "jersey top"),
        ("Kurzarmshirt", "maillot", "maglietta", "hemdje"),
        ("cotton", "organic cotton", "jersey", "linen blend"),
        ("short sleeves", "a crew neck", "a V-neck", "a print on the chest", "a relaxed fit"),
        ("Trouser", "Sneaker", "Bag"),
    ),
    "Trouser": Words(
        ("trousers", "chinos", "slacks", "jeans", "cargo pants", "joggers"),
        ("Hose", "pantalon", "pantaloni", "broek"),
        ("denim", "cotton twill", "wool blend", "corduroy"),
        ("a tapered leg", "a high waist", "five pockets", "a zip fly", "belt loops"),
        ("Shirt", "Pullover", "Ankle boot"),
    ),
    "Pullover": Words(
        ("pullover", "jumper", "sweater", "sweatshirt", "top", "knit top"),
        ("Strickpulli", "pull", "maglione", "trui"),
        ("merino wool", "cashmere blend", "cotton fleece", "lambswool"),
        ("ribbed cuffs", "a roll neck", "long sleeves", "a crew neck", "a relaxed fit"),
        ("Trouser", "Ankle boot", "Bag"),
    ),
    "Dress": Words(
        ("dress", "midi dress", "shirt dress", "jumper dress", "T-shirt dress", "gown"),
        ("Kleid", "robe", "vestito", "jurk"),
        ("cotton", "viscose", "satin", "jersey"),
        ("a flared skirt", "short sleeves", "a belted waist", "a V-neck", "buttons to the hem"),
        ("Coat", "Sandal", "Bag"),
    ),
    "Coat": Words(
        ("coat", "trench coat", "parka", "jacket", "overcoat", "shirt jacket"),
        ("Mantel", "manteau", "cappotto", "jas"),
        ("wool blend", "cotton twill", "recycled polyester", "boiled wool"),
        ("a warm lining", "two rows of buttons", "a hood", "long sleeves", "deep pockets"),
        ("Dress", "Trouser", "Ankle boot"),
    ),
    "Sandal": Words(
        ("sandals", "slides", "flip-flops", "strappy sandals", "mules", "heels"),
        ("Sandalen", "sandales", "sandali", "slippers"),
        ("leather", "faux leather", "cork", "suede"),
        ("an open toe", "a block heel", "an ankle strap", "a cushioned footbed"),
        ("Dress", "T-shirt/top", "Bag"),
    ),
    "Shirt": Words(
        ("shirt", "blouse", "Oxford shirt", "button-down", "top", "polo shirt"),
        ("Hemd", "chemise", "camicia", "overhemd"),
        ("cotton", "linen blend", "poplin", "viscose"),
        ("long sleeves", "a button placket", "a spread collar", "a pocket on the chest", "a relaxed fit"),
        ("Trouser", "Sneaker", "Bag"),
    ),
    "Sneaker": Words(
        ("sneakers", "trainers", "running shoes", "low-tops", "tennis shoes", "skate shoes"),
        ("Turnschuhe", "baskets", "scarpe sportive", "sportschoenen"),
        ("leather", "mesh", "canvas", "suede"),
        ("a rubber sole", "a cushioned footbed", "flat laces", "a padded collar"),
        ("Trouser", "T-shirt/top", "Dress"),
    ),
    "Bag": Words(
        ("bag", "handbag", "tote", "shoulder bag", "clutch", "boot bag"),
        ("Tasche", "sac", "borsa", "tas"),
        ("leather", "faux leather", "canvas", "suede"),
        ("an adjustable strap", "a zip pocket inside", "a magnetic clasp", "two handles"),
        ("Dress", "Coat", "Sandal"),
    ),
    "Ankle boot": Words(
        ("ankle boots", "boots", "Chelsea boots", "booties", "lace-up boots", "heels"),
        ("Stiefeletten", "bottines", "stivaletti", "enkellaarsjes"),
        ("leather", "suede", "faux leather", "nubuck"),
        ("a block heel", "elastic sides", "a rubber sole", "a warm lining", "a side zip"),
        ("Trouser", "Coat", "Dress"),
    ),
}
GARMENTS = tuple(WORDS)
"""The garments that have words."""

_BRANDS = ("Norvella", "Halden & Moss", "Quill Street", "Tarnby", "Osmera", "Fennick", "Lune Atelier", "Brackwater")
_COLOURS = ("black", "navy", "white", "sand", "olive", "burgundy", "light blue", "charcoal", "cream", "rust")
_NAMED = (
    "{brand} {name} in {colour} {material}, with {detail}.",
    "{name} by {brand}. Made of {material} in {colour}, it has {detail}.",
    "These days everybody wants {material}: {colour} {name} with {detail}, from {brand}.",
    "{colour} {name}, {material}, {detail}.",
)
_VAGUE = (
    "{brand} in {colour} {material}, with {detail}.",
    "A favourite from {brand}, made of {material} in {colour}. It has {detail}.",
    "New in: {colour}, {material}.",
)
_FOREIGN = {
    "de": "{name} von {brand}, neu eingetroffen und sofort lieferbar.",
    "fr": "{name} de chez {brand}, nouvelle collection disponible.",
    "it": "{name} di {brand}, nuova collezione appena arrivata.",
    "nl": "{name} van {brand}, nieuw binnen en direct leverbaar.",
}
LANGUAGES = tuple(_FOREIGN)
"""The languages besides English."""

_BABBLE = (
    "Part of our {word} line, designed for the way you live.",
    "With {word}, only at {brand}: we have believed in better since 1987.",
    "Join the {word} club and save on what you love.",
)
_COMPANIONS = ("Goes well with our {name}.", "Wear it with {brand} {name}.", "Our tip: {colour} {name} from {brand}.")
_SYLLABLES = ("ve", "lo", "tri", "sky", "mo", "ra", "zen", "fi", "lux", "no", "ter", "wea")


def describe(garment: str, random: Random, noise: Noise = CLEAN) -> str:
    """Returns a product's description; empty where it is missing.

    The same state of `random` gives the same text under every noise, except for what the noise changes.

    Args:
        garment: One of `GARMENTS`.
        random: The source of all random choices.
        noise: The rates of the defects. Defaults to none.
    """
    applies = {kind.name: random.random() < getattr(noise, kind.name) for kind in fields(noise)}
    seeds = [random.getrandbits(32) for _ in range(4)]
    if applies["missing"]:
        return ""
    companion = Random(seeds[0]).choice(WORDS[garment].worn_with)
    described = companion if applies["misleading"] else garment
    sentences = [_sentence(described, Random(seeds[1]), applies["vague"], applies["foreign"])]
    if applies["companions"]:
        sentences.append(_fill(Random(seeds[2]), _COMPANIONS, garment if applies["misleading"] else companion))
    if applies["babble"]:
        sentences.append(_fill(Random(seeds[3]), _BABBLE, described))
    text = " ".join(sentences)
    return " ".join(_mistyped(word, random, noise.typos) for word in text.split(" ")) if noise.typos else text


def describe_all(garments: Sequence[str], seed: int, noise: Noise = CLEAN) -> list[str]:
    """Returns a description for each product; a description does not depend on the number of others."""
    return [describe(garment, Random(f"{seed} {index}"), noise) for index, garment in enumerate(garments)]


def describe_in(language: str, garment: str, random: Random) -> str:
    """Returns a plain description in one of `LANGUAGES`."""
    name = WORDS[garment].foreign[LANGUAGES.index(language)]
    return _FOREIGN[language].format(name=name, brand=random.choice(_BRANDS))


def _sentence(garment: str, random: Random, vague: bool, foreign: bool) -> str:
    if foreign:
        return describe_in(random.choice(LANGUAGES), garment, random)
    return _fill(random, _VAGUE if vague else _NAMED, garment)


def _fill(random: Random, templates: Sequence[str], garment: str) -> str:
    """Returns one of the templates, filled in for the garment."""
    words = WORDS[garment]
    filled = random.choice(templates).format(
        name=random.choice(words.names),
        brand=random.choice(_BRANDS),
        colour=random.choice(_COLOURS),
        material=random.choice(words.materials),
        detail=random.choice(words.details),
        word="".join(random.choices(_SYLLABLES, k=3)).capitalize(),
    )
    return filled[0].upper() + filled[1:]


def _mistyped(word: str, random: Random, share: float) -> str:
    if random.random() >= share or len(word) < 4:
        return word
    index = random.randrange(1, len(word) - 2)
    letter, following = word[index], word[index + 1]
    middle = random.choice((following + letter, following, letter + letter + following))
    return word[:index] + middle + word[index + 2 :]
