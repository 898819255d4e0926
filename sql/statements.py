"""The statements of the catalogue, as text: one file each, so that psql can run them and a reader can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE = Path(__file__).parent

SCHEMA: Final = (_HERE / "schema.sql").read_text(encoding="utf-8")
"""Makes the four tables and their indexes."""

PRODUCTS: Final = (_HERE / "products.sql").read_text(encoding="utf-8")
"""One row a product: id, title, url, description. Parameters in psycopg's style: `country` and `image_index`."""

PRODUCTS_AFTER: Final = f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id > %(after)s ORDER BY id"
"""The same behind a product: PostgreSQL passes the condition down to Product's key."""

PRODUCT: Final = f"SELECT * FROM ({PRODUCTS}) AS listing WHERE id = %(id)s"
"""One of its rows."""


def without_long_rows(products: str) -> str:
    """Returns one of the two statements with nothing but the id where the texts have more than `most_bytes` together.

    So it is known how long they are before they are sent.
    """
    return f"""
    SELECT id,
           CASE WHEN short THEN title END AS title,
           CASE WHEN short THEN url END AS url,
           CASE WHEN short THEN description END AS description
    FROM (SELECT *, coalesce(octet_length(title), 0) + coalesce(octet_length(url), 0)
                    + coalesce(octet_length(description), 0) <= %(most_bytes)s AS short
          FROM ({products}) AS listing) AS measured
    ORDER BY id"""


GARMENTS: Final = (_HERE / "garments.sql").read_text(encoding="utf-8")
"""Makes the table that says which garment a product is."""

CLASSIFICATION: Final = (_HERE / "classification.sql").read_text(encoding="utf-8")
"""Makes the table of the model's answers, and the view of what needs a human, where they are not there yet."""
