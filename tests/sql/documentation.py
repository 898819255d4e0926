"""The generated parts of docs/catalogue_query.md: the tested statements, the example and the edge cases."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sql.tables import CATALOGUE, CLASSIFICATION, read_script
from tests.sql.catalogue import Catalogue, Description
from tests.sql.edge_cases import EDGE_CASES, MEGABYTE, catalogue_of

ROOT = Path(__file__).resolve().parents[2]
DJANGO = ROOT / "sql" / "django_catalogue"

EXAMPLE = Catalogue(
    products={1: "Linen shirt", 2: "Shoulder bag", 3: "Dress", 4: "Boot"},
    images={10: "a.jpg", 11: "b.jpg", 12: "c.jpg", 13: "d.jpg"},
    product_images=[(1, 10, 0), (1, 11, 1), (2, 12, 0), (3, 11, 1), (4, 13, 0)],
    descriptions=[
        Description(100, 1, "us", "Chemise en lin", "A shirt of linen"),
        Description(101, 1, "de", "Chemise en lin", "Ein Leinenhemd"),
        Description(102, 2, "us", "A black bag", None),
        Description(103, 3, "us", "Robe noire", "A black dress"),
        Description(104, 4, "de", "Botte", "Ein Stiefel"),
    ],
)


def parts() -> dict[str, str]:
    """Returns the generated parts of the document by name."""
    return {
        "plain_sql": read_script("products_plain.sql"),
        "plain_orm": _plain_orm(),
        "example": _example(),
        "answer": _table(("title", "url", "description"), [row[1:] for row in EXAMPLE.listing()]),
        "sql": read_script("products.sql"),
        "orm": _orm(),
        "differences": _differences(),
        "edges": _edge_cases(),
        "schema": CATALOGUE.statement,
        "classification": CLASSIFICATION.statement,
    }


def _example() -> str:
    images = [(product, index, image, EXAMPLE.images[image]) for product, image, index in EXAMPLE.product_images]
    tables = (
        _table(("Product.Id", "Title"), EXAMPLE.products.items()),
        _table(("ProductId", "ImageIndex", "ImageId", "Url"), images),
        _table(("Id", "ProductId", "CountryCode", "OriginalText", "TranslatedText"), EXAMPLE.descriptions),
    )
    return "\n".join(tables)


def _orm() -> str:
    models = (DJANGO / "models.py").read_text(encoding="utf-8")
    return models[models.index("# As in sql/products.sql") : models.index("class Product(")].rstrip() + "\n"


def _plain_orm() -> str:
    module = (DJANGO / "plain_listing.py").read_text(encoding="utf-8")
    return module[module.index("from django.db.models import") :]


def _differences() -> str:
    rows = [
        (case.name, _rows(catalogue_of(case).plain_listing()), _rows([(case.url, case.description)]), case.why)
        for case in EDGE_CASES
        if case.why
    ]
    lines = ["| what the product has | plain statement | `sql/products.sql` | reason |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *[f"| {' | '.join(row)} |" for row in rows], ""])


def _rows(rows: Iterable[tuple[str | None, ...]]) -> str:
    return "<br>".join(", ".join(_cell(value) for value in row[-2:]) for row in rows)


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
    if len(value) > 1000:
        return "1 MB of spaces"
    return f"`{value}`" if value and value == value.strip() and value.isprintable() else f"`{value!r}`"
