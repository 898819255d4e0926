"""Tests of sql.synthetic_descriptions: reproducible texts with the requested rates of defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random

import pytest

from models.taxonomy import Taxonomy
from sql.synthetic_descriptions import CLEAN, GARMENTS, LANGUAGES, SHOP, WORDS, Noise, describe, describe_all

COUNT = 4000
MANY = [GARMENTS[index % len(GARMENTS)] for index in range(COUNT)]
KINDS = [kind.name for kind in fields(Noise)]


def test_the_same_seed_gives_the_same_texts() -> None:
    """Another seed gives other texts; a product's text does not depend on the number of products."""
    assert describe_all(MANY, 1, SHOP) == describe_all(MANY, 1, SHOP) != describe_all(MANY, 2, SHOP)
    assert describe_all(MANY[:7], 1, SHOP) == describe_all(MANY, 1, SHOP)[:7]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "typos"])
def test_each_noise_changes_its_share_of_the_texts_and_no_other(kind: str) -> None:
    """Each kind of noise changes the requested share of the texts and leaves the others unchanged."""
    for others in (CLEAN, SHOP):
        without, spoilt = (describe_all(MANY, 3, replace(others, **{kind: share})) for share in (0.0, 0.3))
        changed = sum(a != b for a, b in zip(without, spoilt, strict=True)) / COUNT
        hidden = others.missing + (others.foreign if kind == "vague" else 0)
        assert changed == pytest.approx(0.3 * (1 - hidden), abs=0.03)


def test_a_missing_text_is_empty() -> None:
    """No other noise fills a missing text; without missing ones, no text is blank."""
    assert set(describe_all(MANY, 0, replace(SHOP, missing=1.0))) == {""}
    assert all(text.strip() for text in describe_all(MANY, 0, replace(SHOP, missing=0.0)))


def test_typos_misspell_their_share_of_the_longer_words() -> None:
    """Typos keep the number of words and the first letters, and change a length by at most one."""
    clean, spoilt = (" ".join(describe_all(MANY, 0, Noise(typos=share))).split(" ") for share in (0.0, 0.2))
    assert len(clean) == len(spoilt)
    longer = [(a, b) for a, b in zip(clean, spoilt, strict=True) if len(a) >= 4]
    changed = sum(a != b for a, b in longer) / len(longer)
    assert 0.17 < changed <= 0.2, "two equal letters that change places are no typo"
    assert all(a[0] == b[0] and abs(len(a) - len(b)) <= 1 for a, b in zip(clean, spoilt, strict=True))


def names(garment: str) -> list[str]:
    """The English names of a garment."""
    return [name.lower() for name in WORDS[garment].names]


def share_naming(noise: Noise, about: Callable[[str], list[str]]) -> float:
    """The share of texts that contain one of the names."""
    texts = describe_all(MANY, 5, noise)
    found = [any(name in text.lower() for name in about(g)) for g, text in zip(MANY, texts, strict=True)]
    return sum(found) / COUNT


def test_clean_texts_name_the_garment_and_vague_ones_do_not() -> None:
    """Vague texts name no garment."""
    every = [name for garment in GARMENTS for name in names(garment)]
    assert share_naming(CLEAN, names) == 1
    assert share_naming(Noise(vague=1.0), lambda garment: [name for name in every if name not in ("top", "heels")]) == 0


def test_companions_and_misleading_texts_name_garments_worn_together() -> None:
    """A companion is named with the garment, a misleading text names another instead."""

    def worn_with(garment: str) -> list[str]:
        return [name for other in WORDS[garment].worn_with for name in names(other)]

    assert share_naming(Noise(companions=1.0), worn_with) == share_naming(Noise(companions=1.0), names) == 1
    assert share_naming(Noise(misleading=1.0), worn_with) == 1 > 0.2 > share_naming(Noise(misleading=1.0), names)


def test_garments_worn_together_are_of_different_groups() -> None:
    """So a misleading text names a wrong group too; every garment of the data set has words."""
    taxonomy = Taxonomy.load()
    group = dict(zip(taxonomy.garments, taxonomy.group_of, strict=True))
    assert taxonomy.garments == GARMENTS
    for garment, words in WORDS.items():
        assert group[garment] not in {group[other] for other in words.worn_with}
        assert len(words.foreign) == len(LANGUAGES)


def test_noise_outside_0_to_1_is_an_error() -> None:
    """The error names the kind and the value."""
    with pytest.raises(ValueError, match="typos is not a share from 0 to 1: 30"):
        Noise(typos=30)


def test_a_text_depends_only_on_the_random_state() -> None:
    """Equal states of the random generator give equal texts."""
    assert describe("Bag", Random(4), SHOP) == describe("Bag", Random(4), SHOP)
