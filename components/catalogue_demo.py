"""A catalogue to try things on: pictures of a data set as a shop's files, some of them broken, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BREAKAGES = ("missing", "page", "truncated", "no_url", "no_garment")
"""What a broken product has: a URL without a file, a page called .jpg, half a file, no image, no garment."""
PAGE = b"<!DOCTYPE html><title>Sold out</title>"
MATERIALS = ("cotton", "linen", "wool", "leather")
TABLES = ("Product", "Image", "ProductImages", "ProductDescription", "ProductGarment")

Rows = dict[str, list[tuple[Any, ...]]]
"""By table, in an order in which they can be inserted."""


@dataclass
class Demo:
    """What `write_demo` made.

    Attributes:
        shown: Product to the number of its picture, for those that an example is to be made of.
        broken: Product to what is wrong with it.
        shared: Product to the product whose image it shows as well.
    """

    shown: dict[int, int] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    shared: dict[int, int] = field(default_factory=dict)


def write_demo(
    connection: Any,
    folder: Path,
    images: np.ndarray,
    garments: Sequence[str],
    *,
    base_url: str = "",
    every: int = 20,
) -> Demo:
    """Writes files, and rows into the empty tables of a catalogue.

    One product an image, in their order and numbered from 1, as JPEG and PNG by turns. One in so many is broken, in
    each of the ways by turns, and about as many products are added that show another's image.

    Args:
        connection: psycopg's, to a database with the tables of `sql/schema.sql` and `sql/garments.sql`.
        folder: For the files; made when missing.
        images: uint8 [N, 28, 28].
        garments: The names of their garments, N of them.
        base_url: Where the folder is served. Defaults to its own `file:` URL.
        every: One in how many products is broken; at least 2.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base, demo = base_url or folder.resolve().as_uri(), Demo()
    rows: Rows = {name: [] for name in TABLES}
    for product, (image, garment) in enumerate(zip(images, garments, strict=True), start=1):
        breakage = BREAKAGES[product // every % len(BREAKAGES)] if product % every == 0 else ""
        name = f"{product}.{'jpg' if product % 2 or breakage == 'page' else 'png'}"
        _write_file(folder / name, image, breakage)
        _add_product(rows, product, garment, with_garment=breakage != "no_garment")
        if breakage != "no_url":
            rows["Image"].append((product, f"{base}/{name}"))
            rows["ProductImages"].append((product, product, 0))
        if breakage:
            demo.broken[product] = breakage
        else:
            demo.shown[product] = product - 1
    for original in range(1, len(garments) + 1, every):
        copy = len(garments) + len(demo.shared) + 1
        _add_product(rows, copy, garments[original - 1])
        rows["ProductImages"].append((copy, original, 0))
        demo.shared[copy], demo.shown[copy] = original, original - 1
    _insert(connection, rows)
    return demo


def _write_file(path: Path, image: np.ndarray, breakage: str) -> None:
    from PIL import Image

    if breakage == "page":
        path.write_bytes(PAGE)
    elif breakage != "missing":
        Image.fromarray(image).save(path, quality=95)
    if breakage == "truncated":
        path.write_bytes(path.read_bytes()[:200])


def _add_product(rows: Rows, product: int, garment: str, with_garment: bool = True) -> None:
    material = MATERIALS[product % len(MATERIALS)]
    rows["Product"].append((product, f"{garment} no. {product}"))
    rows["ProductDescription"].append((product, product, "us", f"Article {product}", f"A {garment} of {material}"))
    if with_garment:
        rows["ProductGarment"].append((product, garment))


def _insert(connection: Any, rows: Rows) -> None:
    with connection.cursor() as cursor:
        for table, values in rows.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
