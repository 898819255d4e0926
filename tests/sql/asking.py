"""The two ways to ask for the listing, with the same answer."""

from __future__ import annotations

from typing import Any

import psycopg

from sql.extract import PRODUCTS
from tests.sql.catalogue import Row


def by_sql(connection: Any, country: str = "us", image_index: int = 0) -> list[Row]:
    """The rows of `sql/products.sql`, its parameters bound by the server."""
    answer = psycopg.Cursor(connection).execute(PRODUCTS, {"country": country, "image_index": image_index})
    return [Row(*row) for row in answer]


def by_orm(connection: Any, country: str = "us", image_index: int = 0) -> list[Row]:
    """The rows of `for_listing`, from the model's instances; the connection is Django's own."""
    from sql.django_catalogue.models import Product

    listed = Product.objects.for_listing(country=country, image_index=image_index)
    return [Row(product.id, product.title, product.url, product.description) for product in listed]


WAYS = (by_sql, by_orm)
