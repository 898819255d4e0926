"""The statements of the catalogue, as text: one file each, so that psql can run them and a reader can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE = Path(__file__).parent

SCHEMA: Final = (_HERE / "schema.sql").read_text(encoding="utf-8")
"""Makes the four tables and their indexes."""

PRODUCTS: Final = (_HERE / "products.sql").read_text(encoding="utf-8")
"""One row a product: id, title, url, description. Parameters in psycopg's style: `country` and `image_index`."""

GARMENTS: Final = (_HERE / "garments.sql").read_text(encoding="utf-8")
"""Makes the optional table of the products' garments."""
