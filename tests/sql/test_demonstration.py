"""Tests of sql.demonstration: a catalogue that is the same every time, and has what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.demonstration import CASES, SHARED, UNLABELLED, Demonstration, fill, make_demonstration
from sql.extract import Product, read_products
from sql.synthetic_descriptions import WORDS

PRODUCTS = 400


@pytest.fixture(scope="module")
def catalogue() -> Demonstration:
    """The rows of the demonstration catalogue."""
    return make_demonstration(PRODUCTS, seed=3)


@pytest.fixture(scope="module")
def read(dsn: str, catalogue: Demonstration) -> Iterator[dict[int, Product]]:
    """Its products as read from PostgreSQL, by id."""
    name = f"fashion_demonstration_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        ours = make_conninfo(dsn, options=f"-csearch_path={name}")
        fill(ours, catalogue, lambda image: f"https://example.com/{image}.jpg")
        yield {product.id: product for products in read_products(ours) for product in products}
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def products_of(case: str, catalogue: Demonstration, read: dict[int, Product]) -> list[Product]:
    """The products of a case, at least one."""
    found = [read[product] for product, its in catalogue.cases.items() if its == case]
    assert found
    return found


def test_the_same_seed_gives_the_same_catalogue(catalogue: Demonstration) -> None:
    """Equal arguments give equal catalogues; another seed gives another catalogue."""
    assert make_demonstration(PRODUCTS, seed=3) == catalogue != make_demonstration(PRODUCTS, seed=4)


def test_every_product_is_there(catalogue: Demonstration, read: dict[int, Product]) -> None:
    """The products begin with one of each case, keep their titles, and have images of their garment."""
    assert {product.id: product.title for product in read.values()} == catalogue.products
    assert [catalogue.cases[product] for product in range(1, len(CASES) + 1)] == [*CASES]
    assert all(
        catalogue.images[image] == catalogue.garments.get(product, catalogue.images[image])
        for product, image, _ in catalogue.product_images
    )


def test_cases_match_their_names(catalogue: Demonstration, read: dict[int, Product]) -> None:
    """The query returns for each case what it returns for such products in general."""
    for case in ("no image", "images, none at index 0"):
        assert {product.url for product in products_of(case, catalogue, read)} == {None}
    for case in ("both texts NULL", "no text", "no text for us", "country code US instead of us"):
        assert {product.description for product in products_of(case, catalogue, read)} == {None}
    original = {product: text for _, product, country, text, _ in catalogue.descriptions if country == "us"}
    for case in ("no translation: NULL", "no translation: empty", "no translation: blank"):
        assert all(product.description == original[product.id] for product in products_of(case, catalogue, read))
    owners = [image for _, image, _ in catalogue.product_images]
    shared = {product: image for product, image, _ in catalogue.product_images if catalogue.cases[product] == SHARED}
    assert all(owners.count(shared[product.id]) > 1 for product in products_of(SHARED, catalogue, read))
    assert {
        product.id for product in products_of(UNLABELLED, catalogue, read)
    } == catalogue.products.keys() - catalogue.garments.keys()


def test_texts_help_and_mislead(catalogue: Demonstration, read: dict[int, Product]) -> None:
    """Most texts name the garment, some name none, and some name another."""
    named, unnamed, misleading = 0, 0, 0
    for product, garment in catalogue.garments.items():
        text = (read[product].description or "").lower()
        own, *others = [
            any(name.lower() in text for name in (*WORDS[g].names, *WORDS[g].foreign))
            for g in (garment, *WORDS[garment].worn_with)
        ]
        named, unnamed, misleading = named + own, unnamed + (not own and text != ""), misleading + any(others)
    assert named > unnamed > 20
    assert misleading > 40


def test_each_case_has_the_rows_of_its_name(catalogue: Demonstration) -> None:
    """The rows as they are written, before any query: image indices, countries, originals and translations."""
    indices: dict[int, list[int]] = {product: [] for product in catalogue.products}
    for product, _, index in catalogue.product_images:
        indices[product].append(index)
    ours: dict[int, list[tuple[str, bool, bool]]] = {product: [] for product in catalogue.products}
    others: dict[int, list[str]] = {product: [] for product in catalogue.products}
    for _, product, country, original, translated in catalogue.descriptions:
        if country.lower() == "us":
            ours[product].append((country, bool(original), bool((translated or "").strip())))
        else:
            others[product].append(country)
    special = {
        "no image": [],
        "images, none at index 0": [1, 2],
        "two images at index 0": [0, 0, 1],
        SHARED: [0],
    }
    texts = {
        "no translation: NULL": [("us", True, False)],
        "no translation: empty": [("us", True, False)],
        "no translation: blank": [("us", True, False)],
        "both texts NULL": [("us", False, False)],
        "no text": [],
        "no text for us": [],
        "country code US instead of us": [("US", True, True)],
        "two texts for us, the later one translated": [("us", True, False), ("us", True, True)],
    }
    for product, case in catalogue.cases.items():
        assert indices[product] == special.get(case, [*range(len(indices[product]))]) and len(indices[product]) <= 3
        if case in texts:
            assert ours[product] == texts[case]
        else:
            assert ours[product] in ([("us", True, True)], [("us", True, False)])
        assert others[product] == ([] if case == "no text" else ["gb", "de", "fr"])
    assert {
        len(found) for case, found in zip(catalogue.cases.values(), indices.values(), strict=True) if case == CASES[0]
    } == {1, 2, 3}
    assert [number for number, *_ in catalogue.descriptions] == [*range(1, len(catalogue.descriptions) + 1)]
    about_half = sum(case == CASES[0] for case in catalogue.cases.values()) / PRODUCTS
    assert 0.42 < about_half < 0.65


def test_missing_texts_are_null_empty_or_blank(catalogue: Demonstration) -> None:
    """The three ways of having no translation are three different values; ordinary products have both or one text."""
    found: dict[str, set[str | None]] = {}
    for _, product, country, original, translated in catalogue.descriptions:
        if country == "us":
            found.setdefault(catalogue.cases[product], set()).add(translated)
            assert (original is None) == (catalogue.cases[product] == "both texts NULL")
    assert found["no translation: NULL"] == found["both texts NULL"] == {None}
    assert found["no translation: empty"] == {""}
    (blank,) = found["no translation: blank"]
    assert blank and not blank.strip()
    assert None in found[CASES[0]] and len(found[CASES[0]]) > 20
