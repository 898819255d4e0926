"""Tests of sql.extract.catalogue_digest and read_garments: what is read decides, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from sql.connection import CatalogueError
from sql.extract import catalogue_digest, read_garments
from sql.tables import GARMENTS
from tests.sql.catalogue import Catalogue, Description


@pytest.fixture
def change(dsn: str, put: Callable[[Catalogue], None]) -> Iterator[Callable[[str], None]]:
    """Runs a statement on a catalogue of two products, of which one has all there is."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(GARMENTS.statement)
        put(
            Catalogue(
                {1: "Shirt", 2: "Boot"},
                {1: "1.jpg", 2: "2.jpg"},
                [(1, 1, 0), (1, 2, 1)],
                [Description(1, 1, "us", "Hemd", None), Description(2, 1, "de", "Hemd", None)],
            )
        )
        connection.execute("INSERT INTO ProductGarment VALUES (1, 'Shirt')")
        yield lambda statement: connection.execute(statement) and None
        connection.execute("DROP TABLE IF EXISTS ProductGarment")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE Product SET Title = 'Shirt ' WHERE Id = 1",
        "INSERT INTO Product VALUES (3, 'Bag')",
        "UPDATE Image SET Url = '3.jpg' WHERE Id = 1",
        "DELETE FROM ProductImages WHERE ImageIndex = 0",
        "UPDATE ProductDescription SET TranslatedText = 'Shirt' WHERE Id = 1",
        "UPDATE ProductGarment SET Garment = 'Coat'",
        "DELETE FROM ProductGarment",
        "INSERT INTO ProductGarment VALUES (2, 'Ankle boot')",
    ],
)
def test_any_change_of_what_is_read_changes_it(dsn: str, change: Callable[[str], None], statement: str) -> None:
    """A title, a URL, a text, a garment, a row more or less."""
    before = catalogue_digest(dsn)
    change(statement)
    assert catalogue_digest(dsn) != before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ProductDescription SET OriginalText = 'Bluse' WHERE CountryCode = 'de'",
        "UPDATE Image SET Url = '3.jpg' WHERE Id = 2",
        "UPDATE ProductDescription SET TranslatedText = ' ' WHERE Id = 1",
        "UPDATE Product SET Title = Title",
        "DELETE FROM ProductGarment; INSERT INTO ProductGarment VALUES (1, 'Shirt')",
    ],
)
def test_what_is_not_read_does_not_change_it(dsn: str, change: Callable[[str], None], statement: str) -> None:
    """Other countries, other images, blanks in place of nothing, and rows that are written anew as they were."""
    before = catalogue_digest(dsn)
    change(statement)
    assert catalogue_digest(dsn) == before


def test_country_and_index_say_what_is_read(dsn: str, change: Callable[[str], None]) -> None:
    """The same tables, read otherwise, are something else."""
    del change
    asked = [("us", 0), ("de", 0), ("us", 1), ("fr", 2)]
    assert len({catalogue_digest(dsn, country=country, image_index=index) for country, index in asked}) == 3
    assert catalogue_digest(dsn, country="us") == catalogue_digest(dsn, country="de"), "Hemd is what both say"


def test_garments_are_read_by_product(dsn: str, change: Callable[[str], None]) -> None:
    """Those that somebody has said; without the table the message says what makes it."""
    change("INSERT INTO ProductGarment VALUES (2, 'Ankle boot')")
    assert read_garments(dsn) == {1: "Shirt", 2: "Ankle boot"}
    change("DROP TABLE ProductGarment")
    for ask in (read_garments, catalogue_digest):
        with pytest.raises(CatalogueError, match="no table ProductGarment") as caught:
            ask(dsn)
        assert "sql/garments.sql" in caught.value.next_step
