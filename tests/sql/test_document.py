"""Tests of docs/catalogue_query.md: it shows what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.asking import WAYS
from tests.sql.catalogue import Row
from tests.sql.documentation import EXAMPLE, PAGE, page


def test_the_document_shows_the_files() -> None:
    """Statement, schema, ORM, cases and example are those that are tested."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.sql.documentation"


@pytest.mark.parametrize("way", WAYS)
def test_the_example(database: Any, way: Callable[[Any], list[Row]]) -> None:
    """The answer in the document is PostgreSQL's to the rows above it."""
    EXAMPLE.insert(database)
    assert way(database) == EXAMPLE.listing()
