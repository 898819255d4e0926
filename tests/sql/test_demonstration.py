"""Tests of sql.demonstration: a catalogue that is the same every time, and has what it says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sql.demonstration import CASES, SHARED, UNLABELLED, Demonstration, fill, make_demonstration
from sql.descriptions import WORDS
from sql.extract import Product, read_products

PRODUCTS = 400


@pytest.fixture(scope="module")
def made() -> Demonstration:
    """The catalogue as Python has it."""
    return make_demonstration(PRODUCTS, seed=3)


@pytest.fixture(scope="module")
def read(dsn: str, made: Demonstration) -> Iterator[dict[int, Product]]:
    """The catalogue as it comes out of PostgreSQL, by id."""
    name = f"fashion_demonstration_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        ours = make_conninfo(dsn, options=f"-csearch_path={name}")
        fill(ours, made, lambda image: f"https://example.com/{image}.jpg")
        yield {product.id: product for products in read_products(ours) for product in products}
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def of(case: str, made: Demonstration, read: dict[int, Product]) -> list[Product]:
    """The products of a case; there are some."""
    found = [read[product] for product, its in made.cases.items() if its == case]
    assert found
    return found


def test_the_same_seed_gives_the_same_catalogue(made: Demonstration) -> None:
    """Arguments say all; another seed says something else."""
    assert make_demonstration(PRODUCTS, seed=3) == made != make_demonstration(PRODUCTS, seed=4)


def test_every_product_is_there(made: Demonstration, read: dict[int, Product]) -> None:
    """Each has its title; each case is there, and first of all once; an image shows what its products are."""
    assert {product.id: product.title for product in read.values()} == made.products
    assert [made.cases[product] for product in range(1, len(CASES) + 1)] == [*CASES]
    assert all(
        made.images[image] == made.garments.get(product, made.images[image])
        for product, image, _ in made.product_images
    )


def test_cases_are_what_they_are_called(made: Demonstration, read: dict[int, Product]) -> None:
    """What the query answers to them is what it answers to such products anywhere."""
    for case in ("no image", "images, none at index 0"):
        assert {product.url for product in of(case, made, read)} == {None}
    for case in ("both texts NULL", "no text", "no text for us", "country code US instead of us"):
        assert {product.description for product in of(case, made, read)} == {None}
    original = {product: text for _, product, country, text, _ in made.descriptions if country == "us"}
    for case in ("no translation: NULL", "no translation: empty", "no translation: blank"):
        assert all(product.description == original[product.id] for product in of(case, made, read))
    owners = [image for _, image, _ in made.product_images]
    shared = {product: image for product, image, _ in made.product_images if made.cases[product] == SHARED}
    assert all(owners.count(shared[product.id]) > 1 for product in of(SHARED, made, read))
    assert {product.id for product in of(UNLABELLED, made, read)} == made.products.keys() - made.garments.keys()


def test_texts_help_and_mislead(made: Demonstration, read: dict[int, Product]) -> None:
    """Most texts name the garment, some do not, and some name another one."""
    named, silent, misleading = 0, 0, 0
    for product, garment in made.garments.items():
        said = (read[product].description or "").lower()
        own, *others = [
            any(name.lower() in said for name in (*WORDS[g].names, *WORDS[g].foreign))
            for g in (garment, *WORDS[garment].worn_with)
        ]
        named, silent, misleading = named + own, silent + (not own and said != ""), misleading + any(others)
    assert named > silent > 20
    assert misleading > 40
