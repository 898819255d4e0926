"""The generated parts of docs/catalogue_query.md; `python -m tests.sql.documentation` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sql.extract import PRODUCTS
from sql.tables import CATALOGUE, CLASSIFICATION
from tests.sql.catalogue import Catalogue, Description, Row
from tests.sql.edge_cases import EDGE_CASES, MEGABYTE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "catalogue_query.md"
PART = re.compile(r"(<!-- (\w+) -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)

EXAMPLE = Catalogue(
    products={1: "Linen shirt", 2: "Shoulder bag", 3: "Dress", 4: "Boot"},
    images={10: "a.jpg", 11: "b.jpg", 12: "c.jpg"},
    product_images=[(1, 10, 0), (1, 11, 1), (2, 12, 0), (2, 11, 0), (3, 12, 1)],
    descriptions=[
        Description(100, 1, "us", "Chemise en lin", "A shirt of linen"),
        Description(101, 1, "de", "Chemise en lin", "Leinenhemd"),
        Description(102, 2, "us", "Sac noir", " "),
        Description(103, 3, "US", "Robe", "A dress"),
        Description(104, 4, "us", None, None),
        Description(105, 4, "us", "Botte", "A boot"),
    ],
)


def page() -> str:
    """Returns the document with its generated parts up to date."""
    parts = {
        "example": _example(),
        "sql": f"```sql\n{PRODUCTS}```\n",
        "schema": f"```sql\n{CATALOGUE.statement}```\n",
        "classification": f"```sql\n{CLASSIFICATION.statement}```\n",
        "orm": f"```python\n{_orm()}```\n",
        "edges": _edge_cases(),
    }
    return PART.sub(lambda found: found[1] + parts[found[2]] + found[4], PAGE.read_text(encoding="utf-8"))


def _example() -> str:
    images = [(product, index, image, EXAMPLE.images[image]) for product, image, index in EXAMPLE.product_images]
    tables = (
        _table(("Product.Id", "Title"), EXAMPLE.products.items()),
        _table(("ProductId", "ImageIndex", "ImageId", "Url"), images),
        _table(("Id", "ProductId", "CountryCode", "OriginalText", "TranslatedText"), EXAMPLE.descriptions),
        "The answer:\n",
        _table(Row._fields, EXAMPLE.listing()),
    )
    return "\n" + "\n".join(tables) + "\n"


def _orm() -> str:
    models = (ROOT / "sql/django_catalogue/models.py").read_text(encoding="utf-8")
    return models[models.index("# As in sql/products.sql") : models.index("class Product(")].rstrip() + "\n"


def _edge_cases() -> str:
    lines = [f"| {case.name} | {_cell(case.url)} | {_cell(case.description)} |\n" for case in EDGE_CASES]
    return "| what the product has | url | description |\n| --- | --- | --- |\n" + "".join(lines)


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(names), *([_cell(value) for value in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if value == MEGABYTE:
        return "1 MB, whole"
    if not isinstance(value, str):
        return str(value)
    return f"`{value}`" if value and value == value.strip() else f"`{value!r}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
