"""Tests of sql.extract.catalogue_digest and read_garments: only the content that is read changes the digest."""

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
    """Returns a function that runs a statement on a catalogue of two products."""
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
def test_a_change_of_the_read_content_changes_the_digest(
    dsn: str, change: Callable[[str], None], statement: str
) -> None:
    """A change of a title, a URL, a text or a garment, and an added or removed row, change the digest."""
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
def test_other_changes_keep_the_digest(dsn: str, change: Callable[[str], None], statement: str) -> None:
    """Other countries, other images, blank texts and rewritten equal rows do not change the digest."""
    before = catalogue_digest(dsn)
    change(statement)
    assert catalogue_digest(dsn) == before


def test_the_digest_depends_on_country_and_index(dsn: str, change: Callable[[str], None]) -> None:
    """Another country or image index gives another digest, unless the content is equal."""
    del change
    queries = [("us", 0), ("de", 0), ("us", 1), ("fr", 2)]
    assert len({catalogue_digest(dsn, country=country, image_index=index) for country, index in queries}) == 3
    assert catalogue_digest(dsn, country="us") == catalogue_digest(dsn, country="de"), "both have the text Hemd"


def test_garments_are_read_by_product(dsn: str, change: Callable[[str], None]) -> None:
    """The result has the labelled products."""
    change("INSERT INTO ProductGarment VALUES (2, 'Ankle boot')")
    assert read_garments(dsn) == {1: "Shirt", 2: "Ankle boot"}


@pytest.mark.parametrize("read", [read_garments, catalogue_digest])
def test_a_missing_table_of_garments(dsn: str, change: Callable[[str], None], read: Callable[[str], object]) -> None:
    """The error names the script that creates the table."""
    change("DROP TABLE ProductGarment")
    with pytest.raises(CatalogueError, match="no table ProductGarment") as caught:
        read(dsn)
    assert "sql/garments.sql" in caught.value.next_step
