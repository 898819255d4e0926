"""Catalogues for tests: the demonstration, products with chosen URLs, and runs of ExampleGen on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from analysis.data.examples import read_arrays
from catalogue.demonstration import Pictures, write_pictures
from components.example_gen import example_gen
from models.taxonomy import Taxonomy
from pipeline.contract.artifacts import Examples, IngestionFailures
from pipeline.contract.progress import silent
from sql.demonstration import Demonstration, fill, make_demonstration
from tests.serving.web import Answer, Request, Web, web
from tests.synthetic import images_and_garments

GARMENTS = Taxonomy.load().garments


@dataclass(frozen=True)
class Ingested:
    """The outputs of ExampleGen."""

    examples: Examples
    failures: IngestionFailures

    def rows(self) -> dict[int, dict[str, Any]]:
        """The examples' features by product."""
        names = ("image", "garment", "split", "source_id", "title", "description", "cluster", "near_duplicate_count")
        shards = [shard for split in self.examples.splits() for shard in self.examples.split(split)]
        columns = read_arrays(shards, names)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return {int(row["source_id"].removeprefix("product/")): row for row in rows}

    def listed(self) -> list[dict[str, Any]]:
        """The lines of `failures.jsonl`."""
        lines = (self.failures.path / "failures.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]

    def reasons(self) -> dict[int, str]:
        """The reasons of the failures, by product."""
        return {line["product"]: line["reason"] for line in self.listed()}


def ingest(directory: Path, dsn: str, **parameters: Any) -> Ingested:
    """Runs ExampleGen on a catalogue, with the image cache beside the directory."""
    outputs = [directory / name for name in ("examples", "failures")]
    cache = directory.parent / "cache"
    for folder in (*outputs, cache):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {"seed": 7, "garments": GARMENTS, "source": "catalogue", "dsn": dsn, "allow_private": True}
    # Large shares, so that a few images are enough for three splits.
    settings |= {"test_share": 0.3, "validation_share": 0.3, "max_failed_share": 0.5} | parameters
    ingested = Ingested(Examples(outputs[0]), IngestionFailures(outputs[1]))
    example_gen.run(examples=ingested.examples, failures=ingested.failures, cache=cache, progress=silent, **settings)
    return ingested


@dataclass(frozen=True)
class Shop:
    """The rows of the demonstration catalogue and its image files."""

    rows: Demonstration
    pictures: Pictures

    def image_of(self, product: int) -> int | None:
        """The image that the query returns for index 0."""
        return min(
            (image for owner, image, index in self.rows.product_images if (owner, index) == (product, 0)), default=None
        )


def demonstrate(empty: str, folder: Path, base_url: str = "", products: int = 300) -> Shop:
    """Fills an empty database with the demonstration catalogue, and a folder with synthetic pictures."""
    images, garments = images_and_garments(300, 0)
    rows = make_demonstration(products)
    pictures = write_pictures(folder, rows.images, images, [GARMENTS[g] for g in garments], every=20)
    fill(empty, rows, lambda image: pictures.url(image, base_url))
    return Shop(rows, pictures)


def add_products(dsn: str, urls: list[str | None], first: int = 1, title: str = "Shirt") -> range:
    """Adds products, one for each URL, whose garments alternate; returns their ids."""
    products = range(first, first + len(urls))
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO Product VALUES (%s, %s)", [(p, title) for p in products])
        garments = [(p, GARMENTS[p % len(GARMENTS)]) for p in products]
        cursor.executemany("INSERT INTO ProductGarment VALUES (%s, %s)", garments)
        images = [(p, url) for p, url in zip(products, urls, strict=True) if url is not None]
        cursor.executemany("INSERT INTO Image VALUES (%s, %s)", images)
        cursor.executemany("INSERT INTO ProductImages VALUES (%s, %s, 0)", [(p, p) for p, _ in images])
    return products


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """A web server for the files of a folder, which declares all of them as JPEG."""

    def answer(request: Request) -> Answer:
        file = folder / request.path.rpartition("/")[2]
        return Answer(body=file.read_bytes(), headers={"Content-Type": "image/jpeg"}) if file.exists() else Answer(404)

    with web(answer) as image_server:
        yield image_server
