"""Tests of ExampleGen on a catalogue: every product becomes an example or a failure with a reason."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import tensorflow as tf
from PIL import Image

from analysis.data.examples import read_arrays
from catalogue.products import Catalogue, select_products
from catalogue.training_examples import read_catalogue
from components.example_gen import SPLITS
from models.image_files import fit_image
from pipeline.contract.errors import UserError
from serving.images.fitting import fit_file
from sql.extract import read_products
from sql.tables import CATALOGUE
from sql.tables import GARMENTS as GARMENTS_TABLE
from tests.catalogue.catalogues import GARMENTS, add_products, demonstrate, ingest, serving
from tests.serving.fetching.shop import Shop, local_policy, pixels, png
from tests.serving.web import Answer, Request, Web, web

FAILING = {"missing": "http_404", "page": "not_an_image", "truncated": "damaged"}


def test_every_product_is_an_example_or_listed(empty: str, tmp_path: Path) -> None:
    """Pixels, garment and texts are those of the product; broken images have their reason, and the counts add up."""
    with serving(tmp_path / "shop") as image_server:
        shop = demonstrate(empty, tmp_path / "shop", image_server.url)
        ingested = ingest(tmp_path / "out", empty)
    catalogue, rows, reasons = shop.rows, ingested.rows(), ingested.reasons()
    listing = {product.id: product for some in read_products(empty) for product in some}
    without = Counter[str]()
    for product, title in catalogue.products.items():
        image = shop.image_of(product)
        if product not in catalogue.garments or image is None:
            without["garment" if product not in catalogue.garments else "image"] += 1
            assert product not in rows.keys() | reasons.keys()
        elif image in shop.pictures.broken:
            assert reasons[product] == FAILING[shop.pictures.broken[image]] and product not in rows
        else:
            row = rows[product]
            file = (tmp_path / "shop" / shop.pictures.names[image]).read_bytes()
            np.testing.assert_array_equal(row["image"], fit_file(file))
            assert (GARMENTS[row["garment"]], row["title"]) == (catalogue.garments[product], title)
            assert row["description"] == (listing[product].description or "")
    properties = ingested.examples.properties
    assert (properties["without_garment"], properties["without_image"]) == (without["garment"], without["image"])
    assert properties["failed"] == len(reasons) == len(ingested.listed()) and set(reasons.values()) == set(
        FAILING.values()
    )
    parts = ("train", "validation", "test", "failed", "without_image", "without_garment")
    assert sum(int(properties[part]) for part in parts) == properties["products"] == len(catalogue.products)


def test_splits_are_stratified_and_share_no_image(empty: str, tmp_path: Path) -> None:
    """The shares hold for each garment, and products with the same image stay in one split."""
    shop = demonstrate(empty, tmp_path / "shop")
    rows = ingest(tmp_path / "out", empty, files_below=tmp_path / "shop", test_share=0.2, validation_share=0.1).rows()
    count = {split: np.zeros(10, int) for split in ("train", "validation", "test")}
    for row in rows.values():
        count[row["split"]][row["garment"]] += 1
    rest = count["train"] + count["validation"]
    np.testing.assert_allclose(count["test"], 0.2 * (rest + count["test"]), atol=1.5)
    np.testing.assert_allclose(count["validation"], 0.1 * rest, atol=1.5)
    by_picture: dict[int, list[dict[str, Any]]] = {}
    for product, row in rows.items():
        by_picture.setdefault(shop.pictures.numbers[shop.image_of(product) or 0], []).append(row)
    shared = [together for together in by_picture.values() if len(together) > 1]
    assert len(shared) > 20
    for together in shared:
        assert len({row["split"] for row in together}) == 1 and len({row["cluster"] for row in together}) == 1
        assert together[0]["cluster"] >= 0 and (
            together[0]["near_duplicate_count"] > 0 or together[0]["split"] == "test"
        )


def test_the_same_catalogue_gives_the_same_bytes(empty: str, tmp_path: Path) -> None:
    """The bytes depend neither on the order of the downloads nor on the cache."""
    demonstrate(empty, tmp_path / "shop", products=200)
    written = []
    for name in ("one", "two"):
        examples = ingest(tmp_path / name, empty, files_below=tmp_path / "shop", max_per_host=3).examples
        written.append({p.relative_to(examples.path): p.read_bytes() for p in examples.path.rglob("*.gz")})
    assert written[0] == written[1] and len(written[0]) == 3


def test_images_are_fitted_as_the_exported_graph_fits_them(dsn: str, tmp_path: Path) -> None:
    """Photographs of any size become the same pixels as in the signature `serving_bytes`."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(30):
        cloth = Image.fromarray(rng.integers(0, 256, (6, 4, 3), np.uint8)).resize((90 + 7 * number, 150))
        photograph = Image.new("RGB", (400, 210 + number), (250, 250, 250))
        photograph.paste(cloth, (20, 30))
        file = BytesIO()
        photograph.save(file, "PNG" if number % 3 == 0 else "JPEG")
        files.append(file.getvalue())
    with web(lambda request: Answer(body=files[int(request.path[1:])])) as image_server:
        products = add_products(dsn, [f"{image_server.url}/{number}" for number in range(30)])
        rows = ingest(tmp_path / "out", dsn, test_share=0.34, validation_share=0.5).rows()
    for product, file in zip(products, files, strict=True):
        graph = fit_image(tf.constant(file)).numpy().astype(int)
        assert np.abs(rows[product]["image"].astype(int) - graph).max() <= 1


HOSTILE = {
    "page": "not_an_image",
    "cut": "damaged",
    "empty": "empty",
    "bomb": "too_many_pixels",
    "gone": "http_404",
    "loop": "too_many_redirects",
    "passwd": "scheme_refused",
    "huge": "broken_off",
    "endless": "too_large",
    "chunks": "too_large",
    "drip": "timed_out",
    "headers": "timed_out",
    "silent": "timed_out",
    "garbage": "unreachable",
}


def test_hostile_rows_become_failures_and_the_stage_continues(dsn: str, image_server: Web, tmp_path: Path) -> None:
    """Hostile servers, URLs and texts neither stop the stage nor reach local files nor inject SQL."""
    injection = "'); DROP TABLE Product; -- %s %(x)s \\ \x01 👗 {url}"
    add_products(dsn, [f"{image_server.url}/fine/{number}" for number in range(40)], title=injection)
    # Two host names, since a host is dropped after ten unanswered attempts.
    hosts = {kind: "localhost" if kind in ("silent", "garbage") else "127.0.0.1" for kind in HOSTILE}
    hostile: list[str | None] = [f"http://{host}:{image_server.port}/{kind}/1.jpg" for kind, host in hosts.items()]
    served = add_products(dsn, hostile, first=1001)
    urls = {
        "file:///etc/passwd": "scheme_refused",
        "FILE:/etc/passwd": "scheme_refused",
        "ftp://anna:s3cret@shop.example/1": "scheme_refused",
        "": "bad_url",
        injection: "bad_url",
        "x" * 1_000_000: "bad_url",
    }
    named = add_products(dsn, list(urls), first=2001)
    ingested = ingest(tmp_path / "out", dsn, max_failed_share=0.5, attempt_seconds=4.0)
    expected = dict(zip(served, HOSTILE.values(), strict=True)) | dict(zip(named, urls.values(), strict=True))
    assert ingested.reasons() == expected
    rows = ingested.rows()
    assert len(rows) == 40 and {row["title"] for row in rows.values()} == {injection}
    np.testing.assert_array_equal(rows[8]["image"], pixels(7))
    listed = (ingested.failures.path / "failures.jsonl").read_text()
    assert "s3cret" not in listed and "root:" not in listed and len(listed) < 20_000
    assert ingested.failures.properties == Counter(expected.values())


def test_private_addresses_and_files_are_refused_by_default(
    dsn: str, shop: Shop, image_server: Web, tmp_path: Path
) -> None:
    """A catalogue cannot make the pipeline send requests inside the network unless this is allowed."""
    add_products(dsn, [f"{image_server.url}/fine/1", f"file://{tmp_path}/1.png"])
    with pytest.raises(UserError) as caught:
        ingest(tmp_path / "out", dsn, allow_private=False)
    assert "1 private_address" in caught.value.received and "1 scheme_refused" in caught.value.received
    assert not shop.counts


def test_too_many_failures_stop_with_the_reasons(
    dsn: str, image_server: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error counts the reasons and shows one product; the log, which outlives the stage, lists all products."""
    add_products(dsn, [f"{image_server.url}/{kind}/{n}" for n in range(10) for kind in ("fine", "gone")])
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="Too many of the catalogue's") as caught:
        ingest(tmp_path / "out", dsn, max_failed_share=0.2)
    assert caught.value.expected == "at most 20% of 20 products with a garment and a URL"
    assert caught.value.received.startswith("10: 10 http_404; product 2, for example: ")
    assert "max_failed_share" in caught.value.next_step
    assert sum("http_404" in record.message for record in caplog.records) == 10
    read = partial(read_catalogue, Catalogue(dsn, "us", 0, GARMENTS), local_policy(), tmp_path, report=lambda *_: None)
    assert len(read(max_failed_share=0.5, max_products_per_image=1).columns["image"]) == 10, (
        "the limit itself is allowed"
    )
    with pytest.raises(UserError, match="Too many of the catalogue's"):
        read(max_failed_share=0.49, max_products_per_image=1)


def test_the_chosen_image_of_a_product_is_read(dsn: str) -> None:
    """`image_index` counts from 0; a product without that image has none, whatever others it has."""
    first, second = add_products(dsn, ["http://shop.example/front", "http://shop.example/only"])
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO Image VALUES (9, 'http://shop.example/back')")
        connection.execute("INSERT INTO ProductImages VALUES (%s, 9, 1)", [first])
    for index, urls in ((0, {first: "front", second: "only"}), (1, {first: "back"})):
        selected = select_products(Catalogue(dsn, "us", index, GARMENTS))
        assert {product.id: product.url for product in selected.products} == {
            product: f"http://shop.example/{name}" for product, name in urls.items()
        }
        assert selected.counts["without_image"] == 2 - len(urls)


def test_cached_images_are_not_downloaded_again(dsn: str, shop: Shop, image_server: Web, tmp_path: Path) -> None:
    """A second run downloads only what failed, and revalidates images beyond the maximum age."""
    add_products(dsn, [f"{image_server.url}/fine/{n}" for n in range(40)] + [f"{image_server.url}/gone/1"])
    for name in ("one", "two"):
        ingest(tmp_path / name, dsn)
    assert shop.counts["/gone/1"] == 2
    assert {shop.counts[f"/fine/{n}"] for n in range(40)} == {1}
    ingest(tmp_path / "three", dsn, max_age_days=0)
    assert {shop.counts[f"/fine/{n}"] for n in range(40)} == {2}


def test_placeholders_and_blank_images_are_failures(dsn: str, tmp_path: Path) -> None:
    """An image that too many products share is a placeholder, and an image of one colour is blank."""
    grey = BytesIO()
    Image.new("RGB", (300, 400), (128, 130, 120)).save(grey, "JPEG")

    def answer(request: Request) -> Answer:
        return Answer(body=grey.getvalue() if request.path == "/grey" else png(int(request.path[1:])))

    with web(answer) as files:
        add_products(dsn, [f"{files.url}/{number}" for number in range(1, 41)])
        shared = add_products(dsn, [f"{files.url}/0" for _ in range(5)], first=2001)
        few = add_products(dsn, [f"{files.url}/50" for _ in range(4)], first=4001)
        blank = add_products(dsn, [f"{files.url}/grey"], first=3001)
        ingested = ingest(tmp_path / "out", dsn, max_products_per_image=4)
        with pytest.raises(UserError) as caught:
            ingest(tmp_path / "refused", dsn, max_products_per_image=4, max_failed_share=0.11)
    assert caught.value.expected == "at most 11% of 50 products with a garment and a URL", "they give no examples"
    assert ingested.reasons() == dict.fromkeys(shared, "placeholder") | dict.fromkeys(blank, "blank")
    assert "at most 4 products. Received: an image of 5" in ingested.listed()[0]["message"]
    rows = ingested.rows()
    assert set(few) <= rows.keys() and len({rows[product]["split"] for product in few}) == 1


@pytest.mark.parametrize("key", ["uuid", "varchar(40)"])
def test_keys_that_are_no_numbers(empty: str, image_server: Web, tmp_path: Path, key: str) -> None:
    """Examples and failures name the products of a catalogue with texts or UUIDs as ids, in the order of id."""
    ids = [f"0190a1b2-0000-7000-8000-{number:012d}" for number in range(1, 41)]
    with psycopg.connect(empty) as connection, connection.cursor() as cursor:
        cursor.execute((CATALOGUE.statement + GARMENTS_TABLE.statement).replace("bigint", key))
        for number, one in enumerate(ids):
            kind = "gone" if number in (3, 5) else "fine"
            cursor.execute("INSERT INTO Product VALUES (%s, 'Shirt')", [one])
            cursor.execute("INSERT INTO ProductGarment VALUES (%s, %s)", [one, GARMENTS[number % len(GARMENTS)]])
            cursor.execute("INSERT INTO Image VALUES (%s, %s)", [one, f"{image_server.url}/{kind}/{number}"])
            cursor.execute("INSERT INTO ProductImages VALUES (%s, %s, 0)", [one, one])
        cursor.execute("UPDATE ProductGarment SET Garment = 'Scarf' WHERE ProductId = %s", [ids[7]])
    ingested = ingest(tmp_path / "out", empty)
    names = np.concatenate([read_arrays(ingested.examples.split(s), ["source_id"])["source_id"] for s in SPLITS])
    assert sorted(names) == [f"product/{one}" for n, one in enumerate(ids) if n not in (3, 5, 7)]
    assert [(line["product"], line["reason"]) for line in ingested.listed()] == [
        (ids[3], "http_404"), (ids[5], "http_404"), (ids[7], "unknown_garment")
    ]  # fmt: skip


def test_unknown_garments_are_failures(
    dsn: str, image_server: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure names the garment, those of the taxonomy and no password; the log counts each unknown name."""
    products = add_products(dsn, [f"{image_server.url}/fine/{number}" for number in range(40)])
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE ProductGarment SET Garment = 'Scarf' WHERE ProductId = 7")
        connection.execute("UPDATE Image SET Url = 'http://ann:s3cret@shop.example/7.jpg' WHERE Id = 7")
    ingested = ingest(tmp_path / "out", dsn)
    (line,) = ingested.listed()
    assert (line["product"], line["reason"]) == (7, "unknown_garment") and len(ingested.rows()) == len(products) - 1
    assert line["url"] == "http://shop.example/7.jpg", "without user and password"
    assert "Expected: T-shirt/top, Trouser" in line["message"] and "Received: 'Scarf'" in line["message"]
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE ProductGarment SET Garment = 'Ankle boots' WHERE ProductId IN (8, 9)")
    ingest(tmp_path / "again", dsn)
    assert "by garment: 'Ankle boots' (2) Did you mean 'Ankle boot'?; 'Scarf' (1). It has: T-shirt/top," in caplog.text


def test_a_catalogue_without_garments_is_a_user_error(dsn: str, tmp_path: Path) -> None:
    """Without the optional table, or without rows in it, the error names the script that creates it."""
    add_products(dsn, [None, None])
    with pytest.raises(UserError, match="no labelled product with an image") as caught:
        ingest(tmp_path / "out", dsn)
    assert caught.value.received.startswith(
        "2 products, 0 of them without a garment, 2 with a garment and without an image"
    )
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE ProductGarment")
    with pytest.raises(UserError, match="The database lacks tables or columns") as caught:
        ingest(tmp_path / "out", dsn)
    assert caught.value.received == "no table ProductGarment" and "sql/garments.sql" in caught.value.next_step


def test_too_few_products_for_three_splits_are_refused(dsn: str, image_server: Web, tmp_path: Path) -> None:
    """Four images are too few for training, validation and test."""
    add_products(dsn, [f"{image_server.url}/fine/{number}" for number in range(4)])
    with pytest.raises(UserError, match="No image is left for the split 'validation'") as caught:
        ingest(tmp_path / "out", dsn)
    assert caught.value.received == "4 images"


def test_an_unreachable_catalogue_is_a_user_error(tmp_path: Path) -> None:
    """The headline says that there is no connection."""
    with pytest.raises(UserError, match="^There is no connection to the catalogue"):
        ingest(tmp_path / "out", f"postgresql://nobody@/shop?host={tmp_path}")


def test_a_damaged_cache_is_named(dsn: str, image_server: Web, tmp_path: Path) -> None:
    """A file that is not a cache is neither used nor overwritten."""
    add_products(dsn, [f"{image_server.url}/fine/1"])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "images.sqlite").write_text("these are notes of mine, and no database")
    with pytest.raises(UserError, match="images.sqlite cannot be used"):
        ingest(tmp_path / "out", dsn)
    assert "notes of mine" in (tmp_path / "cache" / "images.sqlite").read_text()
